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
from headway.measure.interval import Interval
from headway.measure.measurement import Clock, Load, Measurement, RequestLoad, Setup, StepLoad
from headway.measure.meter import LEAST_TICKS, EnergyMeter
from headway.measure.peak_memory import PeakMemory
from headway.measure.trials import lower_envelope

# What calls it does the work once. An iterator as its result is the passes of the work, each done
# when it is yielded: then each is timed apart, and they are the whole.
Timed = Callable[[], object]
MOST_REPEATS = 8
# A request that takes less than this is short.
SHORT_S = 0.25


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

    def prepared(self, load: Load) -> Timed:
        """Do all that is not to be timed for ``load``; calling the result does the work once.

        The result returns when the work is done, on the device too. That of a step of one new token
        may be called `MOST_REPEATS` times, each with a token more in the cache.
        """
        ...


def read_clock(clock: Clock) -> float:
    """Seconds of ``clock``, from no particular start."""
    return time.process_time() if clock is Clock.PROCESS_CPU else time.perf_counter()


def measure(
    engine: Engine,
    loads: Sequence[Load],
    trials: int = 5,
    warmup: int = 1,
    clock: Clock = Clock.WALL,
    seed: int = 0,
    notice: Callable[[int, int], object] = lambda done, total: None,
    meter: EnergyMeter | None = None,
    repeats: int = 1,
) -> tuple[Measurement, ...]:
    """Time ``loads`` on ``engine``, in the order given; raise `InputError` for an empty plan.

    Steps of one new token and short requests have ``repeats`` trials in each round. ``meter``
    counts the joules of the trials: their mean, for a counter moves in ticks, of which a single
    trial may see none. Trials that are too short for it in all leave ``None``.
    """
    if not loads or trials < 1 or warmup < 0 or not 1 <= repeats <= MOST_REPEATS:
        raise InputError(
            f"profiling needs one load and one trial at least, and 1 to {MOST_REPEATS} repeats"
        )
    source = random.Random(seed)
    seen = [_Seen() for _ in loads]
    order = list(range(len(loads)))
    for round_number in range(warmup + trials):
        source.shuffle(order)
        for place, i in enumerate(order):
            load, found = loads[i], seen[i] if round_number >= warmup else _Seen()
            run = engine.prepared(load)
            for left in range(repeats - 1, -1, -1):
                _time(run, engine, clock, meter, found)
                if not left or not _again(load, found.trials_s[-1]):
                    break
                if not _is_decode(load):
                    run = engine.prepared(load)
            notice(round_number * len(loads) + place + 1, (warmup + trials) * len(loads))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return tuple(
        Measurement(
            engine.setup,
            load,
            tuple(s.trials_s),
            clock,
            now,
            *s.energy(meter),
            s.peak_bytes,
            s.pass_floors_s(),
        )
        for load, s in zip(loads, seen, strict=True)
    )


def _is_decode(load: Load) -> bool:
    return isinstance(load, StepLoad) and load.scheduled_tokens == 1 and load.computed_tokens > 0


def _again(load: Load, taken_s: float) -> bool:
    return _is_decode(load) or (isinstance(load, RequestLoad) and taken_s < SHORT_S)


def _time(
    run: Timed, engine: Engine, clock: Clock, meter: EnergyMeter | None, found: _Seen
) -> None:
    engine.peak_memory.restart()
    before_j, start, wall = _joules(meter), read_clock(clock), time.perf_counter()
    passes, marks = run(), [start]
    if isinstance(passes, Iterator):
        marks.extend(read_clock(clock) for _ in passes)
    taken_s, wall_s = read_clock(clock) - start, time.perf_counter() - wall
    if len(marks) > 1:
        found.passes_s.append([max(b - a, 1e-9) for a, b in pairwise(marks)])
    found.joules += _joules(meter) - before_j
    found.trials_s.append(max(taken_s, 1e-9))
    found.wall_s += wall_s
    found.peak(engine.peak_memory.read_bytes())


@dataclass(slots=True)
class _Seen:
    """What the trials of one load have shown so far."""

    trials_s: list[float] = field(default_factory=list)
    passes_s: list[list[float]] = field(default_factory=list)
    wall_s: float = 0.0
    joules: float = 0.0
    peak_bytes: float | None = None

    def peak(self, read_bytes: float | None) -> None:
        if read_bytes is not None:
            self.peak_bytes = max(self.peak_bytes or 0.0, read_bytes)

    def pass_floors_s(self) -> Interval | None:
        """The undisturbed time as the sum of those of the passes; ``None`` where none was timed."""
        if not self.passes_s:
            return None
        floors = [lower_envelope(times).floor_s for times in zip(*self.passes_s, strict=True)]
        return Interval(
            sum(floor.lower for floor in floors),
            sum(floor.expected for floor in floors),
            sum(floor.upper for floor in floors),
        )

    def energy(self, meter: EnergyMeter | None) -> tuple[float | None, str | None]:
        """Joules of one trial and who counted them."""
        if meter is None or self.wall_s < LEAST_TICKS * meter.tick_s:
            return None, None
        return self.joules / len(self.trials_s), meter.source


def _joules(meter: EnergyMeter | None) -> float:
    return 0.0 if meter is None else meter.read_j()
