"""The joint error model: two answers, one world."""

from __future__ import annotations

import numpy as np
import pytest

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.serving.closed_loop import ClosedLoop
from headway.serving.doubt import QUANTITIES, Doubt, Question
from headway.serving.estimate import serve
from headway.serving.serving_point import ServingPoint
from headway.steptime.deployment import Deployment
from headway.steptime.strangeness import STRANGE_LINE

LOAD = ClosedLoop(1000, 1000, 32)


def _asked(model: str, chip: str, engine: str | None = "vllm", tp: int = 8) -> Question:
    deployment = Deployment(
        find_model(model), find_cluster(chip), tp=tp, precision="fp8", engine=engine
    )
    return deployment, LOAD


LLAMA, QWEN = _asked("llama-3.3-70b", "h200"), _asked("qwen3-32b", "mi300x", "sglang")


def test_an_answer_and_the_doubt_state_one_interval() -> None:
    errors = Doubt.shipped().of([LLAMA])
    served = serve(*LLAMA)
    low, high = errors.interval()["tpot"]
    assert errors.mean["tpot"] == pytest.approx(0, abs=1e-12)
    assert served.tpot_s.upper / served.tpot_s.expected == pytest.approx(high[0], rel=1e-3)
    assert served.tpot_s.lower / served.tpot_s.expected >= low[0] * (1 - 1e-3)


def test_strange_chips_are_as_wide_here_until_they_are_measured() -> None:
    radeon = Deployment(
        find_model("llama-3.1-8b"), find_cluster("rx-7900-xtx"), precision="fp16", engine="vllm"
    )
    questions = [(radeon, LOAD), (radeon, ClosedLoop(1000, 1000, 16))]
    errors, served = Doubt.shipped().of(questions), serve(*questions[0])
    high = errors.interval()["tpot"][1]
    assert served.tpot_s.upper / served.tpot_s.expected == pytest.approx(high[0], rel=1e-3)
    both = errors.covariance["throughput"][0, 0] - errors.covariance["tpot"][0, 0]
    assert both == pytest.approx(errors.run[1][0, 0])  # strange once
    assert both < STRANGE_LINE**2
    # One is as strange as the other.
    assert errors.ratio(0, 1)["tpot"][1] < 1.3

    expected = float(served.tpot_s.expected)
    measured = ServingPoint("own", *questions[0], tpot_s=expected, ttft_s=0.2, total_tok_per_s=500)
    after = Doubt.shipped().given([measured]).of(questions)
    assert after.covariance["tpot"][0, 0] < errors.covariance["tpot"][0, 0] - STRANGE_LINE**2


def test_the_ratio_of_like_deployments_is_surer_than_either() -> None:
    model, chip = "qwen2.5-72b", "a100"  # neither was measured under a closed loop
    alike = [_asked(model, chip, tp=8), _asked(model, chip, tp=4)]
    errors = Doubt.shipped().of([*alike, QWEN])

    def width(one: int, other: int) -> float:
        low, high = errors.ratio(one, other)["tpot"]
        return float(np.log(high / low))

    low, high = errors.interval()["tpot"]
    apart = np.hypot(*np.log(high / low)[:2])
    assert width(0, 1) < 2 / 3 * apart
    assert width(0, 1) < width(0, 2)
    assert errors.ratio(0, 1)["tpot"][0] == pytest.approx(1 / errors.ratio(1, 0)["tpot"][1])


def test_draws_have_the_covariance_they_are_drawn_of() -> None:
    errors = Doubt.shipped().of([LLAMA, QWEN])
    draws = errors.draw(np.random.default_rng(0), 20_000)
    for quantity in QUANTITIES:
        sample = np.cov(draws[quantity].T)
        wanted = errors.covariance[quantity]
        assert sample == pytest.approx(wanted, abs=0.04 * np.max(wanted))
    assert np.corrcoef(draws["tpot"][:, 0], draws["throughput"][:, 0])[0, 1] < -0.5
    again = errors.draw(np.random.default_rng(0), 20_000)
    assert np.array_equal(draws["tpot"], again["tpot"])


def test_a_measurement_never_widens_what_it_measured_or_anything_else() -> None:
    questions = [LLAMA, QWEN, _asked("llama-3.3-70b", "mi300x"), _asked("qwen3-32b", "h200")]
    before = Doubt.shipped()
    measured = ServingPoint(
        source="own", deployment=LLAMA[0], load=LOAD, tpot_s=0.02, ttft_s=0.2, total_tok_per_s=3e3
    )
    after = before.given([measured])
    old, new = before.of(questions), after.of(questions)
    for quantity in ("tpot", "ttft", "throughput"):
        widths = np.diag(new.covariance[quantity]) / np.diag(old.covariance[quantity])
        assert np.all(widths <= 1 + 1e-9)
        assert np.argmin(widths) == 0
    assert np.sign(new.mean["tpot"][0]) == np.sign(np.log(0.02 / serve(*LLAMA).tpot_s.expected))


def test_an_engine_that_nobody_measured_is_wide_and_has_no_direction() -> None:
    errors = Doubt.shipped().of([LLAMA, _asked("llama-3.3-70b", "h200", None)])
    assert errors.mean["tpot"][1] == 0
    assert errors.covariance["tpot"][1, 1] > errors.covariance["tpot"][0, 0]
