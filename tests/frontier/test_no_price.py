"""A chip that nobody quotes a price for: everything but dollars is answered."""

from __future__ import annotations

import numpy as np
import pytest

from headway.frontier.answer import frontier_of
from headway.frontier.possible import possible_report
from headway.frontier.question import Question
from headway.frontier.what_if import Target, what_if
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.serving.row import UNPRICED_CHART


@pytest.fixture
def question(llama_8b: ModelArchitecture) -> Question:
    return Question(
        model=llama_8b,
        precision=Precision.parse("bf16"),
        prompt_tokens=1000,
        output_tokens=200,
        max_accelerators=8,
    )


@pytest.fixture
def unpriced(h100: Cluster) -> Cluster:
    return h100.at_price(None)


def test_a_front_without_a_price_is_the_priced_one_without_dollars(
    question: Question, h100: Cluster, unpriced: Cluster
) -> None:
    priced, plain = (frontier_of([question], [one]) for one in (h100, unpriced))
    assert [row.tpot_s for row in plain.rows] == [row.tpot_s for row in priced.rows]
    assert all(row.usd_per_mtok_output is None for row in plain.rows)
    assert all(row.on_front for row in plain.rows)
    assert plain.marks == priced.marks
    assert any(f"no price is known for {unpriced.name}" in note for note in plain.notes)
    assert plain.charts == (UNPRICED_CHART,)


def test_beside_a_priced_chip_only_dollars_are_compared(
    question: Question, h100: Cluster, unpriced: Cluster
) -> None:
    alone = frontier_of([question], [h100])
    both = frontier_of([question] * 2, [unpriced, h100])
    without = [row for row in both.rows if row.usd_per_mtok_output is None]
    assert len(without) == len(both.rows) - len(alone.rows) > 0
    assert {row.on_front for row in without} == {None}
    for name, place in both.marks.items():
        row = both.rows[place]
        assert row.usd_per_mtok_output is not None, name
    assert both.preferred.tpot_s == alone.preferred.tpot_s


def test_a_target_without_a_price_is_its_speed(
    question: Question, h100: Cluster, unpriced: Cluster
) -> None:
    report = what_if(question, unpriced, Target(200.0, 1e-3))
    any_cost = what_if(question, h100, Target(200.0, np.inf))
    same = [row for row in any_cost.rows if row.what != "price"]
    assert list(report.rows) == same
    assert report.question["usd_per_mtok_output"] is None
    assert any("at any cost" in note for note in report.notes)


def test_a_claim_without_a_price_is_judged_by_its_speed(
    question: Question, h100: Cluster, unpriced: Cluster
) -> None:
    for speed in (50.0, 1e5):
        claim = possible_report(question, unpriced, tok_per_s=speed, usd_per_mtok_output=1e-9)
        of_speed = possible_report(question, h100, tok_per_s=speed)
        assert claim.rows[0].verdict == of_speed.rows[0].verdict
        assert any("the cost was not judged" in note for note in claim.notes)
