"""Where times of an engine carry over, and how wide answers are where they do not."""

from __future__ import annotations

import pytest

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.steptime.deployment import Deployment
from headway.steptime.strangeness import STRANGE_LINE, STRANGE_VENDOR, strangeness
from headway.steptime.time_estimate import Basis

MEASURED = {
    ("vendor, engine", "amd, vllm"),
    ("vendor, engine", "nvidia, vllm"),
    ("family", "cdna3"),
    ("family", "hopper"),
    ("family", "ampere"),
}


@pytest.mark.parametrize(
    ("vendor", "family", "expected"),
    [
        ("amd", "cdna3", 0.0),
        ("amd", "cdna2", 0.0),
        ("amd", "rdna3", STRANGE_LINE),
        ("nvidia", "ada", 0.0),
        ("intel", "xe-hpc", STRANGE_VENDOR),
    ],
)
def test_times_carry_over_within_a_line(vendor: str, family: str, expected: float) -> None:
    assert strangeness(vendor, family, "vllm", MEASURED) == expected


@pytest.mark.parametrize(
    ("chip", "basis", "width"),
    [
        ("h200", Basis.FITTED, 1.0),
        ("mi250x", Basis.FITTED, 1.0),
        ("rx-7900-xtx", Basis.ANALYTIC, 1.6),
        ("max-1550", Basis.ANALYTIC, 3.5),
    ],
)
def test_strange_chips_are_analytic_and_wide(chip: str, basis: Basis, width: float) -> None:
    model = find_model("llama-3.1-8b")
    time = Deployment(model, find_cluster(chip), precision="fp16", engine="vllm").step_time(1, 500)
    assert time.basis is basis
    assert float(time.upper_s / time.expected_s) > width
