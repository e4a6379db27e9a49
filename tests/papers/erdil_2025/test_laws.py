"""Scaling laws: exact on frontiers that obey them, and in range on ours."""

from __future__ import annotations

import numpy as np
import pytest

from headway.model.catalogue import find_model
from headway.papers.erdil_2025.laws import FORMATS, Curve, Frontiers, laws, laws_report
from headway.report.report import Report

AGE = {"v100": 0, "a100": 1, "h100": 2, "b200": 3}


def lawful(gain: float) -> Frontiers:
    """Frontiers that obey the claims exactly, except that each generation gains ``gain``."""

    def curve(model: str, weights: str, accelerator: str, bandwidth: float) -> Curve:
        speed = (
            1e7
            * find_model(model).total_params ** -0.5
            * bandwidth ** (1 / 3)
            * FORMATS[weights] ** (-1 / 3)
            * gain ** AGE[accelerator]
        )
        instance = 64 * 0.5 ** AGE[accelerator]
        return Curve(*(np.array([value, value]) for value in (speed, 0.3, instance)))

    return curve


def test_laws_are_found_where_they_hold() -> None:
    rows = list(laws(lawful(1.25)))
    for row in rows:
        assert row.at_fastest == pytest.approx(row.claim)
        assert row.verdict == "reproduces"
    sizes = [row.accelerators_at_fixed_cost for row in rows if row.law == "generation"]
    assert sizes == pytest.approx([0.5] * 3)


def test_a_claim_that_fails_is_called_so() -> None:
    for gain, verdict in ((3.0, "stronger"), (0.9, "weaker")):
        rows = [row for row in laws(lawful(gain)) if row.law == "generation"]
        assert {row.verdict for row in rows} == {verdict}


def test_our_frontiers_obey_the_square_root_and_less_than_the_cube_root() -> None:
    report = laws_report(ours=True)
    parameters = next(row for row in report.rows if row.law == "parameters")
    assert parameters.at_fastest == pytest.approx(-0.5, abs=0.1)
    for row in report.rows:
        if row.law == "memory bandwidth":
            assert 0.1 < row.at_fastest < 1 / 3
    assert Report.from_json(report.to_json()).flat_rows == report.flat_rows
