"""Reports of other kinds than frontiers are drawn where their columns are known."""

from __future__ import annotations

import pytest

from headway.dashboard.chart import chart_of, panels_of
from headway.dashboard.page import page
from headway.dashboard.plot import png
from headway.metrics.report import Report, Row


def report(kind: str) -> Report:
    if kind == "tradeoff":
        question: Row = {"metric": "idealized_runtime", "score": "accuracy"}
        rows: list[Row] = [
            {"model": "a", "accuracy": 0.4, "idealized_runtime": 1.0, "on_front": True},
            {"model": "b", "accuracy": 0.3, "idealized_runtime": 2.0, "on_front": False},
        ]
    elif kind == "load":
        question = {"model": "m"}
        rows = [
            {
                "accelerator": "h200",
                "concurrency": users,
                "tpot_s": 0.01 * users**0.5,
                "tpot_s_lower": 0.008 * users**0.5,
                "tpot_s_upper": 0.03 * users**0.5,
                "output_tok_per_s_per_accelerator": 100.0 * users**0.5,
            }
            for users in (1, 4, 16)
        ]
    else:
        question = {"workload": "azure-conv"}
        rows = [
            {"policy": "fcfs", "predictions": "-", "e2e_mean_s": 3.0, "e2e_p99_s": 9.0},
            {"policy": "sjf", "predictions": "tau 0.4", "e2e_mean_s": 2.0, "e2e_p99_s": 12.0},
            {"policy": "sjf", "predictions": "shuffled", "e2e_mean_s": 3.1, "e2e_p99_s": 14.0},
        ]
    return Report(kind, f"a {kind}", question, tuple(rows))


@pytest.mark.parametrize("kind", ["tradeoff", "simulate", "load"])
def test_a_known_kind_is_drawn(kind: str) -> None:
    drawn = report(kind)
    chart = chart_of(drawn)
    assert chart is not None
    assert len(chart.points(drawn)) == len(drawn.rows)
    assert png(drawn)[:4] == b"\x89PNG"
    assert "uPlot" in page(drawn)


def test_a_load_has_two_panels_and_a_band_where_it_has_intervals() -> None:
    drawn = report("load")
    time, rate = panels_of(drawn)
    assert (time.y.key, rate.y.key) == ("tpot_s", "output_tok_per_s_per_accelerator")
    assert time.band
    assert time.y.interval(drawn.rows[0]) == (0.008, 0.03)
    assert rate.y.interval(drawn.rows[0]) is None
    bare = [{k: v for k, v in row.items() if "tpot_s_" not in k} for row in drawn.rows]
    without = Report("load", drawn.title, drawn.question, tuple(bare))
    assert png(without) != png(drawn)
    assert panels_of(Report("load", "empty", {}, ())) == ()
