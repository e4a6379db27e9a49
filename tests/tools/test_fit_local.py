"""The fit of local engines finds what scores were made from."""

from __future__ import annotations

import numpy as np
import pytest
from tools.fit_local import NAMES, PRIOR, Factors, fit, held_out, predict, typical
from tools.local_scores import LocalScore

from headway.hardware.catalogue import find_cluster
from headway.steptime.kernel_reach import vector_flops_per_s

CHIPS = ("rtx-4090", "rtx-3090", "rtx-3060", "a100", "apple-m1-max", "apple-m2-ultra", "apple-m4")
UNPACK_FLOPS, LAYER_S, BANDWIDTH = 16.0, 8e-5, 0.9


def score(chip: str, weight_bytes: float, layers: int, board: str = "one") -> LocalScore:
    accelerator = find_cluster(chip).accelerator
    memory_s = weight_bytes / accelerator.memory_bandwidth_bytes_per_s / BANDWIDTH
    unpacked_s = weight_bytes * UNPACK_FLOPS / vector_flops_per_s(accelerator)
    slow = 1.3 if board == "slow" else 1.0
    return LocalScore(
        board=board,
        accelerator=accelerator,
        model=f"of {layers} layers",
        weights="int4",
        is_prompt=False,
        weight_bytes=weight_bytes,
        kv_bytes=0.0,
        flops=0.0,
        layers=layers,
        seconds=slow * (memory_s + unpacked_s + LAYER_S * layers),
    )


def scores(board: str = "one") -> list[LocalScore]:
    sizes = ((0.7e9, 16), (3.6e9, 32), (8e9, 48))
    return [score(chip, size, layers, board) for chip in CHIPS for size, layers in sizes]


def test_the_fit_tells_its_scores() -> None:
    own = scores()
    off = predict(own, typical(own, fit(own))) / [one.seconds for one in own]
    assert np.abs(off - 1).max() < 0.05


def test_a_chip_left_out_is_told_by_the_others() -> None:
    assert np.abs(np.expm1(held_out(scores(), "chip"))).mean() < 0.1


def test_a_slow_board_moves_answers_by_its_share() -> None:
    both = scores() + scores("slow")
    answers = typical(both, fit(both))
    assert not any(level == "board" for _, level, _ in answers)

    ratio = predict(scores(), answers) / [one.seconds for one in scores()]
    assert float(np.median(ratio)) == pytest.approx(np.sqrt(1.3), abs=0.06)


def test_factors_near_nothing_are_the_prior() -> None:
    nothing: Factors = {}
    one = scores()[:1]
    base_s = one[0].weight_bytes / one[0].accelerator.memory_bandwidth_bytes_per_s
    unpacked_s = one[0].weight_bytes / vector_flops_per_s(one[0].accelerator)
    expected_s = (
        base_s / PRIOR.bandwidth + unpacked_s * PRIOR.unpack_flops + PRIOR.layer_s * one[0].layers
    )
    assert set(NAMES) >= {"bandwidth", "unpack_flops", "layer_s"}
    assert float(predict(one, nothing)[0]) == pytest.approx(expected_s)
