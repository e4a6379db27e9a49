"""Step times as tables: a `StepTimeModel` is asked once on a grid, the simulation looks up.

Steps that only decode are tabulated for every batch size and a few hundred sizes of the cache;
each entry is the time in the middle of its interval, so errors have either sign; where the model
knows what uneven contexts cost, a second table holds that. Steps with
prefill are interpolated in four coordinates: decoding sequences, their mean context, scheduled
prompt tokens, and the mean number of tokens that each of those attends to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from headway.errors import InputError
from headway.sim.compile import compiled
from headway.sim.engine import Engine
from headway.sim.world import Floats, Ints
from headway.steptime.step_time import RequestOverhead, StepTimeModel
from headway.steptime.time_estimate import MAX_SPREAD
from headway.workload.step import Step

BUCKETS = 512
ROWS = 192  # of a table, asked for at once
SMALL, OCTAVES = 16.0, 18  # context axes: 0, 16, 32, ... 2 Mi tokens
FINE = 4  # points per octave of the prompt-token axis
NO_OVERHEAD = RequestOverhead()


class Times(NamedTuple):
    """Tables of every pool, stacked: what the compiled loop reads."""

    decode_ns: Ints  # (pools, sequences + 1, BUCKETS)
    shift: Ints  # (pools,): cache tokens per bucket, as a power of two
    mixed_ns: Floats  # (pools, sequences, context, prompt tokens, attended)
    spread_ns: Floats  # (pools, sequences + 1, BUCKETS), or (pools, 1, 1) where nobody knows


@dataclass(frozen=True, slots=True, eq=False)
class StepTable:
    """Tabulated times of one engine.

    Attributes:
        decode_ns: ``(max_num_seqs + 1, BUCKETS)``, rounded up.
        shift: a bucket is ``2**shift`` tokens of cache wide.
        mixed_ns: ``(sequences, context, prompt tokens, attended)``.
        overhead: what is added to a request before it can wait.
        spread_ns: added to ``decode_ns`` for each unit of the relative variance of the contexts;
            ``(1, 1)`` where the model of time knows their mean only.

    """

    decode_ns: Ints
    shift: int
    mixed_ns: Floats
    overhead: RequestOverhead = NO_OVERHEAD
    spread_ns: Floats = field(default_factory=lambda: np.zeros((1, 1)))

    def decode_step_ns(self, sequences: int, kv_tokens: int, squares: int | None = None) -> int:
        """Return the nanoseconds of a step that decodes with ``kv_tokens`` of cache in all.

        ``squares`` is the sum of the squares of the sequences' tokens; without it they are alike.
        """
        step_ns = int(decode_ns(self.decode_ns, self.shift, sequences, kv_tokens))
        if squares is None:
            return step_ns
        return step_ns + int(
            spread_ns(self.spread_ns, self.shift, sequences, kv_tokens, squares, 0)
        )

    def mixed_step_ns(self, sequences: int, kv_tokens: int, new: int, pairs: int) -> int:
        """Return the nanoseconds of a step with ``new`` prompt tokens, which score ``pairs``."""
        return int(mixed_ns(self.mixed_ns, sequences, kv_tokens, new, pairs))

    def overhead_ns(self, prompt_tokens: Ints) -> Ints:
        """Return the nanoseconds between arrival and queue of prompts of so many tokens.

        Steps for which the first token is held back are those of a request alone: beside others
        it waits for steps under way, which the simulation sees for itself.
        """
        bucket = np.minimum(prompt_tokens >> self.shift, BUCKETS - 1)
        alone_s = self.decode_ns[1, bucket] * 1e-9
        return nanoseconds(self.overhead.seconds(prompt_tokens.astype(np.float64), alone_s))


def tabulate(
    model: StepTimeModel, engine: Engine, max_context_tokens: int | None = None
) -> StepTable:
    """Ask ``model`` on the grid that ``engine`` can reach.

    Args:
        model: what a step takes.
        engine: what a step can hold.
        max_context_tokens: of any request that will come, where that is known: mixed steps with
            longer ones are not asked for, and would take as long as those.

    Raises:
        InputError: a time is not positive and finite.

    """
    shift = max(0, math.ceil(math.log2(max(engine.kv_tokens, 1) / BUCKETS)))
    decode_s, spread_s = _decode_s(model, engine, shift)
    mixed_s = _mixed_s(model, engine, max_context_tokens)
    for times_s in (decode_s, mixed_s):
        if not (np.all(np.isfinite(times_s)) and np.all(times_s > 0)):
            raise InputError("a step-time model must give positive, finite times")
    return StepTable(
        decode_ns=np.ceil(decode_s * 1e9).astype(np.int64),
        shift=shift,
        mixed_ns=np.ascontiguousarray(mixed_s * 1e9),
        overhead=model.request_overhead,
        spread_ns=np.zeros((1, 1)) if spread_s is None else spread_s * 1e9,
    )


def nanoseconds(seconds: Floats) -> Ints:
    """Return ``seconds`` in nanoseconds, rounded up unless they are whole within a thousandth."""
    scaled = np.asarray(seconds, dtype=np.float64) * 1e9
    nearest = np.rint(scaled)
    return np.where(np.abs(scaled - nearest) < 1e-3, nearest, np.ceil(scaled)).astype(np.int64)


def _decode_s(model: StepTimeModel, engine: Engine, shift: int) -> tuple[Floats, Floats | None]:
    """Return seconds of pure decodes, and of their spread, by sequences and bucket of the cache."""
    sequences = np.arange(engine.max_num_seqs + 1, dtype=np.float64)[:, None]
    middle = (np.arange(BUCKETS) + 0.5)[None, :] * 2.0**shift
    # A sequence holds at least one token, and none more than the whole cache.
    context = np.maximum(middle / np.maximum(sequences, 1), 1.0)
    steps = np.broadcast_arrays(np.maximum(sequences, 1), context)

    # In parts that stay in a processor's cache.
    parts = range(0, len(context), ROWS)
    times = [model.step_time(Step.decode(*(a[k : k + ROWS] for a in steps))) for k in parts]
    spreads_s = [time.spread_s for time in times if time.spread_s is not None]
    spread_s = np.concatenate(spreads_s) if len(spreads_s) == len(times) else None
    return np.concatenate([time.expected_s for time in times]), spread_s


def _mixed_s(model: StepTimeModel, engine: Engine, max_context_tokens: int | None) -> Floats:
    """Return seconds of steps with prefill on the grid of the four axes."""
    # A prompt that may not be cut is as long as the cache can hold, plus the step it ends in.
    whole = 0 if engine.chunked_prefill else engine.kv_tokens
    sequences = _counts(engine.max_num_seqs)
    contexts = _contexts()
    if max_context_tokens is not None:
        contexts = contexts[: int(np.searchsorted(contexts, max_context_tokens)) + 1]
    prompts = _prompts(engine.max_num_batched_tokens + whole)
    batch, context, new, attended = np.broadcast_arrays(
        *np.ix_(sequences, contexts, prompts, np.maximum(contexts, 0.5))
    )

    # Prompts that attend to less than half their tokens are several: the same pairs, no cache.
    several = np.maximum(new / (2 * attended), 1.0)
    each = new / several
    cached = np.maximum(attended - new / 2, 0.0)
    prefill = Step(
        num_sequences=several[..., None],
        scheduled_tokens=each[..., None],
        computed_tokens=cached[..., None],
        sampled_tokens=np.minimum(each, 1)[..., None],
    )
    step = Step.decode(batch, np.maximum(context, 1.0)).with_group(prefill)
    times_s = np.broadcast_to(model.step_time(step).expected_s, batch.shape)
    beyond = (0, OCTAVES - len(contexts))
    return np.pad(times_s, ((0, 0), beyond, (0, 0), beyond), mode="edge")


def stack(tables: list[StepTable]) -> Times:
    """Return the tables of several pools as one, padded to the largest."""
    max_rows = max(t.decode_ns.shape[0] for t in tables)
    shape = [max(t.mixed_ns.shape[axis] for t in tables) for axis in range(4)]
    decode = np.zeros((len(tables), max_rows, BUCKETS), dtype=np.int64)
    mixed = np.zeros((len(tables), *shape))
    knows_spread = any(t.spread_ns.size > 1 for t in tables)
    spread = np.zeros(decode.shape if knows_spread else (len(tables), 1, 1))
    for i, table in enumerate(tables):
        decode[i, : table.decode_ns.shape[0]] = table.decode_ns
        a, b, c, d = table.mixed_ns.shape
        mixed[i, :a, :b, :c, :d] = table.mixed_ns
        spread[i, : len(table.spread_ns), : table.spread_ns.shape[1]] = table.spread_ns
    return Times(decode, np.array([t.shift for t in tables], dtype=np.int64), mixed, spread)


def _counts(max_count: int) -> Floats:
    return np.array([0.0, *2.0 ** np.arange(math.ceil(math.log2(max_count)) + 2)])


def _contexts() -> Floats:
    return np.array([0.0, *SMALL * 2.0 ** np.arange(OCTAVES - 1)])


def _prompts(max_tokens: int) -> Floats:
    octaves = math.ceil(math.log2(max_tokens)) + 1
    return np.array([2.0**k * (1 + i / FINE) for k in range(octaves) for i in range(FINE)])


@compiled
def decode_ns(table: Ints, shift: int, sequences: int, kv_tokens: int) -> int:
    """Return the nanoseconds of a step that decodes with ``kv_tokens`` of cache in all."""
    return int(table[sequences, min(kv_tokens >> shift, BUCKETS - 1)])


@compiled
def spread_ns(
    table: Floats, shift: int, sequences: int, kv_tokens: int, base_squares: int, step: int
) -> int:
    """Return the nanoseconds that uneven contexts add to a step that decodes.

    A sequence's context is its base and ``step``. All grow alike, so that the variance, and with it
    the time, stays the same until somebody joins or ends.
    """
    if len(table) == 1 or sequences < 2:
        return 0
    bucket = min(kv_tokens >> shift, BUCKETS - 1)
    base_sum = float(kv_tokens - sequences * step)
    variance = sequences * float(base_squares) - base_sum * base_sum  # times sequences^2
    middle = (bucket + 0.5) * (1 << shift)
    return int(table[sequences, bucket] * min(max(variance, 0.0) / (middle * middle), MAX_SPREAD))


@compiled
def _octave(value: float, unit: float) -> tuple[int, float]:
    """Return cell, and place in it, on the axis 0, unit, 2 unit, 4 unit, ..."""
    if value < unit:
        return 0, value / unit
    mantissa, exponent = math.frexp(value / unit)
    return min(exponent, OCTAVES - 2), 2 * mantissa - 1


@compiled
def mixed_ns(grid: Floats, sequences: int, kv_tokens: int, new: int, pairs: int) -> int:
    """Return the nanoseconds of a step with ``new`` prompt tokens, which score ``pairs``."""
    # Where the step lies on each axis: the cell, and the place in it.
    n, n_part = _octave(float(sequences), 1.0)
    c, c_part = _octave(kv_tokens / sequences if sequences else 0.0, SMALL)
    a, a_part = _octave(pairs / new, SMALL)
    mantissa, exponent = math.frexp(float(new))
    place = (2 * mantissa - 1) * FINE
    p = (exponent - 1) * FINE + int(place)
    p_part = place - int(place)

    # Linear in all four: corners without weight may lie beyond the grid.
    total = 0.0
    for i in range(2):
        n_weight = n_part if i else 1 - n_part
        if n_weight == 0.0:
            continue
        for j in range(2):
            c_weight = c_part if j else 1 - c_part
            if c_weight == 0.0:
                continue
            corner = grid[n + i, c + j]
            low = corner[p, a] * (1 - a_part) + corner[p, a + 1] * a_part
            high = corner[p + 1, a] * (1 - a_part) + corner[p + 1, a + 1] * a_part
            total += n_weight * c_weight * (low * (1 - p_part) + high * p_part)

    # Whole nanoseconds stay whole, whichever way the last bits of the sum were rounded.
    return math.ceil(total - 1e-3)
