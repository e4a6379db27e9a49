"""Users in a closed loop, simulated by a loop that is open."""

from __future__ import annotations

import numpy as np
import pytest
from tests.plan.problems import crowd, problem

from headway.errors import InputError
from headway.plan.asked_demand import demand_of
from headway.plan.bounds import candidates
from headway.plan.demand import scaled_lengths
from headway.plan.fleet import Fleet


def fleet_of(demand: object) -> Fleet:
    asked = problem(demand=demand, on=("h100",))
    options, _ = candidates(asked)
    return Fleet(asked, options[0])


def test_an_exact_run_is_a_closed_loop() -> None:
    users = crowd()
    run = users.run(fleet_of(users).site(2), exact=True)
    # Requests of one user are the turns of one row: they follow each other by answer and thought.
    people = users.crowd(0).of(users.users)
    ended_s = run.outcome.records.last_s
    arrival_s = people.arrivals(np.zeros_like(people.pause_s))
    starts = set(np.round(run.trace.arrival_s, 9))
    assert set(np.round(arrival_s[:, 0][arrival_s[:, 0] < users.duration_s], 9)) <= starts
    # Never more in the system than there are people.
    events = np.concatenate(
        [
            np.stack([run.trace.arrival_s, np.ones(len(ended_s))]),
            np.stack([ended_s + 2e-3, -np.ones(len(ended_s))]),
        ],
        axis=1,
    )
    inside = np.cumsum(events[1, np.argsort(events[0], kind="stable")])
    assert inside.max() <= users.users


def test_a_closed_loop_obeys_littles_law() -> None:
    users = crowd(200)
    run = users.run(fleet_of(users).site(1), exact=True)
    e2e_s = float(run.outcome.records.e2e_s.mean())
    expected = float(users.requests_per_s(np.array(e2e_s)))
    assert run.requests_per_s == pytest.approx(expected, rel=0.06)


def test_a_typical_run_has_the_statistics_of_the_exact_one() -> None:
    users = crowd(200)
    site = fleet_of(users).site(1)
    typical, exact = (users.run(site, exact=exact).outcome.records for exact in (False, True))
    for level in (50, 95):
        ours, theirs = (np.percentile(r.tpot_s[r.tpot_s > 0], level) for r in (typical, exact))
        assert ours == pytest.approx(theirs, rel=0.08)


def test_conversations_grow_and_find_their_prefix() -> None:
    users = crowd(30, turns=6)
    run = users.run(fleet_of(users).site(1))
    assert users.prompt_tokens > 2 * crowd(30).prompt_tokens
    hits = run.outcome.records.cached_tokens.sum() / run.trace.prompt_tokens.sum()
    assert 0.3 < hits <= users.cached_fraction


def test_lengths_have_the_means_that_were_asked_for() -> None:
    prompts, outputs = scaled_lengths(2000, 400).sample(np.random.default_rng(3), 50_000)
    assert prompts.mean() == pytest.approx(2000, rel=0.02)
    assert outputs.mean() == pytest.approx(400, rel=0.02)
    prompts, outputs = scaled_lengths(2000, 400, None).sample(np.random.default_rng(3), 10)
    assert set(prompts) == {2000}
    assert set(outputs) == {400}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "users, a rate"),
        ({"users": 5, "rate": 3.0}, "give one of"),
        ({"rate": 3.0, "turns": 4}, "turns belong to users"),
        ({"workload": "azure-conv", "prompt": 500}, "leave out prompt"),
    ],
)
def test_a_demand_that_makes_no_sense_is_refused(more: dict[str, object], words: str) -> None:
    nothing = dict.fromkeys(
        ("users", "rate", "trace", "prometheus", "workload", "prompt", "output")
    )
    rest = {"think_s": 1.0, "turns": 1, "lengths": "fixed", "objectives": ()}
    with pytest.raises(InputError, match=words):
        demand_of(**(nothing | rest | {"max_context_tokens": None} | more))  # type: ignore[arg-type] # wrong on purpose
