"""Timing of local engines: warm-up, shuffled rounds, minimum and spread.

    warm-up   every load once or more, not timed
    round 1   every load once, in a new random order, timed
    ...       until every load has its trials

Rounds rather than all trials of one load in a row: what disturbs the machine for a second then
costs one trial of several loads instead of all trials of one. What takes a moment is timed several
times in each round, for a floor is found by many trials and short ones are cheap. Joules and peak
memory are read around the same trials.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Protocol

from headway.errors import InputError
from headway.measure.measurement import Clock, Load, Measurement, RequestLoad, Setup, StepLoad
from headway.measure.meter import MIN_TICKS, EnergyMeter, PeakMemory
from headway.measure.trials import Interval, lower_envelope

# Calling it does the work once. An iterator as its result is the passes of the work, each complete
# when it is yielded: then each is timed apart, and they are the whole.
Run = Callable[[], object]
Notice = Callable[[int, int], object]
MAX_REPEATS = 8
# A request that takes less than this is short.
SHORT_S = 0.25
# No clock tells less.
MIN_TIME_S = 1e-9


class Engine(Protocol):
    """A local engine: says what it is, and turns a load into something that can be timed."""

    @property
    def setup(self) -> Setup:
        """What runs where."""
        ...

    @property
    def peak_memory(self) -> PeakMemory:
        """Where its memory is."""
        ...

    def prepare(self, load: Load) -> Run:
        """Do all that is not to be timed for ``load``; calling the result does the work once.

        The result returns when the work is complete, on the device too. That of a step of one new
        token may be called `MAX_REPEATS` times, each with a token more in the cache.
        """
        ...


def measure(
    engine: Engine,
    loads: Sequence[Load],
    *,
    trials: int = 5,
    warmup: int = 1,
    repeats: int = 1,
    clock: Clock = Clock.WALL,
    meter: EnergyMeter | None = None,
    seed: int = 0,
    notice: Notice = lambda num_runs, total: None,
) -> tuple[Measurement, ...]:
    """Time ``loads`` on ``engine`` and return one measurement of each, in the order given.

    Args:
        engine: what does the work.
        loads: what work.
        trials: timed rounds.
        warmup: rounds before, not timed.
        repeats: trials of steps of one new token and of short requests in each round.
        clock: what counts the seconds.
        meter: counts the joules of the trials: their mean, for a counter moves in ticks, of which
            a single trial may see none. Trials too short for it in all leave ``None``.
        seed: of the order in each round.
        notice: called after every load with the number of runs so far, and of all.

    Raises:
        InputError: there is no load or no trial, or too many repeats.

    """
    if not loads or trials < 1 or warmup < 0 or not 1 <= repeats <= MAX_REPEATS:
        raise InputError(
            f"profiling needs one load and one trial at least, and 1 to {MAX_REPEATS} repeats"
        )
    stopwatch = _Stopwatch(engine, clock, meter)
    records = [_Record() for _ in loads]
    source, order = random.Random(seed), list(range(len(loads)))
    num_rounds = warmup + trials

    for round_number in range(num_rounds):
        source.shuffle(order)
        for position, i in enumerate(order):
            record = records[i] if round_number >= warmup else _Record()
            stopwatch.time_round(loads[i], record, repeats)
            notice(round_number * len(loads) + position + 1, num_rounds * len(loads))

    now = datetime.now(UTC).isoformat(timespec="seconds")
    return tuple(
        Measurement(
            setup=engine.setup,
            load=load,
            trials_s=tuple(record.trials_s),
            clock=clock,
            measured_at=now,
            energy_j=record.energy_j(meter),
            meter=None if meter is None or record.energy_j(meter) is None else meter.source,
            peak_memory_bytes=record.peak_bytes,
            pass_floors_s=record.pass_floors_s,
        )
        for load, record in zip(loads, records, strict=True)
    )


@dataclass(slots=True)
class _Record:
    """What the trials of one load have shown so far."""

    trials_s: list[float] = field(default_factory=list)
    passes_s: list[list[float]] = field(default_factory=list)
    wall_s: float = 0.0
    joules: float = 0.0
    peak_bytes: float | None = None

    @property
    def pass_floors_s(self) -> Interval | None:
        """The undisturbed time as the sum of those of the passes; ``None`` where none was timed."""
        if not self.passes_s:
            return None
        by_pass = zip(*self.passes_s, strict=True)
        return Interval.total([lower_envelope(times_s).floor_s for times_s in by_pass])

    def energy_j(self, meter: EnergyMeter | None) -> float | None:
        """Return joules of one trial; ``None`` where ``meter`` is too slow for the trials."""
        if meter is None or self.wall_s < MIN_TICKS * meter.tick_s:
            return None
        return self.joules / len(self.trials_s)


@dataclass(frozen=True, slots=True)
class _Stopwatch:
    """Times single runs of ``engine``."""

    engine: Engine
    clock: Clock
    meter: EnergyMeter | None

    def time_round(self, load: Load, record: _Record, repeats: int) -> None:
        """Time ``load`` once, or up to ``repeats`` times if it is short."""
        is_decode = (
            isinstance(load, StepLoad) and load.scheduled_tokens == 1 and load.computed_tokens > 0
        )
        run = self.engine.prepare(load)
        self.time(run, record)

        for _ in range(repeats - 1):
            is_short = isinstance(load, RequestLoad) and record.trials_s[-1] < SHORT_S
            if not (is_decode or is_short):
                break
            if not is_decode:
                run = self.engine.prepare(load)
            self.time(run, record)

    def time(self, run: Run, record: _Record) -> None:
        """Add one trial to ``record``."""
        self.engine.peak_memory.restart()
        start_j, start_s, start_wall_s = self._read_j(), self._read_s(), time.perf_counter()

        passes, marks = run(), [start_s]
        if isinstance(passes, Iterator):
            marks.extend(self._read_s() for _ in passes)

        end_s, end_wall_s = self._read_s(), time.perf_counter()
        record.joules += self._read_j() - start_j
        record.trials_s.append(max(end_s - start_s, MIN_TIME_S))
        record.wall_s += end_wall_s - start_wall_s

        if len(marks) > 1:
            record.passes_s.append([max(b - a, MIN_TIME_S) for a, b in pairwise(marks)])
        peak_bytes = self.engine.peak_memory.read_bytes()
        if peak_bytes is not None:
            record.peak_bytes = max(record.peak_bytes or 0.0, peak_bytes)

    def _read_s(self) -> float:
        return time.process_time() if self.clock is Clock.PROCESS_CPU else time.perf_counter()

    def _read_j(self) -> float:
        return 0.0 if self.meter is None else self.meter.read_j()
