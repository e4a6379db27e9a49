"""Held-out scores: groups stay whole, and the shipped table is what the bars are read from."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from tools.held_out import Scored, centers, covered, folds, quantiles, serving_rows
from tools.published_points import read_points
from tools.static_batches import read_static

from headway.errors import InputError
from headway.measure.accuracy import shipped_accuracy
from headway.steptime.calibration import CELL, HARDWARE, MODEL, QUANTITIES


def _scored(split: str, errors: list[float], fold: list[str]) -> Scored:
    values = np.array(errors)
    return Scored(split, tuple(fold), dict.fromkeys(QUANTITIES, values))


def test_an_interval_never_sees_the_group_it_is_tried_on() -> None:
    rng = np.random.default_rng(0)
    errors = [*rng.normal(0, 0.1, 500), *rng.normal(1.0, 0.1, 500)]
    scored = _scored(HARDWARE, errors, ["a"] * 500 + ["b"] * 500)
    inside, width = covered(scored, "tpot")
    assert not inside[500:].any()  # the first group's interval knows nothing of the second
    assert np.all(width > 1)


def test_alike_groups_are_covered_as_stated() -> None:
    rng = np.random.default_rng(1)
    errors = list(rng.normal(0, 0.2, 4000))
    many, _ = covered(_scored(HARDWARE, errors, [str(i % 100) for i in range(4000)]), "tpot")
    assert many.mean() == pytest.approx(0.8, abs=0.02)
    few, _ = covered(_scored(HARDWARE, errors, list("abcd") * 1000), "tpot")
    assert many.mean() < few.mean() < 0.9  # few groups say little about the next


def test_two_novelties_add_as_independent_ones() -> None:
    rng = np.random.default_rng(2)
    scored = [
        _scored(split, list(rng.normal(0, s, 4000)), [str(i % 100) for i in range(4000)])
        for split, s in ((CELL, 0.1), (HARDWARE, 0.3), (MODEL, 0.4))
    ]
    made = quantiles(scored)
    assert made["both"]["tpot"][1] == pytest.approx(1.2816 * 0.5, rel=0.1)


def test_the_shipped_scores_meet_the_bars_they_are_said_to_meet() -> None:
    rows = {(row.split, row.quantity): row for row in shipped_accuracy().rows if row.by == "all"}
    assert rows["model", "tpot"].mape <= 0.20
    assert rows["hardware", "tpot"].within_25 >= 0.80
    assert rows["hardware", "throughput"].mape <= 0.15
    assert rows["hardware", "ttft"].median <= 0.25
    for split in ("hardware", "model"):
        assert rows[split, "throughput"].within_25 >= 0.80
        assert rows[split, "energy"].mape <= 0.20
        assert 0.75 <= rows[split, "tpot"].coverage <= 0.85
    assert rows["in sample", "tpot"].mape < rows["hardware", "tpot"].mape


def test_what_is_taken_out_for_two_novelties_is_the_sum() -> None:
    scored = [
        Scored(split, (), {}, center)
        for split, center in ((CELL, 0.0), (HARDWARE, -0.02), (MODEL, -0.05))
    ]
    assert centers(scored) == pytest.approx({"hardware": -0.02, "model": -0.05, "both": -0.07})


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_points(tmp_path / "none.csv.gz")
    broken = tmp_path / "broken.csv.gz"
    broken.write_text("no gzip")
    with pytest.raises(InputError, match="cannot be read"):
        read_points(broken)


def test_rows_become_points_or_a_reason(shared_data: Path, tmp_path: Path) -> None:
    whole = shared_data / "measured" / "measured.csv.gz"
    some = tmp_path / "some.csv.gz"
    with gzip.open(whole, "rt") as lines, gzip.open(some, "wt") as out:
        for i, line in enumerate(lines):
            if i == 0 or i % 40 == 0:
                out.write(line)
    points, left_out = read_points(some)
    assert len(points) > 80
    assert sum(left_out.values()) > 20
    for point in points:
        assert point.tpot_s is not None
        assert point.tpot_s > 0
        assert not any("unknown precision" in reason for reason in left_out)


def test_old_static_batches_are_read_apart(shared_data: Path) -> None:
    whole = shared_data / "measured" / "measured.csv.gz"
    points, left_out = read_static(whole)
    assert {"a100", "a100-40g", "h100", "mi300x"} <= {point.hardware for point in points}
    assert left_out["thinned out"] > 1000
    assert len(serving_rows(points)) == 0
    pairs = {
        (point.hardware, point.model): fold
        for point, fold in zip(points, folds(CELL, points), strict=True)
    }
    for point, fold in zip(points, folds(CELL, points), strict=True):
        assert pairs[point.hardware, point.model] == fold  # a pair stays whole
