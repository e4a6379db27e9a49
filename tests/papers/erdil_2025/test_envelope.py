"""The back of the envelope against the paper's arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.papers.erdil_2025.envelope import closed_form

BF16 = Precision.parse("bf16")


def test_the_fastest_cluster_minimises_the_time(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    row = closed_form(llama_70b, BF16, h100).rows[0]
    read, hops = 2 * llama_70b.active_params / 3e12, 80 * 4 * 1e-6
    assert row["read_s"] == pytest.approx(read)
    best = float(row["num_accelerators"] or 0)

    def time(n: float) -> float:
        return float(read / n + 2 * hops * (n**0.5 - 1))

    assert row["step_s"] == pytest.approx(time(best))
    assert time(best) < min(time(0.99 * best), time(1.01 * best))
    assert row["critical_batch"] == pytest.approx(1e15 / 3e12)
    floor = 2 * llama_70b.active_params / 1e15 * 2 / 3600 * 1e6
    assert row["usd_per_mtok_floor"] == pytest.approx(floor)
    assert 2 * floor < float(row["usd_per_mtok"] or 0) < 3 * floor


def test_parallel_blocks_reduce_half_as_often(llama_70b: ModelArchitecture, h100: Cluster) -> None:
    row = closed_form(replace(llama_70b, parallel_blocks=True), BF16, h100).rows[0]
    assert row["hops_s"] == pytest.approx(80 * 2 * 1e-6)


def test_a_hop_takes_time(llama_70b: ModelArchitecture, h100: Cluster) -> None:
    with pytest.raises(InputError, match="hop"):
        closed_form(llama_70b, BF16, h100, hop_s=0.0)
