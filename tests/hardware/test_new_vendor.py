"""A new accelerator of a new vendor is one file: nothing else knows vendors or families."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    exchange_model,
)
from headway.steptime.deployment import Deployment
from headway.steptime.roofline import EXPECTED
from headway.steptime.time_estimate import Basis
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
        sum(exchange_model(cluster).exchange_s(small, cluster, 1.0))
        for cluster in (chip(tmp_path, word) for word in ("library", "compiled", "direct"))
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
    log_factors = shipped().logs(new)
    of_engine = np.log(shipped().prior.vector())
    for group in (("global", ""), *new.groups.items()):
        if group[0] not in ("vendor", "family", "hardware", "kernels"):
            of_engine = of_engine + shipped().factors.get(group, 0.0)
    assert log_factors == pytest.approx(of_engine)


@dataclass(frozen=True)
class InNetworkReduction:
    """A switch that adds: one hop up and one down, whatever the number of ranks."""

    def exchange_s(
        self, collective: Collective, cluster: Cluster, bandwidth_fraction: float
    ) -> tuple[Array, Array]:
        link = cluster.links[0]
        moving_s = np.asarray(collective.message_bytes) / link.bandwidth_bytes_per_s
        hops_s = np.full_like(moving_s, 2 * link.latency_s)
        count = np.asarray(collective.count)
        return hops_s * count, moving_s * count / bandwidth_fraction


def test_a_new_model_of_an_all_reduce_is_one_class(h100: Cluster) -> None:
    hops_s, moving_s = InNetworkReduction().exchange_s(all_reduce(message_bytes=1e6), h100, 1.0)
    assert float(hops_s) == pytest.approx(1.2e-6)
    assert float(moving_s) == pytest.approx(1e6 / 450e9)

    # A deployment takes the object, and nothing but the exchanges changes.
    model = find_model("llama-3.1-70b")
    library = Deployment(model, h100, tp=8)
    switch = Deployment(
        model, h100, tp=8, efficiency=replace(EXPECTED, exchanges=InNetworkReduction())
    )
    library_times = library.step_time(batch=8, context=1024)
    switch_times = switch.step_time(batch=8, context=1024)
    assert switch_times.expected_s < library_times.expected_s


def test_an_estimate_needs_nothing_but_the_file(tmp_path: Path) -> None:
    deployment = Deployment(find_model("llama-3.1-8b"), chip(tmp_path), tp=2, precision="fp8")
    times = deployment.step_time(batch=[1, 8, 64], context=2048)
    assert np.all(times.lower_s <= times.expected_s)
    assert np.all(times.expected_s <= times.upper_s)
    assert np.all(np.diff(times.expected_s) > 0)

    # No engine was measured on a chip of this vendor: the answer says so, and is wider for it.
    engine = Deployment(find_model("llama-3.1-8b"), chip(tmp_path), tp=2, engine="vllm")
    assert engine.step_time(batch=8, context=2048).basis is Basis.ANALYTIC
