"""What must hold for every model, layout and machine, before any golden value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.dtypes import DType
from headway.hardware.accelerator import EXCHANGES, Accelerator
from headway.hardware.cluster import Cluster, Link
from headway.hardware.price import Price
from headway.model.architecture import LayerGroup, ModelArchitecture
from headway.model.attention import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
)
from headway.model.ffn import DenseFfn, Ffn, MoeFfn
from headway.model.precision import Precision
from headway.steptime.analytic import AnalyticStepTime
from headway.steptime.deployment import Deployment
from headway.steptime.forward import forward
from headway.steptime.memory import kv_bytes, weight_bytes
from headway.steptime.parallelism import Parallelism
from headway.steptime.placed_model import native
from headway.steptime.roofline import EXPECTED, POOR, bound_of, time_of
from headway.workload.step import Step

PRECISIONS = [Precision.parse(p) for p in ("bf16", "fp8", "int4", "fp8/fp8/fp8", "mxfp4/bf16")]


ATTENTIONS: list[Attention] = [
    GroupedQueryAttention(64, 8, 128),
    GroupedQueryAttention(64, 64, 64),
    GroupedQueryAttention(64, 8, 128, window_tokens=128),
    LatentAttention(64, 1536, 512, 128, 64, 128),
    LatentAttention(64, None, 512, 128, 64, 128, 32, 128, 2048),
    LinearAttention(16, 32, 128, 128),
]
FFNS: list[Ffn] = [
    DenseFfn(8192),
    DenseFfn(16384, gated=False),
    MoeFfn(64, 4, 1024, 1024),
    MoeFfn(8, 2, 4096),
]


@st.composite
def models(draw: st.DrawFn) -> ModelArchitecture:
    attention, ffn = draw(st.sampled_from(ATTENTIONS)), draw(st.sampled_from(FFNS))
    full = LayerGroup(draw(st.integers(1, 40)), GroupedQueryAttention(64, 8, 128), DenseFfn(8192))
    mixed = LayerGroup(draw(st.integers(1, 40)), attention, ffn)
    return ModelArchitecture(
        "drawn", 4096, 100_000, (full, mixed), parallel_blocks=draw(st.booleans())
    )


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    rate = draw(st.floats(1e13, 1e16))
    chip = Accelerator(
        name="drawn",
        vendor="any",
        memory_bytes=1e15,
        memory_bandwidth_bytes_per_s=draw(st.floats(1e11, 1e14)),
        peak_flops_per_s={DType.BF16: rate, DType.FP8: 2 * rate},
        tdp_w=500.0,
        exchanges=draw(st.sampled_from(EXCHANGES)),
    )
    near = Link("near", draw(st.floats(1e10, 1e12)), draw(st.floats(1e-8, 1e-5)), 8)
    far = Link("far", draw(st.floats(1e9, near.bandwidth_bytes_per_s)), near.latency_s * 8, 1024)
    return Cluster(chip, 1024, (near, far), Price(2.0))


@st.composite
def layouts(draw: st.DrawFn, model: ModelArchitecture, cluster: Cluster) -> Parallelism:
    tp, pp = (2 ** draw(st.integers(0, n)) for n in (4, 3))
    dp = 2 ** draw(st.integers(0, 3))
    candidates = [
        Parallelism(tp, pp, dp, tp * dp),
        Parallelism(tp, pp, 1, tp),
        Parallelism(tp, pp, rows=2 ** ((tp.bit_length() - 1) // 2)),
        Parallelism(tp, pp),
        Parallelism(tp, 1),
        Parallelism(),
    ]
    return next(p for p in candidates if p.valid(model, cluster))


@st.composite
def cases(draw: st.DrawFn) -> tuple[ModelArchitecture, Cluster, Parallelism, Precision]:
    model, cluster = draw(models()), draw(clusters())
    layout = draw(layouts(model, cluster))
    precision = native(draw(st.sampled_from(PRECISIONS)), cluster.accelerator)
    return model, cluster, layout, precision


steps = st.builds(
    Step.decode, st.integers(1, 5000), st.integers(0, 200_000), st.integers(1, 9)
) | st.builds(Step.prefill, st.integers(1, 16), st.integers(1, 50_000))
Case = tuple[ModelArchitecture, Cluster, Parallelism, Precision]


def expected_s(case: Case, step: Step, cluster: Cluster | None = None) -> float:
    model, own, layout, precision = case
    work = forward(model, precision, layout, step)
    return float(time_of(work, cluster or own, EXPECTED).total_s)


@given(cases(), steps)
def test_no_estimate_beats_the_roofline(case: Case, step: Step) -> None:
    model, cluster, layout, precision = case
    work = forward(model, precision, layout, step)
    time, poor = time_of(work, cluster, EXPECTED), time_of(work, cluster, POOR)
    assert 0 < bound_of(work, cluster).total_s <= time.total_s <= poor.total_s
    parts = time.arithmetic_s + time.memory_s + time.network_s + time.latency_s
    assert time.total_s <= parts * (1 + 1e-12)


@given(cases(), st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 100_000))
def test_more_sequences_never_take_less_time(
    case: Case, batch: int, more: int, context: int
) -> None:
    less = expected_s(case, Step.decode(batch, context))
    assert expected_s(case, Step.decode(batch + more, context)) >= less * (1 - 1e-12)


@given(cases(), st.integers(1, 500), st.integers(0, 100_000), st.integers(1, 10_000))
def test_more_context_never_takes_less_time(
    case: Case, batch: int, context: int, more: int
) -> None:
    less = expected_s(case, Step.decode(batch, context))
    assert expected_s(case, Step.decode(batch, context + more)) >= less * (1 - 1e-12)


@given(cases(), st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 100_000))
def test_a_batch_never_costs_more_than_its_parts(
    case: Case, one: int, other: int, context: int
) -> None:
    parts = sum(expected_s(case, Step.decode(batch, context)) for batch in (one, other))
    assert expected_s(case, Step.decode(one + other, context)) <= parts * (1 + 1e-12)


@given(
    cases(), steps, st.floats(1, 10), st.sampled_from(["bandwidth", "flops", "links", "latency"])
)
def test_faster_hardware_is_never_slower(case: Case, step: Step, factor: float, what: str) -> None:
    cluster = case[1]
    chip = cluster.accelerator
    match what:
        case "bandwidth":
            rate = chip.memory_bandwidth_bytes_per_s * factor
            chip = replace(chip, memory_bandwidth_bytes_per_s=rate)
        case "flops":
            chip = replace(
                chip, peak_flops_per_s={d: r * factor for d, r in chip.peak_flops_per_s.items()}
            )
    links = cluster.links
    if what == "links":
        links = tuple(
            replace(link, bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * factor)
            for link in links
        )
    if what == "latency":
        links = tuple(replace(link, latency_s=link.latency_s / factor) for link in links)
    better = replace(cluster, accelerator=chip, links=links)
    assert expected_s(case, step, better) <= expected_s(case, step) * (1 + 1e-12)


@given(models(), st.integers(1, 1000), st.integers(1, 100_000))
def test_smaller_formats_never_need_more_memory(
    model: ModelArchitecture, batch: int, context: int
) -> None:
    alone = Parallelism()
    names = ("bf16", "fp8", "fp8/fp8/fp8", "nvfp4/fp8/fp8", "int4/bf16/fp8")
    sizes = [
        float(weight_bytes(model, p, alone) + kv_bytes(model, p, alone, batch, context))
        for p in map(Precision.parse, names)
    ]
    assert sizes == sorted(sizes, reverse=True)


@given(cases(), st.integers(1, 5000), st.integers(1, 100_000))
def test_all_accelerators_together_hold_everything(case: Case, batch: int, context: int) -> None:
    model, _, layout, precision = case
    n = float(layout.num_accelerators)
    whole = float(weight_bytes(model, precision, Parallelism()))
    assert float(weight_bytes(model, precision, layout)) * n >= whole * (1 - 1e-9)
    cache = float(kv_bytes(model, precision, Parallelism(), batch, context))
    assert float(kv_bytes(model, precision, layout, batch, context)) * n >= cache * (1 - 1e-9)


@given(cases(), st.integers(1, 50_000))
@settings(max_examples=30)
def test_max_sequences_is_the_largest_that_fits(case: Case, context: int) -> None:
    model, cluster, layout, precision = case
    small = replace(cluster, accelerator=replace(cluster.accelerator, memory_bytes=1e11))
    deployment = Deployment(model, small, parallelism=layout, precision=precision)
    most = float(deployment.max_sequences(context))
    if most > 0:
        assert deployment.fits(most, context)
    if 0 < most < 2**20:
        assert not deployment.fits(most + 1, context)


@given(
    st.integers(1, 200), st.integers(1, 5000), st.integers(1, 300), st.none() | st.integers(1, 2000)
)
def test_chunks_attend_to_what_the_whole_prompt_does(
    batch: int, prompt: int, chunk: int, window: int | None
) -> None:
    starts = range(0, prompt, chunk)
    pieces = sum(
        float(Step.prefill(batch, min(start + chunk, prompt), start).attended_pairs(window).sum())
        for start in starts
    )
    assert pieces == float(Step.prefill(batch, prompt).attended_pairs(window).sum())


def test_a_mixed_step_costs_less_than_prefill_and_decode_apart(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    timer = AnalyticStepTime(Deployment(llama_70b, h100, tp=8, precision=Precision.parse("bf16")))
    decode, prefill = Step.decode(64, 2000), Step.prefill(1, 512)
    mixed = timer.step_time(decode.with_group(prefill)).expected_s
    apart = timer.step_time(decode).expected_s + timer.step_time(prefill).expected_s
    alone = max(timer.step_time(decode).expected_s, timer.step_time(prefill).expected_s)
    assert alone < mixed < apart


def test_precision_falls_back_to_what_the_hardware_computes(h100: Cluster) -> None:
    volta = Accelerator("v", "nvidia", 16e9, 9e11, {DType.FP16: 1e14}, 300.0)
    assert native(Precision.parse("fp8"), volta) == Precision.parse("fp8/fp16/fp16")
    assert native(Precision.parse("fp8"), h100.accelerator) == Precision.parse("fp8")
    assert native(Precision.parse("nvfp4"), h100.accelerator) == Precision.parse("nvfp4/bf16")
    with pytest.raises(ValueError, match="neither bf16 nor"):
        native(Precision.parse("bf16"), replace(volta, peak_flops_per_s={DType.INT8: 1e14}))


def test_every_step_of_an_array_has_a_component_that_binds(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    work = forward(
        llama_70b, Precision.parse("bf16"), Parallelism(8), Step.decode(np.arange(1, 5), 9)
    )
    assert time_of(work, h100, EXPECTED).binds.shape == (4,)
