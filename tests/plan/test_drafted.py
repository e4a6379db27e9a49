"""Engines that draft, in a simulation whose steps give one token each."""

from __future__ import annotations

import numpy as np
import pytest

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.plan.drafted import OneTokenSteps, own_drafts
from headway.serving.closed_loop import ClosedLoop
from headway.serving.served_load import serve_loop
from headway.steptime.deployment import Deployment
from headway.workload.step import Step

DRAFTS = list(own_drafts(find_model("glm-4.5-air")))


def deployment(tokens: int) -> Deployment:
    model = find_model("glm-4.5-air")
    return Deployment(
        model, find_cluster("h200"), tp=2, ep=2, engine="vllm", drafting=DRAFTS[tokens]
    )


def test_only_models_with_heads_of_their_own_draft() -> None:
    assert DRAFTS[0] is None
    assert [float(d.tokens) for d in DRAFTS if d is not None] == [1, 2, 3]
    assert list(own_drafts(find_model("llama-3.1-8b"))) == [None]


@pytest.mark.parametrize("tokens", [1, 3])
def test_one_sequence_alone_takes_what_estimate_says_of_it(tokens: int) -> None:
    drafted = deployment(tokens)
    drafting = drafted.drafting
    assert drafting is not None
    steps = OneTokenSteps(drafted, drafting)
    ours = steps.step_time(Step.decode(1.0, 1100.0)).expected_s
    served = serve_loop(drafted, ClosedLoop(1000, 200, 1.0)).times.tpot_s
    assert float(ours) == pytest.approx(float(served), rel=0.01)


def test_a_prompt_adds_what_it_adds_to_a_whole_pass() -> None:
    drafted = deployment(2)
    drafting = drafted.drafting
    assert drafting is not None
    steps, model = OneTokenSteps(drafted, drafting), drafted.step_time_model
    prompt = Step.prefill(1.0, 2000.0)
    assert np.all(steps.step_time(prompt).expected_s == model.step_time(prompt).expected_s)

    sequences, context = np.array([1.0, 8.0, 64.0]), 1000.0
    alone = steps.step_time(Step.decode(sequences, context)).expected_s
    mixed = steps.step_time(Step.decode(sequences, context).with_group(prompt)).expected_s
    verify = Step.decode(sequences, context, float(drafting.verified_tokens))
    added = (
        model.step_time(verify.with_group(prompt)).expected_s - model.step_time(verify).expected_s
    )
    assert mixed - alone == pytest.approx(added)
    assert np.all(mixed > alone)
