"""The profile that chooses for itself, on engines of known runtime."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from headway.errors import InputError
from headway.ideal.adaptive import Measure, Progress, Target, measure_until
from headway.measure.measurement import Clock, Measurement, RequestLoad, Setup

SETUP = Setup("m", "fake 1", "cpu")
TARGET = Target.up_to(1024, 32)


def true_s(prompt: float, output: float) -> float:
    return max(0.02, 0.012 + 6e-5 * prompt) + 0.019 * (output - 1)


def runner(noise: float = 0.0) -> Measure:
    source = random.Random(0)

    def run(loads: Sequence[RequestLoad]) -> list[Measurement]:
        return [
            Measurement(
                SETUP, load,
                tuple(
                    true_s(load.prompt_tokens, load.output_tokens)
                    * (1 + noise * source.expovariate(1))
                    for _ in range(3)
                ),
                Clock.WALL, "",
            )
            for load in loads
        ]  # fmt: skip

    return run


def test_it_ends_when_it_knows_enough_and_is_right() -> None:
    states: list[Progress] = []
    progress = measure_until(runner(), TARGET, 0.05, notice=states.append)
    assert progress.half_width <= 0.05
    assert all(state.half_width > 0.05 for state in states[:-1])
    assert len(progress.measurements) < 10
    for prompt, output in ((1, 4), (100, 1), (700, 16), (1024, 32)):
        predicted_s = float(progress.fit.predict(prompt, output))
        assert predicted_s == pytest.approx(true_s(prompt, output), rel=0.08)


def test_narrower_takes_more_requests() -> None:
    counts = [len(measure_until(runner(), TARGET, w).measurements) for w in (0.2, 0.08, 0.04)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_noise_ends_it_all_the_same_and_repeats_add_trials() -> None:
    progress = measure_until(runner(noise=1.0), TARGET, 0.001, max_requests=12)
    assert progress.half_width > 0.001
    assert sum(len(m.trials_s) for m in progress.measurements) <= 3 * 12
    assert len({m.load for m in progress.measurements}) == len(progress.measurements)


def test_what_cannot_be_known_is_refused() -> None:
    for within in (0.0, 1.0, -1.0):
        with pytest.raises(InputError, match="more than 0"):
            measure_until(runner(), TARGET, within)
