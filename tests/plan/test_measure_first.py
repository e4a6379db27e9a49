"""What a measurement is worth: nothing where nothing is in doubt, more where it tells more."""

from __future__ import annotations

import numpy as np
import pytest
from tests.plan.problems import problem, stream

from headway.plan.bounds import candidates
from headway.plan.doubt import quantile, standard_draws
from headway.plan.fleet import Fleet
from headway.plan.measure_first import RUNS, SETUP_S, benchmarks, layout_runs, prices_after
from headway.serving.doubt import LogErrors


@pytest.fixture(scope="module")
def rivals() -> list[Fleet]:
    asked = problem(demand=stream(40.0), on=("h100", "a100"))
    options, _ = candidates(asked)
    first = {c.kind: c for c in sorted(options, key=lambda c: c.likely_usd_per_hour)[::-1]}
    return [Fleet(asked, c) for c in first.values()]


def errors(sigma: float, correlation: float, count: int = 2) -> LogErrors:
    matrix = sigma**2 * (correlation + (1 - correlation) * np.eye(count))
    zero = np.zeros(count)
    return LogErrors(
        mean={"tpot": zero, "ttft": zero},
        covariance={"tpot": matrix, "ttft": matrix},
        run=(zero, matrix),
    )


def price_today(rivals: list[Fleet], known: LogErrors) -> float:
    z_tpot, z_ttft = standard_draws(400, seed=2)
    prices = []
    for k, rival in enumerate(rivals):
        spread = np.sqrt(known.covariance["tpot"][k, k])
        needed = rival.outlook.needed(spread * z_tpot, spread * z_ttft)
        prices.append(quantile(needed, rival.problem.sure) * rival.candidate.usd_per_hour)
    return float(min(prices))


def test_without_doubt_nothing_is_worth_measuring(rivals: list[Fleet]) -> None:
    known = errors(0.0, 0.0)
    today = price_today(rivals, known)
    for number in range(len(rivals)):
        assert np.all(prices_after(rivals, known, number, 0.03) == today)
    usual = benchmarks(rivals, today, today)
    assert [row.saving_usd_per_month - row.usd for row in usual] == sorted(
        (row.saving_usd_per_month - row.usd for row in usual), reverse=True
    )


def test_less_noise_and_more_kinship_save_more(rivals: list[Fleet]) -> None:
    today = price_today(rivals, errors(0.25, 0.0))

    def saving(correlation: float, noise: float) -> float:
        known = errors(0.25, correlation)
        return today - float(np.mean(prices_after(rivals, known, 0, noise)))

    assert saving(0.0, 0.03) > 0
    assert saving(0.0, 0.03) >= saving(0.0, 1.0) - 1e-9


def test_more_error_never_needs_fewer_replicas(rivals: list[Fleet]) -> None:
    table = rivals[0].outlook.replicas
    assert np.all(table[1:] >= table[:-1])
    assert np.all(table[:, 1:] >= table[:, :-1])


def test_a_run_of_every_layout_is_listed_with_its_price() -> None:
    asked = problem(on=("h100",), demand=stream(60.0))
    layouts = [option for option in candidates(asked)[0] if option.kind[1] == "vllm"][:3]
    words, *commands = layout_runs(asked, layouts)
    usd = sum(one.usd_per_hour for one in layouts) * (RUNS[0][0] + SETUP_S) / 3600
    assert "all 3 layouts on h100" in words
    assert f"${usd:,.2f}" in words
    for one, command in zip(layouts, commands, strict=True):
        assert command.startswith(f"{one.layout}: vllm bench serve")
    assert layout_runs(asked, layouts[:1]) == ()
