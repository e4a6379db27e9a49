"""Blocks of the KV cache: how many tokens take, who needs one now, and giving them back."""

from __future__ import annotations

from headway.sim import prefix as cache
from headway.sim.compile import compiled
from headway.sim.state import (
    BASE_,
    BLOCK_SHIFT,
    DECODES,
    FREE,
    HASH_TOKENS,
    HASHES_START_,
    HASHES_STOP_,
    PHASES_AT,
    PREFIXES,
    PROMPT_,
    STEP_NUMBER,
    Ints,
    World,
)


@compiled
def blocks_of(rules: Ints, tokens: int) -> int:
    """Blocks that ``tokens`` take."""
    return int((tokens + (1 << rules[BLOCK_SHIFT]) - 1) >> rules[BLOCK_SHIFT])


@compiled
def phase_of(rules: Ints, base: int) -> int:
    """The residue of the step number at which a sequence's cache fills a whole block."""
    return int(-base & ((1 << rules[BLOCK_SHIFT]) - 1))


@compiled
def fills(q: Ints, row: Ints, rules: Ints, i: int) -> bool:
    """Whether decoding request ``i`` needs a block for the step that is being planned."""
    return bool((q[i, BASE_] + row[STEP_NUMBER]) & ((1 << rules[BLOCK_SHIFT]) - 1) == 0)


@compiled
def hashed_blocks(q: Ints, rules: Ints, i: int, tokens: int) -> int:
    """Hashed blocks of request ``i`` that its first ``tokens`` tokens fill."""
    known = q[i, HASHES_STOP_] - q[i, HASHES_START_]
    return int(min(known, min(tokens, q[i, PROMPT_]) // rules[HASH_TOKENS]))


@compiled
def give_back(w: World, row: Ints, i: int, ctx: int) -> None:
    """Free the blocks of request ``i``, whose cache holds ``ctx`` tokens."""
    q, rules = w.q, w.rules
    row[FREE] += blocks_of(rules, ctx)
    if rules[PREFIXES]:
        count = hashed_blocks(q, rules, i, ctx)
        row[FREE] -= cache.release(w, row, i, count)


@compiled
def blocks_needed(row: Ints, rules: Ints, first: int, steps: int) -> int:
    """Blocks that the present decodes take in ``steps`` steps from step number ``first`` on."""
    shift = rules[BLOCK_SHIFT]
    mask = (1 << shift) - 1
    taken = (steps >> shift) * row[DECODES]
    for d in range(first, first + (steps & mask)):
        taken += row[PHASES_AT + (d & mask)]
    return int(taken)
