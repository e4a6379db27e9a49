"""Laws of the time of a token, a plain second version of it, then the published times."""

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.papers.erdil_2025.accelerators import ACCELERATORS, PublishedAccelerator
from headway.papers.erdil_2025.forward import Choices, TokenLatency, fastest, token_latency
from headway.papers.erdil_2025.models import MODELS, PublishedModel
from headway.papers.erdil_2025.passes import ForwardPass

POINTS = Path(__file__).parents[3] / ".." / "shared" / "data" / "economics" / "points.json"
H100 = ACCELERATORS["h100"]
ALONE = Choices(pipeline=False)
NAMES = {
    "Llama_3_8B": "llama-3-8b",
    "Llama_3_70B": "llama-3-70b",
    "Mixtral_8x22B": "mixtral-8x22b",
    "DeepSeek_V3": "deepseek-v3",
}

models = st.sampled_from(sorted(MODELS)).map(MODELS.__getitem__)
accelerators = st.sampled_from(sorted(ACCELERATORS)).map(ACCELERATORS.__getitem__)
# Where a node fills up time jumps, and there the two versions may round to different sides.
sizes = st.floats(1.0, 1e5).map(lambda n: n * 1.00123456789)
batches = st.floats(1.0, 1e6).map(lambda b: b * 1.00098765432)
contexts = st.sampled_from([0.0, 300.0, 1e4, 1e5])


# A second version: plain numbers, one variant at a time, no bound, written from the description.


def plain_collective_s(
    ranks: float, nodes: float, num_bytes: float, a: PublishedAccelerator, passes: int
) -> float:
    if ranks <= 1:
        return 0.0
    if a.hop_latency_s is not None:
        bandwidth = (ranks - 1) * num_bytes / (ranks * a.inter_node_bytes_per_s) * passes / 2
        return passes * (ranks - 1) * a.hop_latency_s + bandwidth
    times = []
    protocols = ((0.6, 5, 6.8, 0.5), (1.25, 8.5, 14, 0.95), (28, 28, 0, 1))
    for rank_us, node_us, base_us, share in protocols:
        us = passes * (rank_us * (ranks / nodes - 1) + node_us * math.log2(nodes)) + base_us
        intra = nodes * (ranks / nodes - 1) * num_bytes / (ranks * a.intra_node_bytes_per_s * share)
        inter = (nodes - 1) * num_bytes / (ranks * a.inter_node_bytes_per_s * share)
        times.append(us * 1e-6 + max(intra, inter) * passes / 2)
    return min(times)


def plain_variants(
    n: float, batch: float, m: PublishedModel, a: PublishedAccelerator, context: float, query: int
) -> Iterator[float]:
    most = min(batch, m.num_layers)
    for i, k, two in itertools.product(range(10), range(6), (False, True)):
        stages = most if i == 9 else most ** (i / 9)
        micro, ways = batch / stages, n / stages
        cache = m.kv_bytes_per_token * context * micro
        if stages > n or n * a.memory_bytes < cache + m.weight_bytes * m.total_params:
            continue
        tokens, sparsity = micro * query, m.sparsity
        experts = 1.0 if micro < 2 * sparsity else min(ways, m.num_experts)
        ffn_ways = max(1.0, ways / experts)
        scale = ways ** (k / 5)
        attention_ways = ways / scale

        def reduce(words: float, of: float, two: bool = two, tokens: float = tokens) -> float:
            power = 0.5 if two else 1.0
            ranks, nodes = of**power, math.ceil(of / a.node_size) ** power
            return plain_collective_s(ranks, nodes, words * tokens * m.activation_bytes, a, 2)

        active, d = m.num_active_experts, m.hidden_size
        share = ways / (math.sqrt(ffn_ways) if two else ffn_ways)
        layer = reduce(active * m.ffn_down_matrices * d / share, ffn_ways)
        if two:
            root = math.sqrt(attention_ways)
            layer += reduce(active * m.ffn_up_matrices * m.ffn_size / share, ffn_ways)
            layer += reduce(d / root, attention_ways) + reduce(m.qkv_size / root, attention_ways)
        else:
            layer += reduce(d, attention_ways)
        if m.num_experts > 1:
            ranks = min(active, experts)
            sent = d * tokens * ranks * m.activation_bytes / ways
            nodes = math.ceil(ranks / a.node_size)
            layer += 2 * plain_collective_s(ranks, nodes, sent, a, 1)
        boundary = plain_collective_s(2, 2, d * tokens / ways * m.activation_bytes, a, 1)
        network = m.num_layers * layer + (stages - 1) * boundary

        def moved(rows: float, columns: float, vectors: float, of: float) -> float:
            tiles = min(max(math.sqrt(rows * of / columns), 1.0), of)
            words = tiles * columns * vectors + of / tiles * rows * vectors
            return rows * columns * m.weight_bytes + words * m.activation_bytes

        met = 1 - (1 - 1 / sparsity) ** tokens
        matrices = m.num_experts * (m.ffn_up_matrices + m.ffn_down_matrices)
        ffn = met * matrices * moved(d, m.ffn_size, tokens / sparsity, ffn_ways)
        projections = moved(d, m.attention_size, tokens, attention_ways)
        if m.latent is None:
            projections += moved(m.qkv_size, d, tokens, attention_ways)
        else:
            ranks = m.latent.kv_rank + m.latent.query_rank
            projections += moved(ranks, d, tokens, attention_ways)
            projections += moved(m.qkv_size, ranks, tokens, attention_ways)
        read = m.num_layers * (ffn + scale * projections)
        read = stages * (cache + read + m.weight_bytes * m.vocab_size * d)
        memory = read / (n * a.memory_efficiency * a.memory_bandwidth_bytes_per_s)

        attended = 4 * m.cached_key_size * m.num_query_heads * m.num_layers * context
        flops = 2 * m.ffn_params / sparsity + attended
        flops += scale * 2 * (m.attention_params + m.embedding_params)
        rate = a.arithmetic_efficiency * a.peak_for(m.weight_bits)
        arithmetic = flops * batch * query / (n * rate)
        yield m.num_layers * 4 * a.kernel_launch_s + network + max(memory, arithmetic)


