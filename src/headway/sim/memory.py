"""Blocks of the KV cache of one replica, and its prefix cache.

The prefix cache holds whole hashed blocks, the least recently used leave first. A block that a
running sequence uses is held; one that nobody uses stays cached and counts as free until the memory
is needed. Of a prompt only its leading blocks can be found, and at least one token is computed
anew, as in vLLM. What a preempted request had beyond its hashed blocks stays cached in the same
way, as one entry that loses its last blocks first.
"""

from __future__ import annotations

from headway.sim.compile import compiled, rarely
from headway.sim.world import NONE, BlockState, ReplicaState, RequestState, Rules, World


@compiled
def blocks_of(rules: Rules, tokens: int) -> int:
    """Return the blocks that ``tokens`` take."""
    return (tokens + (1 << rules.block_shift) - 1) >> rules.block_shift


@compiled
def phase_of(rules: Rules, base: int) -> int:
    """Return the residue of the step at which the cache of a sequence fills a whole block."""
    return -base & ((1 << rules.block_shift) - 1)


@compiled
def blocks_needed(w: World, replica: ReplicaState, first: int, steps: int) -> int:
    """Return the blocks that the decodes take in ``steps`` steps from step ``first`` on."""
    shift = w.rules.block_shift
    mask = (1 << shift) - 1
    phases = w.phases[replica.number]
    needed = (steps >> shift) * replica.num_decodes
    for step in range(first, first + (steps & mask)):
        needed += phases[step & mask]
    return needed


