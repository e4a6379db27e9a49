"""How engines let prompts wait for each other, against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headway as hw
from headway.errors import InputError
from headway.serving.closed_loop import ClosedLoop
from headway.serving.rounds import Gathering
from headway.serving.served_load import serve_loop
from headway.steptime.deployment import Deployment, EngineLimits


def waits(groups: int, rate: float, limit: int, seed: int = 0) -> float:
    """Return the mean steps that prompts wait until every group has one, counted step by step."""
    random = np.random.default_rng(seed)
    waiting: list[tuple[int, int]] = []  # when it came, in which group
    waited: list[int] = []
    for step in range(100_000):
        waiting += [(step, int(random.integers(groups))) for _ in range(random.poisson(rate))]
        is_complete = len({group for _, group in waiting}) == groups
        if waiting and (is_complete or step - waiting[0][0] >= limit):
            waited += [step - came for came, _ in waiting]
            waiting = []
    return float(np.mean(waited))


@pytest.mark.parametrize(("groups", "rate"), [(4, 0.28), (4, 0.04), (8, 0.28), (8, 0.07), (2, 0.1)])
def test_prompts_wait_until_every_group_has_one(groups: int, rate: float) -> None:
    gathering = Gathering(poll_steps=1, balance_steps=60, groups=np.asarray(groups))
    assert gathering.steps(np.asarray(rate)) == pytest.approx(waits(groups, rate, 60), rel=0.25)


@given(
    poll=st.integers(1, 100), balance=st.integers(0, 500), rate=st.floats(1e-6, 10.0),
    groups=st.integers(1, 64),
)  # fmt: skip
def test_a_wait_is_no_longer_than_what_the_engine_was_told(
    poll: int, balance: int, rate: float, groups: int
) -> None:
    steps = Gathering(poll, balance, np.asarray(groups)).steps(np.asarray(rate))
    assert (poll - 1) / 2 <= steps <= (poll - 1) / 2 + balance
    if groups == 1 or not balance:
        assert steps == (poll - 1) / 2


@given(users=st.integers(1, 256), prompt=st.integers(16, 8000), polls=st.integers(1, 30))
def test_an_engine_that_looks_seldom_hands_out_the_first_token_later(
    users: int, prompt: int, polls: int
) -> None:
    deployment = Deployment(
        hw.model("deepseek-r1"), hw.cluster("b200"), tp=8, ep=8, precision="fp8", engine="sglang"
    )
    loop = ClosedLoop(prompt, 900, users)
    often, seldom = (
        serve_loop(deployment.with_limits(EngineLimits(poll_steps=steps)), loop).times
        for steps in (polls, polls + 10)
    )
    assert seldom.ttft_s >= often.ttft_s
    if users == 1:
        assert seldom.ttft_s == often.ttft_s  # an idle engine looks at once


@pytest.mark.parametrize("limits", [{"poll_steps": 0}, {"balance_steps": -1}])
def test_intervals_are_checked_at_birth(limits: dict[str, int]) -> None:
    with pytest.raises(InputError, match="poll_steps"):
        EngineLimits(**limits)