@settings(max_examples=60, deadline=None)
@given(models, accelerators, sizes, batches, contexts, st.integers(1, 5))
def test_it_is_the_best_of_all_variants(
    model: PublishedModel,
    accelerator: PublishedAccelerator,
    n: float,
    batch: float,
    context: float,
    query: int,
) -> None:
    best = min(plain_variants(n, batch, model, accelerator, context, query), default=math.inf)
    found = token_latency(n, batch, model, accelerator, context_tokens=context, query_tokens=query)
    assert float(found.total_s) == pytest.approx(best, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(models, accelerators, st.lists(st.tuples(sizes, batches), min_size=1, max_size=20), contexts)
def test_a_budget_changes_nothing_within_it(
    model: PublishedModel,
    accelerator: PublishedAccelerator,
    points: list[tuple[float, float]],
    context: float,
) -> None:
    n, b = np.array(points).T.copy()
    forward = ForwardPass(model, accelerator, context)
    free, code = fastest(forward, Choices(), n, b)
    budget = np.where(np.arange(n.size) % 2, free, free * 0.9)
    found, found_code = fastest(forward, Choices(), n, b, budget_s=budget)
    within = np.isfinite(free) & (free <= budget)
    np.testing.assert_array_equal(found[within], free[within])
    np.testing.assert_array_equal(found_code[within], code[within])
    assert np.all(found >= free)


@settings(max_examples=50, deadline=None)
@given(models, accelerators, sizes, batches, contexts)
def test_parts_make_the_whole_and_no_bound_is_beaten(
    model: PublishedModel, accelerator: PublishedAccelerator, n: float, b: float, context: float
) -> None:
    t = token_latency(n, b, model, accelerator, context_tokens=context)
    if not np.isfinite(t.total_s):
        assert np.isnan(t.memory_s)
        assert not t.two_dimensional
        return
    assert t.total_s == t.launch_s + t.network_s + np.maximum(t.memory_s, t.arithmetic_s)
    least = ForwardPass(model, accelerator, context).bound_s(np.asarray(n), np.asarray(b))
    assert least <= t.total_s * (1 + 1e-12)
    assert 1 <= t.pipeline_depth <= min(n, b, model.num_layers)
    assert 1 <= t.attention_scale_down <= n / t.pipeline_depth * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(models, sizes, batches, contexts, st.integers(1, 4))
def test_more_work_never_takes_less_time(
    model: PublishedModel, n: float, b: float, context: float, query: int
) -> None:
    def time(context: float, query: int) -> float:
        return float(
            token_latency(n, b, model, H100, context_tokens=context, query_tokens=query).total_s
        )

    base = time(context, query)
    assert base <= time(context, query + 1) * (1 + 1e-12)
    assert base <= time(context * 2 + 10, query) * (1 + 1e-12)


@settings(max_examples=25, deadline=None)
@given(models, sizes, batches)
def test_better_hardware_never_makes_it_worse(model: PublishedModel, n: float, b: float) -> None:
    base = token_latency(n, b, model, H100, context_tokens=1000).total_s
    for better in (
        replace(H100, memory_bandwidth_bytes_per_s=2 * H100.memory_bandwidth_bytes_per_s),
        replace(H100, memory_efficiency=1.0, arithmetic_efficiency=1.0),
        replace(H100, inter_node_bytes_per_s=2 * H100.inter_node_bytes_per_s),
        replace(H100, kernel_launch_s=0.0),
    ):
        assert token_latency(n, b, model, better, context_tokens=1000).total_s <= base * (1 + 1e-12)


def test_arrays_broadcast_and_infeasible_points_are_infinite() -> None:
    n, b = np.array([[0.5], [1.0], [2.0], [8.0]]), np.array([0.5, 1.0, 64.0])
    t = token_latency(n, b, MODELS["llama-3-70b"], H100)
    assert isinstance(t, TokenLatency)
    assert t.total_s.shape == (4, 3)
    # 141 GB of weights need two; less than one sequence is no batch.
    assert np.isinf(t.total_s[:2]).all()
    assert np.isinf(t.total_s[:, 0]).all()
    assert np.isfinite(t.total_s[2:, 1:]).all()


def test_capacity_counts_one_micro_batch_as_the_published_program_does() -> None:
    model = MODELS["llama-3-70b"]
    context = 8 * H100.memory_bytes / model.kv_bytes_per_token / 16
    assert np.isinf(
        token_latency(8, 64, model, H100, context_tokens=context, choices=ALONE).total_s
    )
    spread = token_latency(8, 64, model, H100, context_tokens=context)
    assert spread.pipeline_depth > 4


@pytest.mark.parametrize(("n", "b"), [(0, 1), (1, -1), (float("nan"), 1), (1, float("inf"))])
def test_impossible_points_are_refused(n: float, b: float) -> None:
    with pytest.raises(InputError, match="positive and finite"):
        token_latency(n, b, MODELS["llama-3-8b"], H100)


def test_impossible_passes_are_refused() -> None:
    with pytest.raises(InputError, match="context"):
        ForwardPass(MODELS["llama-3-8b"], H100, -1)
    with pytest.raises(InputError, match="query"):
        ForwardPass(MODELS["llama-3-8b"], H100, 0, 0)
    with pytest.raises(InputError, match="5-bit"):
        ForwardPass(MODELS["llama-3-8b"].with_weights(5), H100)


@pytest.mark.parametrize(
    ("name", "bits", "accelerator", "n", "b", "context", "ms"),
    [
        ("llama-3-8b", 16, "h100", 1, 1, 0, 6.578276952),
        ("llama-3-8b", 16, "h100", 8, 64, 0, 2.499636104),
        ("llama-3-70b", 16, "h100", 8, 1, 0, 10.755659039),
        ("llama-3-70b", 16, "h100", 8, 64, 0, 12.222541185),
        ("llama-3-70b", 16, "h100", 8, 64, 4096, 16.560891989),
        ("llama-3-70b", 8, "h100", 8, 64, 0, 8.712353587),
        ("llama-3-70b", 16, "a100", 8, 64, 0, 17.558658768),
        ("deepseek-v3", 8, "h100", 32, 128, 0, 13.545648195),
        ("deepseek-v3", 8, "h100", 320, 4096, 0, 24.581036687),
    ],
)
def test_published_times(
    name: str, bits: int, accelerator: str, n: float, b: float, context: float, ms: float
) -> None:
    model = MODELS[name].with_weights(bits)
    t = token_latency(n, b, model, ACCELERATORS[accelerator], context_tokens=context, choices=ALONE)
    assert float(t.total_s) * 1e3 == pytest.approx(ms, rel=1e-9)


def test_published_parts() -> None:
    t = token_latency(8, 64, MODELS["llama-3-70b"], H100, choices=ALONE)
    parts = [float(x) * 1e3 for x in (t.launch_s, t.network_s, t.memory_s, t.arithmetic_s)]
    assert parts == pytest.approx([1.28, 3.7369, 7.2056, 1.6126], rel=1e-4)
    small = token_latency(8, 64, MODELS["llama-3-8b"], H100, choices=ALONE)
    assert 8 / float(small.attention_scale_down) == pytest.approx(5.278, rel=1e-4)


@pytest.mark.skipif(not POINTS.exists(), reason="the published points are not beside this checkout")
def test_every_published_time() -> None:
    name = "new_token_latency_seconds"
    entries = [p for p in json.loads(POINTS.read_text()) if p["name"] == name]
    assert len(entries) == 11
    for p in entries:
        model = MODELS[NAMES[p["model"].removesuffix("_8_bit")]]
        if p["model"].endswith("_8_bit"):
            model = model.with_weights(8)
        accelerator, n, b = ACCELERATORS[p["gpu"].lower()], p["n_gpu"], p["batch"]
        choices = Choices(pipeline=p["pp"])
        t = token_latency(n, b, model, accelerator, context_tokens=p["ctx"], choices=choices)
        assert float(t.total_s) * 1e3 == pytest.approx(p["ms"], rel=1e-9)
        usd = float(t.total_s) * n / b * accelerator.usd_per_hour / 3600 * 1e6
        assert usd == pytest.approx(p["usd_per_mtok"], rel=1e-9)
