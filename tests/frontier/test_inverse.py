"""Questions asked backwards agree with the forward ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.frontier.inverse import KNOBS, Target, changes, largest, scaled
from headway.frontier.possible import possible
from headway.frontier.question import Question
from headway.frontier.search import front, search
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision

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


@pytest.mark.parametrize("factor", [0.01, 0.1, 0.5, 2.0, 10.0])
def test_scaling_reaches_the_size_that_was_asked_for(
    llama_70b: ModelArchitecture, deepseek: ModelArchitecture, factor: float
) -> None:
    for model in (llama_70b, deepseek):
        ratio = scaled(model, factor).layer_params / model.layer_params
        assert ratio == pytest.approx(factor, rel=0.12)


def test_scaling_by_one_changes_nothing(llama_70b: ModelArchitecture) -> None:
    assert scaled(llama_70b, 1.0).layers == llama_70b.layers


def test_the_largest_model_reaches_the_target_and_the_next_does_not(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    like = decoding(llama_70b, 1000)
    target = Target(60, 1.0)
    found = largest(like, h100, target)
    assert found is not None
    assert target.reached(replace(like, model=found), h100)
    larger = scaled(llama_70b, 1.1 * found.layer_params / llama_70b.layer_params)
    assert not target.reached(replace(like, model=larger), h100)
    assert largest(like, h100, Target(1e6, 1e-6)) is None


def test_faster_targets_allow_only_smaller_models(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    like = decoding(llama_70b, 1000)
    sizes = []
    for speed in (20, 60, 180):
        found = largest(like, h100, Target(speed, 1.0))
        assert found is not None
        sizes.append(found.total_params)
    assert sizes == sorted(sizes, reverse=True)


def test_a_change_that_is_offered_reaches_the_target(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    question, target = decoding(llama_70b, 1000), Target(80, 1.0)
    assert not target.reached(question, h100)
    found = {change.what: change.factor for change in changes(question, h100, target)}
    assert set(found) == set(KNOBS)
    bandwidth, price = found["memory bandwidth"], found["price"]
    assert bandwidth is not None
    assert price is not None
    assert bandwidth > 1 > price
    chip = h100.accelerator
    for factor, reached in ((bandwidth, True), (1 + (bandwidth - 1) * 0.9, False)):
        rate = chip.memory_bandwidth_bytes_per_s * factor
        faster = replace(h100, accelerator=replace(chip, memory_bandwidth_bytes_per_s=rate))
        assert target.reached(question, faster) is reached
    assert target.reached(question, h100.at_price(2.0 * price))
    assert not target.reached(question, h100.at_price(2.0 * price * 1.05))


def test_a_target_that_is_met_needs_no_change(llama_70b: ModelArchitecture, h100: Cluster) -> None:
    question = decoding(llama_70b, 1000)
    found = list(changes(question, h100, Target(5, 50.0)))
    assert all(change.factor == 1 for change in found)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_target_must_be_a_target(speed: float) -> None:
    with pytest.raises(InputError, match="target speed"):
        Target(speed, 1.0)


def test_no_point_of_our_own_frontier_is_judged_impossible(
    llama_70b: ModelArchitecture, deepseek: ModelArchitecture, h100: Cluster
) -> None:
    for model in (llama_70b, deepseek):
        question = replace(decoding(model, 1000), precision=Precision.parse("fp8"))
        points = front(search(question, h100))
        for i in range(0, points.concurrency.size, 7):
            speed, usd = float(points.tok_per_s_per_user[i]), float(points.usd_per_mtok_output[i])
            assert possible(question, h100, speed, usd).verdict == "plausible"


def test_impossible_claims_name_the_bound_they_break(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    question = decoding(llama_70b, 0)
    floor = 2 * llama_70b.active_params / 1e15 * 2.0 / 3600 * 1e6
    verdict = possible(question, h100, 5, 0.9 * floor)
    assert not verdict.possible
    assert verdict.bound == "arithmetic"
    assert verdict.limit == pytest.approx(floor, rel=0.01)
    one = replace(question, concurrency=1)
    verdict = possible(one, h100, 10, 0.5)
    assert (verdict.possible, verdict.bound) == (False, "memory bandwidth")
    moved = 2 * llama_70b.active_params / 3e12 * 2.0 / 3600 * 1e6
    assert verdict.limit == pytest.approx(moved, rel=0.01)
    assert possible(question, h100, 20_000, None).bound == "link latency"
    assert possible(replace(question, concurrency=100_000), h100, 5e3, None).bound in (
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
    easy = possible(question, h100, speed, usd)
    hard = possible(question, h100, speed * faster, usd / cheaper)
    assert order.index(hard.verdict) <= order.index(easy.verdict)
    assert easy.possible == (easy.verdict != "impossible")
    assert np.isfinite(easy.limit or 0.0)


@pytest.mark.parametrize(("speed", "usd"), [(0.0, 1.0), (float("nan"), 1.0), (5.0, -1.0)])
def test_a_claim_must_be_a_claim(
    llama_70b: ModelArchitecture, h100: Cluster, speed: float, usd: float
) -> None:
    with pytest.raises(InputError, match="claimed"):
        possible(decoding(llama_70b, 0), h100, speed, usd)
