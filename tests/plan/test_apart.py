"""Prefill and decode on engines of their own, as a plan's candidates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.plan.problems import problem

from headway.errors import InputError
from headway.plan.bounds import candidates
from headway.plan.candidate import Candidate
from headway.plan.demand import scaled_lengths, steady_profile
from headway.plan.doubt import errors_of
from headway.plan.emit import emit
from headway.plan.fleet import Fleet
from headway.plan.problem import Problem
from headway.plan.search import search
from headway.plan.stream import Stream
from headway.serving.closed_loop import ClosedLoop
from headway.serving.served_load import serve_loop


@pytest.fixture(scope="module")
def asked() -> Problem:
    demand = Stream(steady_profile(scaled_lengths(6000, 200), "long prompts", 30.0), 30.0)
    slo = "ttft p95 < 3s, tpot p95 < 14ms"
    return problem(slo, on=("h100",), demand=demand, sure=0.5, apart=True)


@pytest.fixture(scope="module")
def cell(asked: Problem) -> Candidate:
    return next(option for option in candidates(asked)[0] if option.cell[0])


def test_a_cell_counts_all_its_engines(cell: Candidate) -> None:
    prefill, decode = cell.cell
    assert cell.num_accelerators == (prefill + decode) * float(cell.deployment.num_accelerators)
    assert cell.layout.startswith(f"{prefill}xtp")
    assert f"-> {decode}xtp" in cell.layout


def test_prompts_do_not_disturb_decoding(asked: Problem, cell: Candidate) -> None:
    fleet = Fleet(asked, cell)
    run = fleet.run(cell.likely_replicas)
    records = run.outcome.records
    tpot_s = float(np.median(records.tpot_s[records.done]))
    demand = asked.demand

    # Little's law gives what decodes at once; undisturbed, that takes what `serve` says.
    stay_s = float((records.last_s - records.first_s)[records.done].mean())
    engines = cell.likely_replicas * cell.cell[1]
    at_once = run.requests_per_s * stay_s / engines
    loop = ClosedLoop(demand.prompt_tokens, demand.output_tokens, at_once, prefilled=True)
    expected_s = float(serve_loop(cell.deployment, loop).times.tpot_s)
    assert tpot_s == pytest.approx(expected_s, rel=0.12)


def test_each_stage_errs_by_itself(asked: Problem, cell: Candidate) -> None:
    fleet = Fleet(asked, cell)
    none, slow = np.zeros(1), np.full(1, 0.3)
    both, prompts, answers = (
        float(fleet.outlook.needed(tpot, ttft)[0])
        for tpot, ttft in ((slow, slow), (none, slow), (slow, none))
    )
    assert both == max(prompts, answers)
    assert min(prompts, answers) >= float(fleet.outlook.needed(none, none)[0])

    # A prompt alone errs alike, however many answers decode elsewhere.
    busier = replace(cell, concurrency=4 * cell.concurrency)
    one, other = (errors_of(asked, [candidate]) for candidate in (cell, busier))
    assert one.covariance["ttft"] == pytest.approx(other.covariance["ttft"])
    together = errors_of(asked, [replace(cell, cell=(0, 1))])
    assert one.covariance["tpot"] != pytest.approx(together.covariance["tpot"])


def test_more_ways_to_serve_never_cost_more(asked: Problem) -> None:
    together = replace(asked, apart=False)
    prices = [search(one, candidates(one)[0]).offers[0].usd_per_hour for one in (asked, together)]
    assert prices[0] <= prices[1]


def test_each_stage_is_started_by_a_script_of_its_own(cell: Candidate) -> None:
    files = emit("vllm", cell, 2, ())
    assert sorted(files) == ["start-vllm-decode.sh", "start-vllm-prefill.sh"]
    assert "NixlConnector" in files["start-vllm-prefill.sh"]
    with pytest.raises(InputError, match="prefill apart"):
        emit("kserve", cell, 2, ())