@compiled
def hashed_blocks(rules: Rules, request: RequestState, tokens: int) -> int:
    """Return how many hashed blocks of ``request`` its first ``tokens`` tokens fill."""
    num_hashes = request.hashes_stop - request.hashes_start
    return min(num_hashes, min(tokens, request.prompt_tokens) // rules.hash_tokens)


@compiled
def give_back(w: World, replica: ReplicaState, i: int, tokens: int) -> None:
    """Free the blocks of request ``i``, whose cache holds ``tokens`` tokens."""
    replica.free_blocks += blocks_of(w.rules, tokens)
    if w.rules.prefix_cache:
        count = hashed_blocks(w.rules, w.requests[i], tokens)
        replica.free_blocks -= _release(w, replica, i, count)


@compiled
def cached_prefix(w: World, replica: ReplicaState, i: int) -> int:
    """Return the number of leading hashed blocks of request ``i`` that the replica caches."""
    request, hashes, blocks = w.requests[i], w.hashes, w.blocks[replica.number]
    start = request.hashes_start
    most = min(request.hashes_stop - start, (request.todo_tokens - 1) // w.rules.hash_tokens)
    count = 0
    while count < most and blocks[hashes[start + count]].holders != NONE:
        count += 1
    return count


@compiled
def unused_blocks(w: World, replica: ReplicaState, i: int, count: int) -> int:
    """Return how many of the first ``count`` hashed blocks nobody uses: they count as free."""
    hashes, blocks = w.hashes, w.blocks[replica.number]
    start = w.requests[i].hashes_start
    unused = 0
    for k in range(start, start + count):
        unused += blocks[hashes[k]].holders == 0
    return unused


@compiled
def hold(w: World, replica: ReplicaState, i: int, start: int, stop: int) -> int:
    """Use hashed blocks ``start`` to ``stop`` of request ``i``; return blocks that others share.

    A block that is not cached yet becomes so: the request's own block is then the cached one.
    """
    hashes, blocks = w.hashes, w.blocks[replica.number]
    first = w.requests[i].hashes_start
    shared = 0
    for k in range(first + start, first + stop):
        block = blocks[hashes[k]]
        if block.holders == 0:
            _unlink(w, replica, hashes[k])
            replica.cached_blocks -= w.rules.hash_blocks
        elif block.holders > 0:
            shared += w.rules.hash_blocks
        block.holders = max(block.holders, 0) + 1
    return shared


@compiled
def _release(w: World, replica: ReplicaState, i: int, count: int) -> int:
    """Stop using the first ``count`` hashed blocks of ``i``; return blocks that others still use.

    The last block of the prompt becomes the oldest, so that prefixes outlive what follows them.
    """
    hashes, blocks = w.hashes, w.blocks[replica.number]
    start = w.requests[i].hashes_start
    shared = 0
    for k in range(start + count - 1, start - 1, -1):
        block = blocks[hashes[k]]
        block.holders -= 1
        if block.holders > 0:
            shared += w.rules.hash_blocks
            continue

        # Nobody uses it any more: it becomes the newest of the cached blocks.
        replica.cached_blocks += w.rules.hash_blocks
        _link(w, replica, hashes[k])
    return shared


@rarely
def keep(w: World, replica: ReplicaState, i: int, tokens: int) -> None:
    """Leave what request ``i`` has beyond its hashed blocks in the cache, until it is needed."""
    count = tokens >> w.rules.block_shift
    if w.rules.prefix_cache:
        count -= hashed_blocks(w.rules, w.requests[i], tokens) * w.rules.hash_blocks
    if count > 0:
        w.kept[i].holders = count
        replica.cached_blocks += count
        _link(w, replica, len(w.blocks[replica.number]) + i)


@compiled
def kept_blocks(w: World, i: int, hits: int) -> int:
    """Return how many blocks of its own request ``i`` finds behind ``hits`` hashed ones."""
    count, request = w.kept[i].holders, w.requests[i]
    if count == NONE:
        return 0
    hashed = hits * w.rules.hash_blocks
    if w.rules.prefix_cache and hits < hashed_blocks(w.rules, request, request.todo_tokens):
        return 0
    return min(count, ((request.todo_tokens - 1) >> w.rules.block_shift) - hashed)


@compiled
def forget_kept(w: World, replica: ReplicaState, i: int) -> None:
    """Let the entry of request ``i`` go: it holds the blocks itself, or they are free."""
    if w.kept[i].holders != NONE:
        _unlink(w, replica, len(w.blocks[replica.number]) + i)
        replica.cached_blocks -= w.kept[i].holders
        w.kept[i].holders = NONE


@compiled
def _block(w: World, replica: ReplicaState, h: int) -> BlockState:
    """Return entry ``h`` of the list of cached blocks."""
    blocks = w.blocks[replica.number]
    if h < len(blocks):
        return blocks[h]
    return w.kept[h - len(blocks)]


@compiled
def _link(w: World, replica: ReplicaState, h: int) -> None:
    """Make block ``h`` the newest of the list of cached blocks."""
    block, newest = _block(w, replica, h), replica.newest_block
    block.older = newest
    block.newer = NONE
    if newest == NONE:
        replica.oldest_block = h
    else:
        _block(w, replica, newest).newer = h
    replica.newest_block = h


@compiled
def _unlink(w: World, replica: ReplicaState, h: int) -> None:
    """Take block ``h`` out of the list of cached blocks."""
    block = _block(w, replica, h)
    older, newer = block.older, block.newer
    if older == NONE:
        replica.oldest_block = newer
    else:
        _block(w, replica, older).newer = newer
    if newer == NONE:
        replica.newest_block = older
    else:
        _block(w, replica, newer).older = older


@compiled
def evict(w: World, replica: ReplicaState) -> None:
    """Drop the least recently used blocks until no more are cached than are free."""
    while replica.cached_blocks > replica.free_blocks:
        h = replica.oldest_block
        block = _block(w, replica, h)
        if h >= len(w.blocks[replica.number]) and block.holders > 1:
            block.holders -= 1
            replica.cached_blocks -= 1
            continue

        _unlink(w, replica, h)
        replica.cached_blocks -= w.rules.hash_blocks if h < len(w.blocks[replica.number]) else 1
        block.holders = NONE
