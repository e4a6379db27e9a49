"""Questions asked backwards agree with the forward ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headway.errors import InputError
from headway.frontier.question import Question
from headway.frontier.scaled_model import scaled
from headway.frontier.what_if import KERNEL_LATENCY, KNOBS, Target, changes, largest, what_if
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


def test_the_largest_model_reaches_the_target_and_the_next_does_not(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    like = decoding(llama_70b, 1000)
    target = Target(60, 1.0)
    found = largest(like, h100, target)
    assert found is not None
    assert target.is_reached(replace(like, model=found), h100)
    larger = scaled(llama_70b, 1.1 * found.layer_params / llama_70b.layer_params)
    assert not target.is_reached(replace(like, model=larger), h100)
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
    assert not target.is_reached(question, h100)
    found = {change.what: change.factor for change in changes(question, h100, target)}
    assert set(found) == {knob.what for knob in KNOBS}
    bandwidth, price = found["memory bandwidth"], found["price"]
    assert bandwidth is not None
    assert price is not None
    assert bandwidth > 1 > price
    chip = h100.accelerator
    for factor, reached in ((bandwidth, True), (1 + (bandwidth - 1) * 0.9, False)):
        rate = chip.memory_bandwidth_bytes_per_s * factor
        faster = replace(h100, accelerator=replace(chip, memory_bandwidth_bytes_per_s=rate))
        assert target.is_reached(question, faster) is reached
    assert target.is_reached(question, h100.at_price(2.0 * price))
    assert not target.is_reached(question, h100.at_price(2.0 * price * 1.05))


def test_a_target_that_is_met_needs_no_change(llama_70b: ModelArchitecture, h100: Cluster) -> None:
    question = decoding(llama_70b, 1000)
    found = list(changes(question, h100, Target(5, 50.0)))
    assert all(change.factor == 1 for change in found)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_target_must_be_a_target(speed: float) -> None:
    with pytest.raises(InputError, match="target speed"):
        Target(speed, 1.0)


def test_the_report_says_what_each_property_would_have_to_be(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    question, target = decoding(llama_70b, 1000), Target(80, 1.0)
    report = what_if(question, h100, target)
    rows = {row.what: row for row in report.rows}
    assert list(report.rows[:-1]) == list(changes(question, h100, target))
    assert (rows["price"].today, rows["price"].unit) == (2.0, "$/h")
    assert rows["memory bandwidth"].today == 3.0

    model = largest(question, h100, target)
    assert model is not None
    assert rows["model"].needed == pytest.approx(model.total_params / 1e9)
    assert Report.from_json(report.to_json()).flat_rows == report.flat_rows

    assert all(row.factor is None for row in what_if(question, h100, Target(1e6, 1e-6)).rows)


def test_an_engine_launches_its_own_kernels(llama_70b: ModelArchitecture, h100: Cluster) -> None:
    question = decoding(llama_70b, 1000, engine="vllm")
    names = [change.what for change in changes(question, h100, Target(5, 50.0))]
    assert KERNEL_LATENCY.what not in names
    assert len(names) == len(KNOBS) - 1
