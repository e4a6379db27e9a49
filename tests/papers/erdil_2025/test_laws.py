"""Scaling laws: exact on frontiers that obey them, and in range on ours."""

from __future__ import annotations

import numpy as np
import pytest

from headway.model.catalogue import find_model
from headway.papers.erdil_2025.laws import Curve, Frontiers, laws, our_frontiers, report
from headway.report.report import Report, Row

BYTES = {"bf16": 2.0, "fp8": 1.0, "int4": 0.5}
AGE = {"v100": 0, "a100": 1, "h100": 2, "b200": 3}


def lawful(gain: float) -> Frontiers:
    """Frontiers that obey the claims exactly, except that each generation gains ``gain``."""

    def curve(model: str, weights: str, accelerator: str, bandwidth: float) -> Curve:
        speed = (
            1e7
            * find_model(model).total_params ** -0.5
            * bandwidth ** (1 / 3)
            * BYTES[weights] ** (-1 / 3)
            * gain ** AGE[accelerator]
        )
        instance = 64 * 0.5 ** AGE[accelerator]
        return Curve(*(np.array([value, value]) for value in (speed, 0.3, instance)))

    return curve


def by_law(rows: list[Row]) -> dict[str, Row]:
    return {f"{row['law']} {row['over']}": row for row in rows}


def test_laws_are_found_where_they_hold() -> None:
    for row in laws(lawful(1.25), "test"):
        assert row["at_fastest"] == pytest.approx(row["claim"])
        assert row["verdict"] == "reproduces"


def test_a_claim_that_fails_is_called_so() -> None:
    verdicts = {row["verdict"] for row in laws(lawful(3.0), "test") if row["law"] == "generation"}
    assert verdicts == {"stronger"}
    verdicts = {row["verdict"] for row in laws(lawful(0.9), "test") if row["law"] == "generation"}
    assert verdicts == {"weaker"}


def test_our_frontiers_obey_the_square_root_and_less_than_the_cube_root() -> None:
    rows = list(laws(our_frontiers, "headway"))
    parameters = next(row for row in rows if row["law"] == "parameters")
    assert parameters["at_fastest"] == pytest.approx(-0.5, abs=0.1)
    for row in rows:
        if row["law"] == "memory bandwidth":
            assert 0.1 < float(row["at_fastest"] or 0) < 1 / 3
    again = report(rows, "headway")
    assert Report.from_json(again.to_json()) == again
