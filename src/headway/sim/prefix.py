"""The prefix cache of one replica: whole hashed blocks, the least recently used leave first.

A block that a running sequence uses is held; one that nobody uses stays cached and counts as free
until the memory is needed. Of a prompt only its leading blocks can be found, and at least one
token is computed anew, as in vLLM.
"""

from __future__ import annotations

from headway.sim.compile import compiled
from headway.sim.state import (
    CACHED,
    FREE,
    HASH_BLOCKS,
    HASH_TOKENS,
    HASHES_START_,
    HASHES_STOP_,
    HOLDERS,
    LRU_NEW,
    LRU_OLD,
    NEWER,
    NONE,
    NUMBER,
    OLDER,
    TODO_,
    Ints,
    World,
)


@compiled
def matched(w: World, row: Ints, i: int) -> int:
    """Leading hashed blocks of request ``i`` that the replica holds."""
    q, hashes, blocks, rules = w.q, w.hashes, w.blocks[row[NUMBER]], w.rules
    start = q[i, HASHES_START_]
    most = min(q[i, HASHES_STOP_] - start, (q[i, TODO_] - 1) // rules[HASH_TOKENS])
    count = 0
    while count < most and blocks[hashes[start + count], HOLDERS] != NONE:
        count += 1
    return count


@compiled
def unused(w: World, row: Ints, i: int, count: int) -> int:
    """How many of the first ``count`` hashed blocks nobody uses now: they stop being free."""
    q, hashes, blocks = w.q, w.hashes, w.blocks[row[NUMBER]]
    start = q[i, HASHES_START_]
    found = 0
    for k in range(start, start + count):
        found += blocks[hashes[k], HOLDERS] == 0
    return found


@compiled
def _unlink(w: World, row: Ints, h: int) -> None:
    blocks = w.blocks[row[NUMBER]]
    older, newer = blocks[h, OLDER], blocks[h, NEWER]
    if older == NONE:
        row[LRU_OLD] = newer
    else:
        blocks[older, NEWER] = newer
    if newer == NONE:
        row[LRU_NEW] = older
    else:
        blocks[newer, OLDER] = older


@compiled
def hold(w: World, row: Ints, i: int, start: int, stop: int) -> int:
    """Use hashed blocks ``start`` to ``stop`` of request ``i``; return blocks others share now.

    A block that is not cached yet becomes so: the request's own block is then the cached one.
    """
    q, hashes, blocks, rules = w.q, w.hashes, w.blocks[row[NUMBER]], w.rules
    shared = 0
    for k in range(q[i, HASHES_START_] + start, q[i, HASHES_START_] + stop):
        h = hashes[k]
        holders = blocks[h, HOLDERS]
        if holders == 0:
            _unlink(w, row, h)
            row[CACHED] -= rules[HASH_BLOCKS]
        elif holders > 0:
            shared += rules[HASH_BLOCKS]
        blocks[h, HOLDERS] = max(holders, 0) + 1
    return shared


@compiled
def release(w: World, row: Ints, i: int, count: int) -> int:
    """Stop using the first ``count`` hashed blocks of ``i``; return blocks that others still use.

    The last block of the prompt becomes the oldest, so that prefixes outlive what follows them.
    """
    q, hashes, blocks, rules = w.q, w.hashes, w.blocks[row[NUMBER]], w.rules
    start = q[i, HASHES_START_]
    kept = 0
    for k in range(start + count - 1, start - 1, -1):
        h = hashes[k]
        blocks[h, HOLDERS] -= 1
        if blocks[h, HOLDERS] > 0:
            kept += rules[HASH_BLOCKS]
            continue
        row[CACHED] += rules[HASH_BLOCKS]
        newest = row[LRU_NEW]
        blocks[h, OLDER] = newest
        blocks[h, NEWER] = NONE
        if newest == NONE:
            row[LRU_OLD] = h
        else:
            blocks[newest, NEWER] = h
        row[LRU_NEW] = h
    return kept


@compiled
def evict(w: World, row: Ints) -> None:
    """Drop the least recently used blocks until no more are cached than are free."""
    blocks, rules = w.blocks[row[NUMBER]], w.rules
    while row[CACHED] > row[FREE]:
        h = row[LRU_OLD]
        _unlink(w, row, h)
        blocks[h, HOLDERS] = NONE
        row[CACHED] -= rules[HASH_BLOCKS]
