"""A new way to time a step, to order requests or to predict a length is one class of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

import headway as hw
from headway.predict.prediction import LengthPrediction
from headway.schedule.order import Keys, Policy
from headway.schedule.view import View
from headway.sim.outcome import simulate_trace
from headway.sim.scenario import PoolSpec
from headway.sim.site import Site
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Basis, TimeEstimate
from headway.workload.oracle import Trace
from headway.workload.request import Request
from headway.workload.step import Step

SERVED = "llama-3.1-8b@h100:tp1"


class EverySecond:
    """A machine that takes one second for a step, whatever is in it."""

    request_overhead = RequestOverhead()

    def step_time(self, step: Step) -> TimeEstimate:
        """Return one second for every step."""
        second = np.ones(step.num_sequences.shape[:-1])
        return TimeEstimate(second, second, second, Basis.ASSUMED)


def test_a_step_time_model_is_a_class() -> None:
    pool = PoolSpec(deployment=hw.deployment(SERVED), step_times=EverySecond()).pool()
    trace = Trace(np.zeros(1), np.full(1, 100), np.full(1, 11))
    records = simulate_trace(trace, Site((pool,))).records
    assert records.ttft_s[0] == pytest.approx(1.0)
    assert records.tpot_s[0] == pytest.approx(1.0)


@dataclass(frozen=True, slots=True)
class LongestPrompt(Policy):
    """The longest prompt goes first."""

    name: str = "longest-prompt"
    uses_predictions = False

    def keys(self, view: View) -> Keys:
        """Return the prompts' lengths, the longest the smallest."""
        return Keys(-view.prompt_tokens)


def test_an_order_of_requests_is_a_class() -> None:
    runs = hw.simulate(
        "azure-code",
        on=SERVED,
        policies=["fcfs", LongestPrompt()],
        load=1.5,
        num_requests=100,
        seeds=1,
    )
    by_name = {row.policy: row for row in runs.rows}
    assert by_name["longest-prompt"].e2e_mean_s != by_name["fcfs"].e2e_mean_s


class AsLongAsThePrompt:
    """An answer is said to be about as long as its prompt."""

    def __init__(self) -> None:
        self.asked = 0

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        """Return half to twice the tokens of the prompt."""
        self.asked += len(requests)
        return [
            LengthPrediction(((0.1, request.prompt_tokens / 2), (0.9, request.prompt_tokens * 2)))
            for request in requests
        ]

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn nothing."""


def test_a_length_predictor_is_a_class() -> None:
    predictor = AsLongAsThePrompt()
    lengths = np.arange(10, 60)
    trace = Trace(np.arange(50) / 10, lengths, lengths[::-1], prompts=("word " * 10,) * 50)
    runs = hw.simulate(
        trace, on=SERVED, policies=["fcfs", "sjf"], predictor=predictor, rate=50.0, seeds=1
    )
    assert predictor.asked >= 50
    assert any(row.policy == "sjf" for row in runs.rows)
