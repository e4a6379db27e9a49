"""What kernels reach on cards with GDDR, from the two that were measured."""

from __future__ import annotations

import numpy as np
import pytest
from tools.kernel_factors import FRACTIONS, MEASURED, REFERENCE

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.steptime.deployment import Deployment
from headway.steptime.kernel_coefficients import AT
from headway.steptime.kernel_reach import REACH, kernel_reach

GDDR = ("l40s", "rtx-pro-6000")


@pytest.mark.parametrize("name", ["bandwidth_16", "bandwidth_8", "bandwidth_4"])
def test_reach_is_that_of_the_measured_cards(name: str) -> None:
    column = MEASURED.index(name)
    own, others = (
        np.nanmean(np.log([FRACTIONS[chip][column] for chip in chips]))
        for chips in (GDDR, REFERENCE)
    )
    assert own - others == pytest.approx(REACH[name], abs=0.01)


@pytest.mark.parametrize(
    ("chip", "has_reach"),
    [
        ("rtx-4090", True),
        ("rtx-3060", True),
        ("a10", True),
        ("l4", True),
        ("rtx-5080", True),
        ("a100", False),
        ("h20", False),
        ("h800", False),
        ("gb300-nvl72", False),
        ("v100", False),
        ("rx-7900-xtx", False),
    ],
)
def test_cards_with_gddr_have_it(chip: str, has_reach: bool) -> None:
    logs = kernel_reach(find_cluster(chip).accelerator, is_measured=False)
    assert bool(logs[AT["bandwidth_8"]]) is has_reach


# vLLM with AWQ, one request, Qwen2.5-7B (computingforgeeks.com/ollama-vs-vllm-vs-llama-cpp).
PUBLISHED = {"rtx-4090": 174.0, "l40s": 136.0, "rtx-5090": 250.0}


def test_published_speeds_are_met_within_a_fifth_and_most_within_the_interval() -> None:
    model, num_held = find_model("qwen2.5-7b"), 0
    for chip, published in PUBLISHED.items():
        own = Deployment(model, find_cluster(chip), precision="int4", engine="vllm")
        time = own.step_time(1, 640)
        assert 1 / float(time.expected_s) == pytest.approx(published, rel=0.21)
        num_held += float(time.lower_s) <= 1 / published <= float(time.upper_s)
    assert num_held >= 2
