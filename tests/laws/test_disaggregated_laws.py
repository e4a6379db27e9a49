"""What must hold for prefill and decode on engines of their own, for every load."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Link
from headway.model.catalogue import find_model
from headway.serving.closed_loop import ClosedLoop
from headway.serving.disaggregated import DisaggregatedTimes, disaggregated_times
from headway.serving.disaggregated_estimate import serve_disaggregated
from headway.serving.estimate import serve
from headway.serving.two_stages import TwoStages, Workers, decode_times, max_sequences
from headway.steptime.deployment import Deployment
from headway.workload.step import Step

CLOSE = 1 + 1e-6
SAME = pytest.approx


@dataclass(frozen=True, eq=False)
class Split:
    stages: TwoStages
    load: ClosedLoop

    @property
    def times(self) -> DisaggregatedTimes:
        return disaggregated_times(self.stages, self.load)

    def changed(self, **parts: Any) -> Split:
        return Split(replace(self.stages, **parts), self.load)


@st.composite
def splits(draw: st.DrawFn) -> Split:
    cluster = find_cluster(draw(st.sampled_from(("h100", "b200", "mi300x"))))
    model = find_model(draw(st.sampled_from(("llama-3.1-8b", "deepseek-v3", "gpt-oss-20b"))))
    chip = replace(cluster.accelerator, memory_bytes=1e13)  # the laws are about time
    precision = draw(st.sampled_from(("bf16", "fp8")))
    nvidia_only = ("tensorrt-llm",) if cluster.accelerator.vendor == "nvidia" else ()
    engine = draw(st.sampled_from(("vllm", "sglang", *nvidia_only)))
    workers = [
        Workers(
            Deployment(
                model,
                replace(cluster, accelerator=chip),
                tp=draw(degree),
                precision=precision,
                engine=engine,
            ),
            draw(st.integers(1, 4)),
        )
        for degree in (st.sampled_from((1, 2, 8)), st.sampled_from((1, 4)))
    ]
    return Split(
        TwoStages(workers[0], workers[1], cluster.links[-1], draw(st.booleans())),
        ClosedLoop(
            draw(st.integers(1, 20_000)),
            draw(st.integers(1, 4_000)),
            draw(st.integers(1, 3_000)),
            draw(st.sampled_from((0.0, 0.5))),
        ),
    )


def _with_link(question: Split, bandwidth: float) -> Split:
    return question.changed(link=replace(question.stages.link, bandwidth_bytes_per_s=bandwidth))


@given(splits())
@settings(max_examples=40)
def test_requests_are_conserved_and_no_station_does_more_than_it_can(
    question: Split,
) -> None:
    times = question.times
    gaps = float(question.load.output_tokens) - 1
    assert times.requests_per_s * times.e2e_s == SAME(float(question.load.concurrency))
    assert times.e2e_s == SAME(times.ttft_s + gaps * times.tpot_s * (gaps > 0))
    parts = times.handling_s + times.wait_s + times.prefill_s + times.transfer_s
    assert parts == SAME(times.ttft_s, rel=1e-6)
    assert max(times.use.values()) <= CLOSE
    assert times.mean_ttft_s >= times.ttft_s
    inside = times.sequences * question.stages.decode.count
    assert inside <= float(question.load.concurrency) * CLOSE


@given(splits())
@settings(max_examples=30)
def test_one_user_meets_the_step_model_and_no_other(question: Split) -> None:
    load = ClosedLoop(
        question.load.prompt_tokens, question.load.output_tokens, 1, question.load.cached_fraction
    )
    fast = Link("fast", 1e17, 1e-15, 8)
    stages = replace(question.stages, link=fast, handoff_s=0.0, overlapped=True)
    alone = disaggregated_times(stages, load)
    decode = question.stages.decode.deployment
    step = decode.step_time_model.step_time(Step.decode(1, load.mean_context_tokens))
    assert alone.tpot_s == SAME(float(step.expected_s))
    assert alone.wait_s == SAME(0.0, abs=1e-9)
    one = ClosedLoop(load.prompt_tokens, 1, 1, load.cached_fraction)
    together = serve(question.stages.prefill.deployment, one)
    assert alone.ttft_s == SAME(float(together.times.ttft_s), rel=1e-6)


@given(splits(), st.floats(1.5, 1e4))
@settings(max_examples=30)
def test_a_slower_link_is_never_faster(question: Split, slower: float) -> None:
    before = question.times
    after = _with_link(question, question.stages.link.bandwidth_bytes_per_s / slower).times
    assert after.requests_per_s <= before.requests_per_s * CLOSE
    assert after.e2e_s >= before.e2e_s / CLOSE
    assert after.sent_s > before.sent_s


@given(splits())
@settings(max_examples=30)
def test_hiding_the_transfer_never_costs(question: Split) -> None:
    hidden = question.changed(overlapped=True).times
    plain = question.changed(overlapped=False).times
    assert hidden.e2e_s <= plain.e2e_s * CLOSE
    assert plain.transfer_s == SAME(plain.sent_s)


@given(splits(), st.sampled_from(("prefill", "decode")))
@settings(max_examples=40)
def test_more_engines_never_serve_fewer(question: Split, stage: str) -> None:
    workers: Workers = getattr(question.stages, stage)
    more = question.changed(**{stage: replace(workers, count=workers.count + 1)})
    before, after = question.times, more.times
    assert after.requests_per_s >= before.requests_per_s / CLOSE
    assert more.stages.num_accelerators > question.stages.num_accelerators


@given(splits())
@settings(max_examples=30)
def test_a_crowd_is_served_at_the_rate_of_the_slowest_station(question: Split) -> None:
    asked = question.load
    load = ClosedLoop(asked.prompt_tokens, asked.output_tokens, 1e7, asked.cached_fraction)
    times = disaggregated_times(question.stages, load)
    assert max(times.use.values()) == SAME(1.0, rel=1e-3)
    few = question.times
    assert few.requests_per_s <= times.requests_per_s * 1.001


@given(splits())
@settings(max_examples=20)
def test_answers_are_ordered_and_not_below_the_roofline(question: Split) -> None:
    found = serve_disaggregated(question.stages, question.load)
    times = found.times
    for quantity in (found.tpot_s, found.ttft_s, found.output_tok_per_s):
        assert quantity.lower <= quantity.expected * CLOSE
        assert quantity.expected <= quantity.upper * CLOSE
    # Between two and three sequences in the mean, a step takes what two take at least: a step of a
    # fraction of a sequence is counted as one of the next whole number.
    running = np.asarray(max(np.floor(times.sequences), 1.0))
    bound = decode_times(question.stages, question.load, running).decode.bound
    assert bound is not None
    assert times.tpot_s >= float(bound.total_s) * 0.999  # between two points of the grid
    assert times.sequences <= max_sequences(question.stages, question.load)
    if found.power_w is not None:
        tdp = question.stages.prefill.deployment.cluster.accelerator.tdp_w or 0.0
        assert 0 < found.power_w <= tdp * question.stages.num_accelerators * CLOSE
