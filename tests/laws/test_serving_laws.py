"""What must hold for every load on every machine under the fitted coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from headway.errors import UnsupportedError
from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.measure.calibrate import fit_own
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import ServingEstimate, serve
from headway.serving.serving_point import ServingPoint
from headway.steptime.calibration import shipped
from headway.steptime.deployment import Deployment
from headway.workload.step import Step

MODELS = ("llama-3.1-8b", "gpt-oss-20b", "deepseek-v3", "qwen3-next-80b-a3b", "gemma-3-27b")
CHIPS = ("h100", "h200", "b200", "mi300x", "l40s", "rtx-pro-6000")
ENGINES = ("vllm", "sglang", "tensorrt-llm")


@dataclass(frozen=True, eq=False)
class Question:
    deployment: Deployment
    load: ClosedLoop

    @property
    def answer(self) -> ServingEstimate:
        return serve(self.deployment, self.load)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    try:
        deployment = Deployment(
            find_model(draw(st.sampled_from(MODELS))),
            find_cluster(draw(st.sampled_from(CHIPS))),
            tp=draw(st.sampled_from((1, 2, 8))),
            precision=draw(st.sampled_from(("bf16", "fp8", "int4", "mxfp4"))),
            engine=draw(st.sampled_from(ENGINES)),
        )
    except UnsupportedError:  # a stack that does not exist
        reject()
    load = ClosedLoop(
        draw(st.integers(1, 20_000)),
        draw(st.integers(1, 8_000)),
        draw(st.integers(1, 600)),
        draw(st.sampled_from((0.0, 0.5))),
    )
    # Memory enough for any of them: the laws are about time.
    return Question(_with_memory(deployment, 1e14), load)


def _with_memory(deployment: Deployment, size: float) -> Deployment:
    chip = replace(deployment.cluster.accelerator, memory_bytes=size)
    return replace(deployment, cluster=replace(deployment.cluster, accelerator=chip))


def _on(question: Question, cluster: Cluster) -> ServingEstimate:
    return serve(replace(question.deployment, cluster=cluster), question.load)


@given(questions())
@settings(max_examples=60)
def test_no_answer_beats_the_roofline(question: Question) -> None:
    found = question.answer
    decode, mixed = found.served.decode.bound, found.served.mixed.bound
    assert decode is not None
    assert mixed is not None
    bound = decode.total_s / found.shape.tokens_per_pass
    assert np.all(found.times.tpot_s >= bound * (1 - 1e-9))
    assert np.all(found.tpot_s.lower >= np.minimum(bound, found.times.tpot_s) * (1 - 1e-9))
    assert np.all(found.times.ttft_s >= mixed.total_s * (1 - 1e-9))


@given(questions())
@settings(max_examples=60)
def test_answers_are_ordered_and_add_up(question: Question) -> None:
    found = question.answer
    times = found.times
    for quantity in (found.tpot_s, found.ttft_s, found.output_tok_per_s):
        assert np.all(quantity.lower <= quantity.expected * (1 + 1e-9))
        assert np.all(quantity.expected <= quantity.upper * (1 + 1e-9))
    gaps = question.load.output_tokens - 1
    assert float(times.e2e_s) == pytest.approx(float(times.ttft_s + gaps * times.tpot_s))
    # Little's law: what is in the system is what arrives times how long it stays.
    assert float(times.requests_per_s * times.e2e_s) == pytest.approx(
        float(question.load.concurrency)
    )
    assert 0 <= float(found.prompt_share) <= 1


@given(questions(), st.sampled_from(("bandwidth", "arithmetic", "links")))
@settings(max_examples=80)
def test_better_hardware_is_never_slower(question: Question, what: str) -> None:
    cluster = question.deployment.cluster
    chip = cluster.accelerator
    if what == "bandwidth":
        faster = 1.7 * chip.memory_bandwidth_bytes_per_s
        better = replace(cluster, accelerator=replace(chip, memory_bandwidth_bytes_per_s=faster))
    elif what == "arithmetic":
        rates = {dtype: 1.7 * rate for dtype, rate in chip.peak_flops_per_s.items()}
        better = replace(cluster, accelerator=replace(chip, peak_flops_per_s=rates))
    else:
        links = tuple(
            replace(link, bandwidth_bytes_per_s=1.7 * link.bandwidth_bytes_per_s)
            for link in cluster.links
        )
        better = replace(cluster, links=links)
    before, after = question.answer.times, _on(question, better).times
    assert np.all(after.tpot_s <= before.tpot_s * (1 + 1e-9))
    assert np.all(after.requests_per_s >= before.requests_per_s * (1 - 1e-9))


@given(questions())
@settings(max_examples=40)
def test_alone_a_token_takes_a_step(question: Question) -> None:
    load = ClosedLoop(question.load.prompt_tokens, question.load.output_tokens, 1)
    found = serve(question.deployment, load)
    step = Step.decode(1, load.mean_context_tokens)
    alone = question.deployment.step_time_model.step_time(step)
    assert float(found.times.tpot_s) == pytest.approx(float(alone.expected_s))


@given(questions(), st.sampled_from(("fp8", "int4")))
@settings(max_examples=40)
def test_a_smaller_precision_never_needs_more_memory(question: Question, precision: str) -> None:
    d = question.deployment
    wide = replace(d, precision=Precision.parse("bf16"))
    small = replace(d, precision=Precision.parse(precision))
    assert np.all(small.weight_bytes <= wide.weight_bytes)


@given(questions())
@settings(max_examples=5)
def test_calibrating_on_its_own_answers_changes_nothing(question: Question) -> None:
    d = question.deployment
    points = []
    for concurrency in (1, 4, 16, 64):
        load = ClosedLoop(question.load.prompt_tokens, question.load.output_tokens, concurrency)
        times = serve(d, load).times
        points.append(
            ServingPoint(
                source="own",
                deployment=d,
                load=load,
                tpot_s=float(times.tpot_s),
                ttft_s=float(times.ttft_s),
            )
        )
    after = shipped().with_own(fit_own(points, shipped()))
    for point in points:
        times = serve(replace(d, calibration=after), point.load).times
        assert float(times.tpot_s) == pytest.approx(point.tpot_s, rel=1e-2)
        assert float(times.ttft_s) == pytest.approx(point.ttft_s, rel=2e-2)
