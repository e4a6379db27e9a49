"""A new accelerator of a new vendor is one file: nothing else knows vendors or families."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from headway.hardware.catalogue import find_cluster, find_clusters
from headway.hardware.cluster import Cluster
from headway.model.catalogue import find_model
from headway.steptime.calibration import Subject, shipped
from headway.steptime.collectives import (
    COMPILED,
    DIRECT,
    LIBRARY,
    ExchangeModel,
    collective_time,
    exchange_model,
)
from headway.steptime.work import Array, Collective, Pattern

CHIP = """\
name = "warp-1"
vendor = "new vendor"
family = "warp"
exchanges = "{exchanges}"
memory_gib = 96
memory_bandwidth_gb_per_s = 3000
price_usd_per_hour = 1.5

[peak_tflops]
bf16 = 500
fp8 = 1000

[[links]]
name = "warp link"
domain_size = 8
bandwidth_gb_per_s = 300
latency_us = 0.5
"""


def chip(folder: Path, exchanges: str = "library") -> Cluster:
    path = folder / f"{exchanges}.toml"
    path.write_text(CHIP.format(exchanges=exchanges), encoding="utf-8")
    return find_cluster(str(path))


def all_reduce(message_bytes: float) -> Collective:
    return Collective(
        "all-reduce",
        Pattern.ALL_REDUCE,
        ranks=8,
        stride=1.0,
        message_bytes=message_bytes,
        count=1.0,
    )


def test_the_file_says_how_its_exchanges_go(tmp_path: Path) -> None:
    assert exchange_model(chip(tmp_path)) is LIBRARY
    assert exchange_model(chip(tmp_path, "direct")) is DIRECT
    assert exchange_model(chip(tmp_path, "compiled")) is COMPILED
    assert exchange_model(find_cluster("mi300x")) is LIBRARY
    assert exchange_model(find_cluster("tpu-v6e")) is COMPILED

    small = all_reduce(message_bytes=1e3)
    library_s, compiled_s, direct_s = (
        sum(collective_time(small, chip(tmp_path, exchanges), 1.0))
        for exchanges in ("library", "compiled", "direct")
    )
    assert direct_s < compiled_s < library_s


def test_a_folder_of_files_is_a_catalogue(tmp_path: Path) -> None:
    chip(tmp_path)
    chip(tmp_path, "compiled")
    clusters = find_clusters(f"{tmp_path}, h100")
    assert [cluster.name for cluster in clusters] == ["warp-1", "warp-1", "h100"]
    assert clusters[0].accelerator.vendor == "new vendor"


def test_a_chip_shares_what_was_measured_of_its_family_and_vendor(tmp_path: Path) -> None:
    def subject(cluster: Cluster) -> Subject:
        return Subject.of(cluster.accelerator, "vllm", find_model("llama-3.1-8b"), "fp8")

    new = subject(chip(tmp_path))
    assert (new.groups["vendor"], new.groups["family"]) == ("new vendor", "warp")
    assert subject(find_cluster("h800")).groups["family"] == "hopper"

    # Nobody measured this vendor: only the engine's and the model's factors remain.
    log_factors, _ = shipped().logs(new)
    of_engine = np.log(shipped().prior.vector())
    for group in (("global", ""), *new.groups.items()):
        if group[0] not in ("vendor", "family", "hardware", "kernels"):
            of_engine = of_engine + shipped().factors.get(group, 0.0)
    assert log_factors == pytest.approx(of_engine)


def test_a_new_model_of_an_all_reduce_is_one_class(h100: Cluster) -> None:
    @dataclass(frozen=True)
    class InNetworkReduction:
        """A switch that adds: one hop up and one down, whatever the number of ranks."""

        def exchange_s(
            self, collective: Collective, cluster: Cluster, bandwidth_fraction: float
        ) -> tuple[Array, Array]:
            link = cluster.links[0]
            moving_s = np.asarray(collective.message_bytes) / link.bandwidth_bytes_per_s
            return np.asarray(2 * link.latency_s), moving_s / bandwidth_fraction

    model: ExchangeModel = InNetworkReduction()
    one = all_reduce(message_bytes=1e6)
    hops_s, moving_s = model.exchange_s(one, h100, 1.0)
    assert float(hops_s) == pytest.approx(1.2e-6)
    assert float(moving_s) == pytest.approx(1e6 / 450e9)


def test_an_estimate_needs_nothing_else(tmp_path: Path) -> None:
    from headway.steptime.deployment import Deployment

    deployment = Deployment(find_model("llama-3.1-8b"), chip(tmp_path), tp=2, precision="fp8")
    assert deployment.cluster.usd_per_accelerator_s == pytest.approx(1.5 / 3600)
