"""What a measurement is worth: nothing where nothing is in doubt, more where it tells more."""

from __future__ import annotations

import numpy as np
import pytest
from tests.plan.problems import problem, stream

from headway.plan.bounds import candidates
from headway.plan.doubt import Errors, Outlook, quantile, standard_draws
from headway.plan.fleet import Fleet
from headway.plan.measure_first import Rival, benchmarks, prices_after
from headway.plan.problem import Problem


@pytest.fixture(scope="module")
def asked() -> Problem:
    return problem(demand=stream(40.0), on=("h100", "a100"))


@pytest.fixture(scope="module")
def rivals(asked: Problem) -> list[Rival]:
    options, _ = candidates(asked)
    first = {c.kind: c for c in sorted(options, key=lambda c: c.likely_usd_per_hour)[::-1]}
    return [
        Rival(Outlook.of(asked, c, Fleet(asked, c).curve(c.likely_replicas)))
        for c in first.values()
    ]


def errors(sigma: float, correlation: float, count: int = 2) -> Errors:
    matrix = sigma**2 * (correlation + (1 - correlation) * np.eye(count))
    return Errors(np.zeros(count), matrix, np.zeros(count), matrix)


def price_today(asked: Problem, rivals: list[Rival], known: Errors) -> float:
    z_tpot, z_ttft = standard_draws(400, seed=2)
    prices = []
    for k, rival in enumerate(rivals):
        spread = np.sqrt(known.tpot_covariance[k, k])
        needed = rival.outlook.needed(spread * z_tpot, spread * z_ttft)
        prices.append(quantile(needed, asked.sure) * rival.candidate.usd_per_hour)
    return float(min(prices))


def test_without_doubt_nothing_is_worth_measuring(asked: Problem, rivals: list[Rival]) -> None:
    known = errors(0.0, 0.0)
    today = price_today(asked, rivals, known)
    for row in benchmarks(asked, rivals, known, price_usd=today, even_usd=today):
        assert row.saving_usd_per_month == 0


def test_less_noise_and_more_kinship_save_more(asked: Problem, rivals: list[Rival]) -> None:
    today = price_today(asked, rivals, errors(0.25, 0.0))

    def saving(correlation: float, noise: float) -> float:
        known = errors(0.25, correlation)
        after = prices_after(asked, rivals, known, 0, noise)
        return today - float(np.mean(after))

    assert saving(0.0, 0.03) > 0
    assert saving(0.0, 0.03) >= saving(0.0, 1.0) - 1e-9


def test_more_error_never_needs_fewer_replicas(rivals: list[Rival]) -> None:
    table = rivals[0].outlook.replicas
    assert np.all(table[1:] >= table[:-1])
    assert np.all(table[:, 1:] >= table[:, :-1])
