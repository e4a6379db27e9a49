"""Held-out scores: groups stay whole, and the shipped table is what the bars are read from."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tools.held_out import CELL, folds, serving_rows
from tools.published_points import read_points
from tools.static_batches import read_static

from headway.errors import InputError
from headway.measure.accuracy import shipped_accuracy


def test_the_shipped_scores_meet_the_bars_they_are_said_to_meet() -> None:
    rows = {(row.split, row.quantity): row for row in shipped_accuracy().rows if row.by == "all"}
    assert rows["hardware", "tpot"].mape <= 0.13
    assert rows["model", "tpot"].mape <= 0.16
    assert rows["hardware", "tpot"].within_25 >= 0.80
    assert rows["hardware", "throughput"].mape <= 0.135
    for split in ("hardware", "model"):
        assert rows[split, "energy"].mape <= 0.20
        assert 0.72 <= rows[split, "tpot"].coverage <= 0.88
        assert 0.72 <= rows[split, "throughput"].coverage <= 0.92  # a little too wide


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
