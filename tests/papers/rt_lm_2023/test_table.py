"""RT-LM's claims: what must hold of any such table, and what we say about this one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from headway.cli.papers import papers
from headway.errors import InputError, UnknownNameError
from headway.papers.rt_lm_2023.language_models import (
    LANGUAGE_MODELS,
    PLATFORMS,
    find_language_models,
)
from headway.papers.rt_lm_2023.report import cells_report, shown_rows, ways_report
from headway.papers.rt_lm_2023.table import FULL, SHUFFLED, CellRow, Settings, cells
from headway.papers.rt_lm_2023.ways import IN_ORDER, NEAREST, SIMILAR, WAYS

SMALL = Settings(
    models=find_language_models("bart"),
    platforms=("gpu",),
    variances=("high",),
    loads=(1.3,),
    skills=(0.5,),
    seeds=4,
    num_requests=400,
)


def row(rows: list[CellRow], predictions: str, order: str, batches: str, offload: bool) -> CellRow:
    (match,) = [
        r
        for r in rows
        if (r.predictions, r.order, r.batches, r.offload) == (predictions, order, batches, offload)
    ]
    return match


@pytest.fixture(scope="module")
def rows() -> list[CellRow]:
    return list(cells(SMALL))


def test_every_way_is_there_once_and_beside_its_control(rows: list[CellRow]) -> None:
    num_blind = sum(not way.predicts for way in WAYS)
    assert len(rows) == num_blind + 2 * (len(WAYS) - num_blind)
    assert len({(r.predictions, r.order, r.batches, r.offload) for r in rows}) == len(rows)
    first = rows[0]
    assert (first.order, first.batches, first.offload) == ("fifo", IN_ORDER, False)
    assert first.mean_vs_fifo.expected == first.throughput_vs_fifo.expected == 0


def test_the_same_question_has_the_same_answer(rows: list[CellRow]) -> None:
    assert list(cells(SMALL)) == rows


def test_prediction_fills_batches_better_and_shuffled_predictions_do_not(
    rows: list[CellRow],
) -> None:
    filled = row(rows, "tau 0.5", "fifo", NEAREST, False)
    assert filled.mean_vs_fifo.upper < -0.1
    assert filled.throughput_vs_fifo.lower > 0.03
    control = row(rows, SHUFFLED, "fifo", NEAREST, False)
    assert abs(control.throughput_vs_fifo.expected) < 0.03
    assert control.mean_vs_fifo.expected > filled.mean_vs_fifo.expected + 0.1


def test_below_saturation_throughput_is_what_arrives(rows: list[CellRow]) -> None:
    calm = list(cells(replace(SMALL, loads=(0.6,), platforms=("cpu",))))
    assert all(abs(r.throughput_vs_fifo.expected) < 0.03 for r in calm if not r.offload)
    assert max(r.throughput_vs_fifo.expected for r in rows) > 0.08


def test_over_all_cells_the_range_holds_every_cell() -> None:
    settings = replace(SMALL, platforms=PLATFORMS)
    by_cell, by_way = cells_report(settings), ways_report(settings)
    assert len(by_cell.rows) == 2 * len(by_way.rows)
    for whole in by_way.rows:
        own = [
            r.mean_vs_fifo.expected
            for r in by_cell.rows
            if (r.predictions, r.order, r.batches, r.offload)
            == (whole.predictions, whole.order, whole.batches, whole.offload)
        ]
        assert whole.cells == len(own) == 2
        assert (whole.mean_vs_fifo.lower, whole.mean_vs_fifo.upper) == (min(own), max(own))
    assert 0 < len(shown_rows(by_way)) < len(by_way.rows)


def test_batches_grow_with_size_much_on_a_cpu_and_hardly_on_a_gpu() -> None:
    for model in LANGUAGE_MODELS:
        cpu, gpu = (
            model.batch_time(platform).of(8, 40) / model.batch_time(platform).of(1, 40)
            for platform in ("cpu", "gpu")
        )
        assert 1 < gpu < 1.1 < cpu < 8


def test_settings_that_mean_nothing_are_refused() -> None:
    for bad in (
        {"seeds": 1},
        {"num_requests": 4},
        {"loads": (0.0,)},
        {"skills": (1.2,)},
        {"malicious": (1.5,)},
        {"slower": 0.5},
    ):
        with pytest.raises(InputError):
            replace(Settings(), **bad)
    with pytest.raises(UnknownNameError, match="BART"):
        find_language_models("barth")
    with pytest.raises(UnknownNameError, match="platform"):
        LANGUAGE_MODELS[0].batch_time("tpu")


def test_the_command_prints_the_ways_and_writes_the_cells() -> None:
    options = ["--models", "T5", "--load", "1.3", "--seeds", "2", "--num-requests", "60"]
    runner = CliRunner()
    text = runner.invoke(papers, ["rt-lm", "table", *options], catch_exceptions=False).output
    assert SIMILAR in text
    assert SHUFFLED in text
    arguments = ["rt-lm", "table", "--cells", *options, "--json", "-"]
    result = runner.invoke(papers, arguments, catch_exceptions=False)
    report = json.loads(result.stdout)
    assert {row["model"] for row in report["rows"]} == {"T5"}
    assert report["question"]["loads"] == "1.3"


@pytest.mark.slow
def test_filled_batches_and_offload_help_in_every_cell_in_overload() -> None:
    settings = replace(FULL, loads=(1.3,), skills=(0.35,))
    ours = [
        r
        for r in cells(settings)
        if (r.predictions, r.order, r.batches, r.offload) == ("tau 0.35", "fifo", NEAREST, True)
    ]
    assert len(ours) == settings.num_cells
    assert np.max([r.mean_vs_fifo.expected for r in ours]) <= -0.10
    assert np.min([r.throughput_vs_fifo.expected for r in ours]) >= 0.02
