"""What must hold for prefill and decode on engines of their own, for every load."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Link
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.serving.disaggregated import disaggregated_times
from headway.serving.disaggregated_estimate import answer_disaggregated
from headway.serving.estimate import ServingQuestion, answer
from headway.serving.one_engine import Limits, Load
from headway.serving.two_stages import Disaggregated, Workers, decode_table, most_sequences
from headway.steptime.calibrated import CalibratedStepTime
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism
from headway.workload.step import Step

CLOSE = 1 + 1e-6
SAME = pytest.approx


@st.composite
def splits(draw: st.DrawFn) -> Disaggregated:
    cluster = find_cluster(draw(st.sampled_from(("h100", "b200", "mi300x"))))
    model = find_model(draw(st.sampled_from(("llama-3.1-8b", "deepseek-v3", "gpt-oss-20b"))))
    chip = replace(cluster.accelerator, memory_bytes=1e13)  # the laws are about time
    precision = Precision.parse(draw(st.sampled_from(("bf16", "fp8"))))
    engines = [
        Workers(
            Deployment(
                replace(cluster, accelerator=chip), model, precision, Parallelism(draw(degree))
            ),
            draw(st.integers(1, 4)),
        )
        for degree in (st.sampled_from((1, 2, 8)), st.sampled_from((1, 4)))
    ]
    return Disaggregated(
        engines[0],
        engines[1],
        draw(st.sampled_from(("vllm", "sglang", "tensorrt-llm"))),
        Load(
            draw(st.integers(1, 20_000)),
            draw(st.integers(1, 4_000)),
            draw(st.integers(1, 3_000)),
            draw(st.sampled_from((0.0, 0.5))),
        ),
        cluster.links[-1],
        draw(st.booleans()),
    )


def _with_link(question: Disaggregated, bandwidth: float) -> Disaggregated:
    return replace(question, link=replace(question.link, bandwidth_bytes_per_s=bandwidth))


@given(splits())
@settings(max_examples=40)
def test_requests_are_conserved_and_no_station_does_more_than_it_can(
    question: Disaggregated,
) -> None:
    times = disaggregated_times(question)
    gaps = float(question.load.output_tokens) - 1
    assert times.requests_per_s * times.e2e_s == SAME(float(question.load.concurrency))
    assert times.e2e_s == SAME(times.ttft_s + gaps * times.tpot_s * (gaps > 0))
    parts = times.handling_s + times.wait_s + times.prefill_s + times.transfer_s
    assert parts == SAME(times.ttft_s, rel=1e-6)
    assert max(times.use.values()) <= CLOSE
    assert times.mean_ttft_s >= times.ttft_s
    inside = times.sequences * question.decode.count
    assert inside <= float(question.load.concurrency) * CLOSE


@given(splits())
@settings(max_examples=30)
def test_one_user_meets_the_step_model_and_no_other(question: Disaggregated) -> None:
    load = Load(
        question.load.prompt_tokens, question.load.output_tokens, 1, question.load.cached_fraction
    )
    fast = Link("fast", 1e17, 1e-15, 8)
    alone = disaggregated_times(
        replace(question, load=load, link=fast, handoff_s=0.0, overlapped=True)
    )
    decode = question.decode.deployment
    step = CalibratedStepTime(decode, question.engine).step_time(
        Step.decode(1, load.mean_context_tokens)
    )
    assert alone.tpot_s == SAME(float(step.expected_s))
    assert alone.wait_s == SAME(0.0, abs=1e-9)
    one = Load(load.prompt_tokens, 1, 1, load.cached_fraction)
    together = answer(
        ServingQuestion(question.prefill.deployment, question.engine, one, Limits(mixes=False))
    )
    assert alone.ttft_s == SAME(float(together.times.ttft_s), rel=1e-6)


@given(splits(), st.floats(1.5, 1e4))
@settings(max_examples=30)
def test_a_slower_link_is_never_faster(question: Disaggregated, slower: float) -> None:
    before = disaggregated_times(question)
    after = disaggregated_times(_with_link(question, question.link.bandwidth_bytes_per_s / slower))
    assert after.requests_per_s <= before.requests_per_s * CLOSE
    assert after.e2e_s >= before.e2e_s / CLOSE
    assert after.sent_s > before.sent_s


@given(splits())
@settings(max_examples=30)
def test_hiding_the_transfer_never_costs(question: Disaggregated) -> None:
    hidden = disaggregated_times(replace(question, overlapped=True))
    plain = disaggregated_times(replace(question, overlapped=False))
    assert hidden.e2e_s <= plain.e2e_s * CLOSE
    assert plain.transfer_s == SAME(plain.sent_s)


@given(splits(), st.sampled_from(("prefill", "decode")))
@settings(max_examples=40)
def test_more_engines_never_serve_fewer(question: Disaggregated, stage: str) -> None:
    workers: Workers = getattr(question, stage)
    added = replace(workers, count=workers.count + 1)
    if stage == "prefill":
        more = replace(question, prefill=added)
    else:
        more = replace(question, decode=added)
    before, after = disaggregated_times(question), disaggregated_times(more)
    assert after.requests_per_s >= before.requests_per_s / CLOSE
    assert more.num_accelerators > question.num_accelerators


@given(splits())
@settings(max_examples=30)
def test_a_crowd_is_served_at_the_rate_of_the_slowest_station(question: Disaggregated) -> None:
    asked = question.load
    load = Load(asked.prompt_tokens, asked.output_tokens, 1e7, asked.cached_fraction)
    times = disaggregated_times(replace(question, load=load))
    assert max(times.use.values()) == SAME(1.0, rel=1e-3)
    few = disaggregated_times(question)
    assert few.requests_per_s <= times.requests_per_s * 1.001


@given(splits())
@settings(max_examples=20)
def test_answers_are_ordered_and_not_below_the_roofline(question: Disaggregated) -> None:
    found = answer_disaggregated(question)
    times = found.times
    for (low, high), middle in (
        (found.tpot_s, times.tpot_s),
        (found.ttft_s, times.ttft_s),
        (found.throughput, found.output_tok_per_s),
    ):
        assert low <= middle * CLOSE
        assert middle <= high * CLOSE
    bound = decode_table(question, np.asarray(max(times.sequences, 1.0))).decode.bound_s
    assert times.tpot_s >= float(bound) * 0.999  # between two points of the grid
    assert times.sequences <= most_sequences(question)
    if found.power_w is not None:
        tdp = question.prefill.deployment.cluster.accelerator.tdp_w or 0.0
        assert 0 < found.power_w <= tdp * question.num_accelerators * CLOSE
