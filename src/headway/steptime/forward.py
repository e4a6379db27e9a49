"""One forward pass of a model, counted: what each accelerator computes, and what they exchange."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headway.model.architecture import LayerGroup, ModelArchitecture
from headway.model.ffn import DenseFfn, MoeFfn
from headway.model.precision import Precision
from headway.steptime.operators import (
    Shard,
    attention_ops,
    dense_ops,
    hidden_bytes,
    moe_ops,
    qkv_width,
    wide_dtype,
)
from headway.steptime.parallelism import Parallelism
from headway.steptime.work import Array, Collective, Forward, Number, Op, Pattern, Work
from headway.workload.step import Step


def forward(
    model: ModelArchitecture, precision: Precision, parallelism: Parallelism, step: Step
) -> Forward:
    """Count the pass of ``step`` (all sequences of the engine) on the busiest accelerator.

    Sequences are dealt out over ``dp`` groups and ``pp`` micro-batches. The counts are those of
    one micro-batch on its way through all stages, which in the steady state of a full pipeline is
    also the time between two tokens of a sequence: as many micro-batches as stages are under way,
    and each waits for the fullest stage. That is the last one, which has the output head besides
    its layers, so that the head counts once for every micro-batch under way.

    Args:
        model: what runs.
        precision: with activations that the hardware computes natively.
        parallelism: degrees that broadcast against the leading axes of ``step``.
        step: the tokens of the pass.

    Returns:
        Operations and collectives, whose arrays have the broadcast shape.

    """
    # What one rank holds, and the tokens that it sees.
    local = step.split(parallelism.dp * parallelism.pp)
    rank_step = local if np.all(parallelism.rows == 1) else local.split(parallelism.rows)
    shard = Shard(
        hidden_size=model.hidden_size,
        precision=precision,
        rows=parallelism.rows,
        columns=parallelism.columns,
        rank_step=rank_step,
        tokens=local.total_tokens,
    )

    # Layers, of which the fullest stage has one more where they do not divide evenly.
    uneven = np.ceil(model.num_layers / parallelism.pp) * parallelism.pp / model.num_layers
    ops: list[Op] = []
    collectives: list[Collective] = []
    for group in model.layers:
        layers = group.count * uneven
        blocks = attention_ops(group.attention, shard) + _ffn_ops(group, shard, parallelism)
        ops += [replace(op, work=op.work * layers) for op in blocks]
        collectives += [
            replace(one, count=layers)
            for one in _layer_collectives(model, group, shard, parallelism)
        ]

    # What stands around them.
    under_way = np.clip(step.total_sequences / parallelism.dp, 1.0, parallelism.pp)
    head = _head(model, precision, parallelism.tp, local)
    ops.append(replace(head, work=head.work * under_way))
    collectives += _edge_collectives(model, precision, parallelism, local)
    return Forward(tuple(ops), tuple(collectives))


def _ffn_ops(group: LayerGroup, shard: Shard, parallelism: Parallelism) -> list[Op]:
    match group.ffn:
        case None:
            return []
        case DenseFfn():
            return dense_ops(group.ffn, shard)
        case MoeFfn():
            return moe_ops(group.ffn, shard, parallelism.dp, parallelism.ep)


def _head(model: ModelArchitecture, precision: Precision, tp: Number, local: Step) -> Op:
    """Return the output head with the embedding lookup, unquantized as in published checkpoints."""
    width = model.vocab_size / np.asarray(tp)
    size, rows = hidden_bytes(precision), local.total_sampled
    return Op(
        "output head",
        wide_dtype(precision),
        Work(
            flops=2 * rows * model.hidden_size * width,
            weight_bytes=size * model.hidden_size * width,
            activation_bytes=size
            * (rows * (model.hidden_size + width) + 2 * local.total_tokens * model.hidden_size),
            kernels=4,
        ),
    )


def _layer_collectives(
    model: ModelArchitecture, group: LayerGroup, shard: Shard, parallelism: Parallelism
) -> list[Collective]:
    """Return the exchanges of one layer.

    One-dimensional: an all-reduce of the hidden state after attention and after feed-forward (one
    for both where the blocks run in parallel). Two-dimensional (``rows`` above 1): before these,
    the input products are reduced over ``rows`` (Pope et al. 2022, section 3.2.2). With
    data-parallel attention, tokens travel to their experts and back, and are gathered.
    """
    size = shard.hidden_bytes * shard.tokens
    rows, columns = parallelism.rows, parallelism.columns
    hidden = size * model.hidden_size / rows

    def reduce(name: str, ranks: Number, stride: Number, message: Number) -> Collective:
        return Collective(name, Pattern.ALL_REDUCE, ranks, stride, message)

    # Attention.
    collectives: list[Collective] = []
    two_dimensional = bool(np.any(rows > 1))
    if two_dimensional:
        qkv = size * qkv_width(group.attention, columns)
        collectives.append(reduce("reduce qkv", rows, 1, qkv))
    if not model.parallel_blocks:
        collectives.append(reduce("reduce attention", columns, rows, hidden))

    # Feed-forward.
    if group.ffn is None:
        return collectives
    if isinstance(group.ffn, DenseFfn) and two_dimensional:
        inner = size * (group.ffn.num_matrices - 1) * group.ffn.intermediate_size / columns
        collectives.append(reduce("reduce feed-forward input", rows, 1, inner))
    if isinstance(group.ffn, MoeFfn) and bool(np.any(parallelism.dp > 1)):
        return collectives + _expert_collectives(model, group.ffn, shard, parallelism)
    return [*collectives, reduce("reduce feed-forward", columns, rows, hidden)]


def _expert_collectives(
    model: ModelArchitecture, moe: MoeFfn, shard: Shard, parallelism: Parallelism
) -> list[Collective]:
    """Return dispatch and combine over expert ranks where ``dp`` is above 1, else the all-reduce.

    The ranks of a tensor-parallel group share out the tokens of their data-parallel group. A
    token is sent once to every other rank that holds one of its experts:
    ep (1 - (1 - 1/ep)^k) ranks in the mean, of which (ep - 1)/ep are others.
    """
    tp, ep, has_groups = parallelism.tp, parallelism.ep, parallelism.dp > 1
    hidden = shard.tokens * model.hidden_size * shard.hidden_bytes
    other_ranks = (ep - 1) * (1 - (1 - 1 / ep) ** moe.num_experts_per_token)
    outgoing = hidden / tp * other_ranks

    # Layouts with and without groups stand in one array: of each exchange one kind has one rank.
    alone = np.ones_like(tp)
    reduce_ranks, gather_ranks = np.where(has_groups, alone, tp), np.where(has_groups, tp, alone)
    expert_ranks = np.where(has_groups, ep, alone)
    return [
        Collective("reduce feed-forward", Pattern.ALL_REDUCE, reduce_ranks, 1, hidden),
        Collective("dispatch", Pattern.ALL_TO_ALL, expert_ranks, 1, outgoing),
        Collective("combine", Pattern.ALL_TO_ALL, expert_ranks, 1, outgoing),
        Collective("gather tokens", Pattern.ALL_GATHER, gather_ranks, 1, hidden),
    ]


def _edge_collectives(
    model: ModelArchitecture, precision: Precision, parallelism: Parallelism, local: Step
) -> list[Collective]:
    """Return the gathering of logits, and the hand-over between pipeline stages."""
    size = hidden_bytes(precision)
    logits = size * local.total_sampled * model.vocab_size
    gather = Collective("gather logits", Pattern.ALL_GATHER, parallelism.tp, 1, logits)
    if not np.any(parallelism.pp > 1):
        return [gather]

    message = size * local.total_tokens * model.hidden_size / parallelism.tp
    stage = parallelism.tp * parallelism.dp
    hand_over = Collective("hand over", Pattern.POINT_TO_POINT, parallelism.pp, stage, message)
    return [gather, hand_over]


def useful_flops(model: ModelArchitecture, precision: Precision, step: Step) -> Array:
    """Return the arithmetic of ``step`` on one accelerator that holds everything, for MFU."""
    whole = forward(model, precision, Parallelism(), step)
    return np.asarray(sum(np.asarray(op.work.flops) for op in whole.ops))
