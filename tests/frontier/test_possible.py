"""Claims are judged by the frontier, and by bounds that no engine breaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.frontier.possible import possible, possible_report
from headway.frontier.question import Question
from headway.frontier.search import front, search
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.report.report import Report

BF16 = Precision.parse("bf16")


def decoding(model: ModelArchitecture, context: float, **limits: Any) -> Question:
    """Decoding alone at a fixed context, on the data sheet's hardware."""
    return Question(
        model=model,
        precision=BF16,
        prompt_tokens=context,
        output_tokens=1,
        prefilled=True,
        **limits,
    )


def test_no_point_of_our_own_frontier_is_judged_impossible(
    llama_70b: ModelArchitecture, deepseek: ModelArchitecture, h100: Cluster
) -> None:
    for model in (llama_70b, deepseek):
        question = replace(decoding(model, 1000), precision=Precision.parse("fp8"))
        points = front(search(question, h100))
        for i in range(0, points.concurrency.size, 7):
            speed, usd = float(points.tok_per_s_per_user[i]), float(points.usd_per_mtok_output[i])
            verdict = possible(question, h100, tok_per_s=speed, usd_per_mtok_output=usd)
            assert verdict.verdict == "plausible"


def test_impossible_claims_name_the_bound_they_break(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    question = decoding(llama_70b, 0)
    floor = 2 * llama_70b.active_params / 1e15 * 2.0 / 3600 * 1e6
    verdict = possible(question, h100, tok_per_s=5, usd_per_mtok_output=0.9 * floor)
    assert not verdict.possible
    assert verdict.bound == "arithmetic"
    assert verdict.limit == pytest.approx(floor, rel=0.01)
    one = replace(question, concurrency=1)
    verdict = possible(one, h100, tok_per_s=10, usd_per_mtok_output=0.5)
    assert (verdict.possible, verdict.bound) == (False, "memory bandwidth")
    moved = 2 * llama_70b.active_params / 3e12 * 2.0 / 3600 * 1e6
    assert verdict.limit == pytest.approx(moved, rel=0.01)
    assert possible(question, h100, tok_per_s=20_000).bound == "link latency"
    assert possible(replace(question, concurrency=100_000), h100, tok_per_s=5e3).bound in (
        "arithmetic",
        "memory capacity",
    )


@settings(max_examples=25, deadline=None)
@given(
    speed=st.floats(1, 1e4),
    usd=st.floats(1e-3, 1e3),
    faster=st.floats(1, 5),
    cheaper=st.floats(1, 5),
)
def test_a_harder_claim_is_never_more_possible(
    llama_70b: ModelArchitecture,
    h100: Cluster,
    speed: float,
    usd: float,
    faster: float,
    cheaper: float,
) -> None:
    question = decoding(llama_70b, 1000)
    order = ["impossible", "beyond any known engine", "beyond the expected", "plausible"]
    easy = possible(question, h100, tok_per_s=speed, usd_per_mtok_output=usd)
    hard = possible(question, h100, tok_per_s=speed * faster, usd_per_mtok_output=usd / cheaper)
    assert order.index(hard.verdict) <= order.index(easy.verdict)
    assert easy.possible == (easy.verdict != "impossible")
    assert np.isfinite(easy.limit or 0.0)


@pytest.mark.parametrize(("speed", "usd"), [(0.0, 1.0), (float("nan"), 1.0), (5.0, -1.0)])
def test_a_claim_must_be_a_claim(
    llama_70b: ModelArchitecture, h100: Cluster, speed: float, usd: float
) -> None:
    with pytest.raises(InputError, match="claimed"):
        possible(decoding(llama_70b, 0), h100, tok_per_s=speed, usd_per_mtok_output=usd)


def test_the_report_holds_the_claim_and_the_verdict(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    question = decoding(llama_70b, 0)
    report = possible_report(question, h100, tok_per_s=20_000)
    assert report.rows == (possible(question, h100, tok_per_s=20_000),)
    assert report.question["tok_per_s_per_user"] == 20_000
    assert "20000 tok/s/user" in report.title
    assert Report.from_json(report.to_json()).flat_rows == report.flat_rows


def test_an_engine_is_expected_to_do_what_its_frontier_says(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    question = Question(model=llama_70b, precision=BF16, engine="vllm")
    points = front(search(question, h100))
    speed, usd = (float(v[0]) for v in (points.tok_per_s_per_user, points.usd_per_mtok_output))
    assert possible(question, h100, tok_per_s=speed, usd_per_mtok_output=usd).verdict == "plausible"

    faster = possible(question, h100, tok_per_s=speed * 1.001)
    assert (faster.verdict, faster.bound) == ("beyond the expected", "speed")
    assert faster.limit == speed
