"""Reports of other kinds than frontiers are drawn where their columns are known."""

from __future__ import annotations

from itertools import pairwise

import pytest

from headway.report.bars import bars_of
from headway.report.kinds import chart_of, panels_of
from headway.report.page import page
from headway.report.plot import png
from headway.report.report import Report, Row


def report(kind: str) -> Report:
    if kind == "tradeoff":
        question: Row = {"metric": "idealized_runtime", "score": "accuracy"}
        rows: list[Row] = [
            {"model": "a", "accuracy": 0.4, "idealized_runtime": 1.0, "on_front": True},
            {"model": "b", "accuracy": 0.3, "idealized_runtime": 2.0, "on_front": False},
        ]
    elif kind == "serving":
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
    elif kind == "ideal":
        question = {"models": "a"}
        rows = [
            {"model": "a", "runtime_s": 1.0, "runtime_s_lower": 0.7, "runtime_s_upper": 1.4,
             "energy_j": 300.0, "energy_j_lower": 200.0, "energy_j_upper": 400.0},
            {"model": "a", "runtime_s": 0.4, "energy_j": 310.0},
        ]  # fmt: skip
    elif kind in ("probes", "profile"):
        question = {"model": "a"}
        x, y = ("asked_prompt_tokens", "ttft_s") if kind == "probes" else (
            "prompt_tokens", "duration_s")  # fmt: skip
        rows = [
            {"model": "a", "what": "step", x: size, y: 0.1, f"{y}_lower": 0.09, f"{y}_upper": 0.1}
            for size in (16, 64)
        ]
    else:
        question = {"workload": "azure-conv"}
        rows = [
            {"policy": "fcfs", "predictions": "-", "e2e_mean_s": 3.0, "e2e_p99_s": 9.0},
            {"policy": "sjf", "predictions": "tau 0.4", "e2e_mean_s": 2.0, "e2e_p99_s": 12.0},
            {"policy": "sjf", "predictions": "shuffled", "e2e_mean_s": 3.1, "e2e_p99_s": 14.0},
        ]
    return Report(kind, f"a {kind}", question, tuple(rows))


@pytest.mark.parametrize("kind", ["tradeoff", "simulate", "serving", "ideal", "probes", "profile"])
def test_a_known_kind_is_drawn(kind: str) -> None:
    drawn = report(kind)
    chart = chart_of(drawn)
    assert chart is not None
    assert len(chart.points(drawn)) == len(drawn.rows)
    assert png(drawn)[:4] == b"\x89PNG"
    assert "uPlot" in page(drawn)


def test_a_load_at_several_concurrencies_has_two_panels_and_bars_where_it_has_intervals() -> None:
    drawn = report("serving")
    time, rate = panels_of(drawn)
    assert (time.y.key, rate.y.key) == ("tpot_s", "output_tok_per_s_per_accelerator")
    assert time.doubts
    assert time.y.interval(drawn.rows[0]) == (0.008, 0.03)
    assert rate.y.interval(drawn.rows[0]) is None
    bare = [{k: v for k, v in row.items() if "tpot_s_" not in k} for row in drawn.rows]
    without = Report("serving", drawn.title, drawn.question, tuple(bare))
    assert png(without) != png(drawn)
    assert panels_of(Report("serving", "empty", {}, ())) == ()


def test_where_the_time_of_an_endpoint_goes_is_drawn_as_bars_that_add_up() -> None:
    def part(name: str, value: float | None, unit: str = "s") -> Row:
        ends = (None, None) if value is None else (0.9 * value, 1.1 * value)
        return {"part": name, "value": value, "lower": ends[0], "upper": ends[1], "unit": unit}

    rows = (
        part("raw", 1.0), part("idealized", 0.5), part("software factor", 1.4, "x"),
        part("model and software", 0.7), part("contention <b>", 0.2), part("network", None),
        part("queue", 0.1),
    )  # fmt: skip
    drawn = Report("endpoint", "an endpoint", {}, rows)
    bars = bars_of(drawn)
    assert [bar.name for bar in bars if not bar.whole] == [
        "model and software", "contention <b>", "queue"
    ]  # fmt: skip
    for before, after in pairwise(bar for bar in bars if not bar.whole):
        assert after.start_s == pytest.approx(before.start_s + before.value_s)
    assert bars[-1].start_s + bars[-1].value_s == pytest.approx(bars[0].value_s)
    html = page(drawn)
    assert "<svg" in html
    assert "contention &lt;b&gt;" in html
    assert 'style="' not in html  # the policy of the page forbids it
    assert png(drawn)[:4] == b"\x89PNG"
    assert bars_of(report("ideal")) == ()
