"""Counts against what one gets by hand."""

from __future__ import annotations

import numpy as np
import pytest

from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.steptime.forward import forward, useful_flops
from headway.steptime.memory import kv_bytes, weight_bytes
from headway.steptime.parallelism import Parallelism
from headway.steptime.work import Pattern, Work
from headway.workload.step import Step

BF16 = Precision.parse("bf16")
FP8 = Precision.parse("fp8")


def total(
    model: ModelArchitecture,
    step: Step,
    layout: Parallelism | None = None,
    precision: Precision = BF16,
) -> Work:
    return forward(model, precision, layout or Parallelism(), step).total


def test_a_decode_step_multiplies_every_active_weight_once(llama_70b: ModelArchitecture) -> None:
    context = 4095
    work = total(llama_70b, Step.decode(1, context))
    scores = 4 * 64 * 128 * 80 * (context + 1)
    weights = 80 * (8192 * 128 * (64 + 8) * 2 + 3 * 8192 * 28672) + 8192 * 128256
    assert float(work.flops) == 2 * weights + scores
    assert float(work.weight_bytes) == 2 * weights
    assert float(work.kv_bytes) == 2 * 80 * 2 * 8 * 128 * (context + 1)


def test_llama_kv_cache_is_320_kib_per_token(llama_70b: ModelArchitecture) -> None:
    assert float(kv_bytes(llama_70b, BF16, Parallelism(), 1, 1)) == 327_680


def test_deepseek_caches_576_elements_per_layer_on_every_rank(deepseek: ModelArchitecture) -> None:
    for tp in (1, 8):
        assert float(kv_bytes(deepseek, BF16, Parallelism(tp), 1, 1)) == 61 * 576 * 2
    assert float(kv_bytes(deepseek, BF16, Parallelism(1, dp=8, ep=8), 8, 1)) == 61 * 576 * 2


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_tensor_parallelism_splits_the_work_and_adds_none(
    llama_70b: ModelArchitecture, tp: int
) -> None:
    step = Step.decode(32, 1000)
    alone, shared = total(llama_70b, step), total(llama_70b, step, Parallelism(tp))
    for name in ("flops", "weight_bytes", "kv_bytes"):
        assert float(getattr(shared, name)) * tp == pytest.approx(float(getattr(alone, name)))
    assert float(weight_bytes(llama_70b, BF16, Parallelism(tp))) * tp == pytest.approx(
        2 * llama_70b.total_params, rel=1e-3
    )


def test_more_ranks_than_kv_heads_replicate_the_cache(llama_70b: ModelArchitecture) -> None:
    step = Step.decode(32, 1000)
    eight = total(llama_70b, step, Parallelism(8)).kv_bytes
    assert float(total(llama_70b, step, Parallelism(16)).kv_bytes) == float(eight)
    halved = total(llama_70b, step, Parallelism(16, rows=2)).kv_bytes
    assert float(halved) == float(eight) / 2


def test_two_dimensions_send_less_than_one_at_many_ranks(llama_70b: ModelArchitecture) -> None:
    step = Step.decode(512, 1000)
    flat = total(llama_70b, step, Parallelism(64)).network_bytes
    square = total(llama_70b, step, Parallelism(64, rows=8)).network_bytes
    assert float(square) < float(flat)


def test_one_token_touches_its_experts_and_many_touch_all(deepseek: ModelArchitecture) -> None:
    expert = 3 * 7168 * 2048

    def routed(tokens: int) -> float:
        ops = forward(deepseek, FP8, Parallelism(), Step.decode(tokens, 0)).ops
        return float(sum(op.work.weight_bytes for op in ops if op.name == "routed experts"))

    assert routed(1) == pytest.approx(58 * 8 * expert)
    assert routed(2) == pytest.approx(58 * (16 - 8 * 8 / 256) * expert)
    assert routed(100_000) == pytest.approx(58 * 256 * expert)


def test_expert_parallelism_waits_for_the_busiest_rank(deepseek: ModelArchitecture) -> None:
    def routed(layout: Parallelism, batch: int) -> float:
        ops = forward(deepseek, FP8, layout, Step.decode(batch, 0)).ops
        return float(sum(op.work.flops for op in ops if op.name == "routed experts"))

    even = routed(Parallelism(), 3200) / 32
    busiest = routed(Parallelism(1, dp=32, ep=32), 3200)
    assert even < busiest < 1.2 * even


