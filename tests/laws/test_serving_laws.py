"""What must hold for every load on every machine under the fitted coefficients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.measure.calibrate import fit_own
from headway.measure.serving_point import ServingPoint
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.serving.estimate import ServingEstimate, ServingQuestion, answer
from headway.serving.one_engine import Limits, Load, as_run
from headway.steptime.calibrated import CalibratedStepTime
from headway.steptime.calibration import shipped
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism
from headway.workload.step import Step

MODELS = ("llama-3.1-8b", "gpt-oss-20b", "deepseek-v3", "qwen3-next-80b-a3b", "gemma-3-27b")
CHIPS = ("h100", "h200", "b200", "mi300x", "l40s", "rtx-pro-6000")
ENGINES = ("vllm", "sglang", "tensorrt-llm")


@st.composite
def questions(draw: st.DrawFn) -> ServingQuestion:
    cluster = find_cluster(draw(st.sampled_from(CHIPS)))
    model = find_model(draw(st.sampled_from(MODELS)))
    precision = as_run(
        Precision.parse(draw(st.sampled_from(("bf16", "fp8", "int4", "mxfp4")))),
        cluster.accelerator,
    )
    engine = draw(st.sampled_from(ENGINES))
    load = Load(
        draw(st.integers(1, 20_000)),
        draw(st.integers(1, 8_000)),
        draw(st.integers(1, 600)),
        draw(st.sampled_from((0.0, 0.5))),
    )
    return ServingQuestion(
        # Memory enough for any of them: the laws are about time.
        _with_memory(
            Deployment(cluster, model, precision, Parallelism(draw(st.sampled_from((1, 2, 8))))),
            1e14,
        ),
        engine,
        load,
        Limits(mixes=engine != "sglang"),
    )


def _with_memory(deployment: Deployment, size: float) -> Deployment:
    chip = replace(deployment.cluster.accelerator, memory_bytes=size)
    return replace(deployment, cluster=replace(deployment.cluster, accelerator=chip))


def _on(question: ServingQuestion, cluster: Cluster) -> ServingEstimate:
    return answer(replace(question, deployment=replace(question.deployment, cluster=cluster)))


@given(questions())
@settings(max_examples=60)
def test_no_answer_beats_the_roofline(question: ServingQuestion) -> None:
    found = answer(question)
    bound = found.table.decode.bound_s / found.table.tokens_per_pass
    assert np.all(found.times.tpot_s >= bound * (1 - 1e-9))
    assert np.all(found.tpot_s[0] >= np.minimum(bound, found.times.tpot_s) * (1 - 1e-9))
    assert np.all(found.times.ttft_s >= found.table.mixed.bound_s * (1 - 1e-9))


@given(questions())
@settings(max_examples=60)
def test_answers_are_ordered_and_add_up(question: ServingQuestion) -> None:
    found = answer(question)
    times = found.times
    for (low, high), middle in (
        (found.tpot_s, times.tpot_s),
        (found.ttft_s, times.ttft_s),
        (found.throughput, found.output_tok_per_s),
    ):
        assert np.all(low <= middle * (1 + 1e-9))
        assert np.all(middle <= high * (1 + 1e-9))
    gaps = question.load.output_tokens - 1
    assert float(times.e2e_s) == pytest.approx(float(times.ttft_s + gaps * times.tpot_s))
    # Little's law: what is in the system is what arrives times how long it stays.
    assert float(times.requests_per_s * times.e2e_s) == pytest.approx(
        float(question.load.concurrency)
    )
    assert 0 <= float(found.prompt_share) <= 1


@given(questions(), st.sampled_from(("bandwidth", "arithmetic", "links")))
@settings(max_examples=80)
def test_better_hardware_is_never_slower(question: ServingQuestion, what: str) -> None:
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
    before, after = answer(question).times, _on(question, better).times
    assert np.all(after.tpot_s <= before.tpot_s * (1 + 1e-9))
    assert np.all(after.requests_per_s >= before.requests_per_s * (1 - 1e-9))


@given(questions())
@settings(max_examples=40)
def test_alone_a_token_takes_a_step(question: ServingQuestion) -> None:
    load = Load(question.load.prompt_tokens, question.load.output_tokens, 1)
    found = answer(replace(question, load=load))
    step = Step.decode(1, load.mean_context_tokens)
    alone = CalibratedStepTime(question.deployment, question.engine).step_time(step)
    assert float(found.times.tpot_s) == pytest.approx(float(alone.expected_s))


@given(questions(), st.sampled_from(("fp8", "int4")))
@settings(max_examples=40)
def test_a_smaller_precision_never_needs_more_memory(
    question: ServingQuestion, precision: str
) -> None:
    d = question.deployment
    wide = replace(d, precision=Precision.parse("bf16"))
    small = replace(d, precision=Precision.parse(precision))
    assert np.all(small.weight_bytes <= wide.weight_bytes)


@given(questions())
@settings(max_examples=12)
def test_calibrating_on_its_own_answers_changes_nothing(question: ServingQuestion) -> None:
    d = question.deployment
    points = []
    for concurrency in (1, 4, 16, 64):
        load = Load(question.load.prompt_tokens, question.load.output_tokens, concurrency)
        times = answer(replace(question, load=load)).times
        points.append(
            ServingPoint(
                "own",
                question.engine,
                d.model.name,
                d,
                load,
                question.limits,
                tpot_s=float(times.tpot_s),
                ttft_s=float(times.ttft_s),
            )
        )
    own = fit_own(points, shipped())
    assert max(abs(factor) for factor in (*own.factors, own.stretch)) < 1e-6
    assert own.error < 1e-6
