"""The event loop of static batches: whoever is free asks who goes next; compiled.

`headway.schedule.consolidate` and `headway.schedule.offload` say the rules; this follows them on
records, and the plain twin in ``tests/reference`` is held to the same ends.
"""

from __future__ import annotations

from typing import NamedTuple

from headway.sim.compile import compiled
from headway.sim.world import NONE, Ints, Table

FOREVER_S = 1e18


class BatchRequest:
    """One request; what is predicted of it, and what really happens."""

    ready_s: float
    key: float  # smaller goes first
    slope: float  # of the key, per second
    tokens: float  # predicted answer, the middle
    upper_tokens: float  # predicted answer, the quantile that offload goes by
    output_tokens: int  # the truth
    is_chosen: int  # for the batch that is being filled
    end_s: float


class Pace(NamedTuple):
    """Seconds of a batch, in parts, as in `headway.sim.static_batch.BatchTime`."""

    fixed_s: float
    request_s: float
    token_s: float
    token_request_s: float


class BatchRules(NamedTuple):
    """What does not change during a run.

    Attributes:
        max_batch, nearest, ratio, window_s: as in `headway.schedule.consolidate.Consolidation`.
        fast, slow: the paces of both engines.
        has_slow: whether there is a second engine.
        threshold_tokens: only longer answers, by their upper quantile, may go there.

    """

    max_batch: int
    nearest: bool
    ratio: float
    window_s: float
    fast: Pace
    slow: Pace
    has_slow: bool
    threshold_tokens: float


@compiled
def seconds(pace: Pace, size: int, longest_tokens: float) -> float:
    """Return the seconds of a batch."""
    token_s = pace.token_s + pace.token_request_s * size
    return pace.fixed_s + pace.request_s * size + token_s * longest_tokens


@compiled
def run(requests: Table[BatchRequest], rules: BatchRules, waiting: Ints, batch: Ints) -> None:
    """Serve all requests, which come in the order of ``ready_s``; fill in their ``end_s``.

    ``waiting`` has room for all requests and ``batch`` for one batch.
    """
    num_arrived, num_waiting = 0, 0
    now_s, fast_free_s, slow_free_s = 0.0, 0.0, 0.0
    while num_arrived < len(requests) or num_waiting > 0:
        # Whoever has come waits.
        while num_arrived < len(requests) and requests[num_arrived].ready_s <= now_s:
            waiting[num_waiting] = num_arrived
            num_waiting += 1
            num_arrived += 1
        next_s = requests[num_arrived].ready_s if num_arrived < len(requests) else FOREVER_S

        # A batch; an unfilled one waits for company, but not beyond the window of its eldest.
        if num_waiting > 0 and fast_free_s <= now_s:
            size = _fill(requests, rules, waiting, num_waiting, batch, now_s)
            until_s = FOREVER_S
            for place in range(size):
                until_s = min(until_s, requests[batch[place]].ready_s + rules.window_s)
            if size < rules.max_batch and now_s < until_s and next_s <= until_s:
                for place in range(size):
                    requests[batch[place]].is_chosen = 0
            else:
                longest_tokens = 0
                for place in range(size):
                    longest_tokens = max(longest_tokens, requests[batch[place]].output_tokens)
                fast_free_s = now_s + seconds(rules.fast, size, longest_tokens)
                for place in range(size):
                    requests[batch[place]].end_s = fast_free_s
                num_waiting = _without_chosen(requests, waiting, num_waiting)

        # The second engine helps where that pays.
        if rules.has_slow and num_waiting > 0 and slow_free_s <= now_s:
            i = _offloaded(requests, rules, waiting, num_waiting, now_s, fast_free_s)
            if i != NONE:
                requests[i].is_chosen = 1
                slow_free_s = now_s + seconds(rules.slow, 1, requests[i].output_tokens)
                requests[i].end_s = slow_free_s
                num_waiting = _without_chosen(requests, waiting, num_waiting)

        # What comes next: an arrival, or an engine that is free while somebody waits.
        if num_waiting > 0 and fast_free_s > now_s:
            next_s = min(next_s, fast_free_s)
        if num_waiting > 0 and rules.has_slow and slow_free_s > now_s:
            next_s = min(next_s, slow_free_s)
        now_s = max(now_s, next_s)


@compiled
def _fill(
    requests: Table[BatchRequest],
    rules: BatchRules,
    waiting: Ints,
    num_waiting: int,
    batch: Ints,
    now_s: float,
) -> int:
    """Mark who goes into one batch and list them in ``batch``; return how many."""
    size, shortest, longest, first_tokens = 0, 0.0, 0.0, 0.0
    while size < rules.max_batch:
        best, best_rank = NONE, FOREVER_S
        for place in range(num_waiting):
            i = waiting[place]
            tokens = requests[i].tokens
            if requests[i].is_chosen:
                continue
            if size > 0 and max(longest, tokens) > rules.ratio * min(shortest, tokens):
                continue

            if size > 0 and rules.nearest:
                rank = max(tokens, first_tokens) / min(tokens, first_tokens)
            else:
                rank = requests[i].key + requests[i].slope * now_s
            if best == NONE or rank < best_rank:
                best, best_rank = i, rank
        if best == NONE:
            break

        tokens = requests[best].tokens
        if size == 0:
            shortest, longest, first_tokens = tokens, tokens, tokens
        shortest, longest = min(shortest, tokens), max(longest, tokens)
        requests[best].is_chosen = 1
        batch[size] = best
        size += 1
    return size


@compiled
def _offloaded(
    requests: Table[BatchRequest],
    rules: BatchRules,
    waiting: Ints,
    num_waiting: int,
    now_s: float,
    fast_free_s: float,
) -> int:
    """Return the request with the longest answer if the second engine should serve it, or NONE."""
    best, longest, total_tokens = NONE, rules.threshold_tokens, 0.0
    for place in range(num_waiting):
        i = waiting[place]
        total_tokens += requests[i].upper_tokens
        if requests[i].upper_tokens > longest:
            best, longest = i, requests[i].upper_tokens
    if best == NONE:
        return NONE

    # Whoever goes before it, in usual batches.
    num_ahead = 0
    key = requests[best].key + requests[best].slope * now_s
    for place in range(num_waiting):
        i = waiting[place]
        num_ahead += requests[i].key + requests[i].slope * now_s < key
    usual_s = seconds(rules.fast, rules.max_batch, total_tokens / num_waiting)
    backlog_s = max(fast_free_s - now_s, 0.0) + num_ahead // rules.max_batch * usual_s

    # All others that wait gain its part of a batch.
    own_s = seconds(rules.fast, rules.max_batch, longest)
    held_up_s = (num_waiting - 1) * own_s / rules.max_batch
    slow_s = seconds(rules.slow, 1, longest)
    return best if backlog_s + own_s + held_up_s > slow_s else NONE


@compiled
def _without_chosen(requests: Table[BatchRequest], waiting: Ints, num_waiting: int) -> int:
    """Drop the marked requests from ``waiting``; return how many are left."""
    num_left = 0
    for place in range(num_waiting):
        if not requests[waiting[place]].is_chosen:
            waiting[num_left] = waiting[place]
            num_left += 1
    return num_left