def test_latent_attention_takes_the_cheaper_of_its_two_forms(deepseek: ModelArchitecture) -> None:
    def score_flops(step: Step) -> float:
        ops = forward(deepseek, BF16, Parallelism(), step).ops
        return float(sum(op.work.flops for op in ops if op.name == "attention scores"))

    up = 512 * 128 * (128 + 128)
    pairs = 2048 * 2049 / 2
    absorbed_decode = 61 * (2 * up + 2 * 128 * (2 * 512 + 64) * 4097)
    expanded_prefill = 61 * (2 * up * 2048 + 2 * 128 * (128 + 64 + 128) * pairs)
    assert score_flops(Step.decode(1, 4096)) == pytest.approx(absorbed_decode)
    assert score_flops(Step.prefill(1, 2048)) == pytest.approx(expanded_prefill)


def test_collectives_of_a_dense_layer(llama_70b: ModelArchitecture) -> None:
    found = forward(llama_70b, BF16, Parallelism(8, pp=2), Step.decode(64, 0)).collectives
    kinds = {c.name: (c.pattern, float(c.message_bytes), float(c.count)) for c in found}
    hidden = 32 * 8192 * 2
    assert kinds == {
        "reduce attention": (Pattern.ALL_REDUCE, hidden, 80),
        "reduce feed-forward": (Pattern.ALL_REDUCE, hidden, 80),
        "hand over": (Pattern.POINT_TO_POINT, hidden / 8, 1),
        "gather logits": (Pattern.ALL_GATHER, 32 * 128256 * 2, 1),
    }


def test_parallel_blocks_need_one_reduction(llama_70b: ModelArchitecture) -> None:
    from dataclasses import replace

    parallel = replace(llama_70b, parallel_blocks=True)
    names = [c.name for c in forward(parallel, BF16, Parallelism(8), Step.decode(1, 0)).collectives]
    assert sorted(names) == ["gather logits", "reduce feed-forward"]


def test_attention_groups_send_tokens_to_their_experts(deepseek: ModelArchitecture) -> None:
    found = forward(deepseek, FP8, Parallelism(1, dp=32, ep=32), Step.decode(320, 0)).collectives
    dispatch = next(c for c in found if c.name == "dispatch")
    met = 31 * (1 - (31 / 32) ** 8)
    assert float(dispatch.message_bytes) == pytest.approx(10 * 7168 * 2 * met)
    assert float(dispatch.ranks) == 32


def test_the_last_stage_holds_the_head_for_every_micro_batch_under_way(
    llama_70b: ModelArchitecture,
) -> None:
    def head(sequences: int, pp: int) -> float:
        step = Step.decode(sequences, 100)
        ops = forward(llama_70b, BF16, Parallelism(1, pp=pp), step).ops
        return float(next(op.work.weight_bytes for op in ops if op.name == "output head"))

    assert head(1, 8) == head(64, 1)  # one sequence is one micro-batch
    assert head(3, 8) == 3 * head(1, 1)
    assert head(64, 8) == 8 * head(1, 1)


def test_layers_that_do_not_divide_wait_for_the_longest_stage(llama_70b: ModelArchitecture) -> None:
    step = Step.decode(64, 0)
    # Without the kernels of the output head, 4 for every micro-batch under way.
    even = total(llama_70b, step, Parallelism(1, pp=16)).kernels - 4 * 16
    uneven = total(llama_70b, step, Parallelism(1, pp=32)).kernels - 4 * 32
    assert float(uneven) / float(even) == pytest.approx(96 / 80, rel=1e-2)


def test_arrays_are_the_same_as_scalars(deepseek: ModelArchitecture) -> None:
    tp = np.array([1, 2, 8])[:, None]
    batch = np.array([1, 7, 300])[None, :]
    table = total(deepseek, Step.decode(batch, 100), Parallelism(tp), FP8)
    for i in range(3):
        for j in range(3):
            one = total(deepseek, Step.decode(batch[0, j], 100), Parallelism(tp[i, 0]), FP8)
            for name in ("flops", "weight_bytes", "kv_bytes", "activation_bytes", "network_bytes"):
                both = np.broadcast_to(getattr(table, name), (3, 3))[i, j], getattr(one, name)
                assert float(both[0]) == pytest.approx(float(both[1]), rel=1e-12), name


def test_useful_flops_do_not_depend_on_the_layout(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    step = Step.decode(7, 333)
    assert float(useful_flops(llama_70b, BF16, step)) == float(total(llama_70b, step).flops)
