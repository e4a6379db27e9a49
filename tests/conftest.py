"""Small, exact hardware and models that the tests count on by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from headway.dtypes import DType
from headway.hardware.accelerator import Accelerator
from headway.hardware.cluster import Cluster, Link
from headway.hardware.price import Price
from headway.model.architecture import LayerGroup, ModelArchitecture
from headway.model.attention import GroupedQueryAttention, LatentAttention
from headway.model.ffn import DenseFfn, MoeFfn

settings.register_profile("default", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("default")

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measurements and reference outputs that lies beside the repository."""
    if not SHARED.is_dir():
        pytest.skip("the reference data is not beside this checkout (../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def h100() -> Cluster:
    """Round H100 numbers, 1,024 of them in nodes of 8, at $2 an hour."""
    chip = Accelerator(
        "test-h100", "nvidia", 80e9, 3e12, {DType.BF16: 1e15, DType.FP8: 2e15}, 700.0
    )
    links = (Link("near", 450e9, 0.6e-6, 8), Link("far", 50e9, 5e-6, 4096))
    return Cluster(chip, 1024, links, Price(2.0))


@pytest.fixture(scope="session")
def llama_70b() -> ModelArchitecture:
    """The matrices of Llama 3 70B."""
    layers = LayerGroup(80, GroupedQueryAttention(64, 8, 128), DenseFfn(28672))
    return ModelArchitecture("llama-70b", 8192, 128256, (layers,))


@pytest.fixture(scope="session")
def llama_8b() -> ModelArchitecture:
    """The matrices of Llama 3 8B."""
    layers = LayerGroup(32, GroupedQueryAttention(32, 8, 128), DenseFfn(14336))
    return ModelArchitecture("llama-8b", 4096, 128256, (layers,))


@pytest.fixture(scope="session")
def deepseek() -> ModelArchitecture:
    """The matrices of DeepSeek-V3, with its drafting head."""
    attention = LatentAttention(128, 1536, 512, 128, 64, 128)
    experts = MoeFfn(256, 8, 2048, 2048)
    return ModelArchitecture(
        "deepseek",
        7168,
        129280,
        (LayerGroup(3, attention, DenseFfn(18432)), LayerGroup(58, attention, experts)),
        mtp_layers=(LayerGroup(1, attention, experts),),
    )
