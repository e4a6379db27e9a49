from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from headway.errors import InputError
from headway.measure.harness import measure
from headway.measure.measurement import (
    Clock,
    JoinLoad,
    Load,
    Measurement,
    RequestLoad,
    Setup,
    StepLoad,
    read_measurements,
    this_host,
    write_measurements,
)
from headway.measure.meter import ProcessMemory

SETUP = Setup("m", "fake 1", "cpu", dtype="float32", threads=1, host=this_host(), config={"a": 1})
LOADS: list[Load] = [RequestLoad(1, 8, 4), StepLoad(2, 1, 100), JoinLoad(3, 64, 8, 4)]


class Counting:
    """An engine that remembers what it was asked."""

    setup = SETUP

    def __init__(self) -> None:
        self.runs: list[Load] = []
        self.preparations: list[Load] = []
        self.peak_memory = ProcessMemory()

    def prepare(self, load: Load):  # type: ignore[no-untyped-def]
        self.preparations.append(load)
        return lambda: self.runs.append(load)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    measurements = measure(Counting(), LOADS, trials=3)
    write_measurements(path, measurements)
    assert read_measurements(path) == measurements
    assert measurements[0].energy_j is None  # no meter: not measured, and not 0


def test_every_load_has_its_trials_after_its_warm_up() -> None:
    engine = Counting()
    progress: list[tuple[int, int]] = []
    measurements = measure(engine, LOADS, trials=4, warmup=2, notice=lambda *p: progress.append(p))
    assert [len(m.trials_s) for m in measurements] == [4, 4, 4]
    assert [m.load for m in measurements] == LOADS
    assert len(engine.runs) == 18
    assert progress[-1] == (18, 18)


def test_short_loads_have_several_trials_a_round_and_decode_steps_one_preparation() -> None:
    engine = Counting()
    loads = [*LOADS, StepLoad(1, 64, 0)]
    measurements = measure(engine, loads, trials=2, warmup=1, repeats=3)
    assert [len(m.trials_s) for m in measurements] == [6, 6, 2, 2]
    assert engine.preparations.count(loads[0]) == 9
    assert engine.preparations.count(loads[1]) == 3
    with pytest.raises(InputError, match="repeats"):
        measure(engine, loads, repeats=99)


class InPasses(Counting):
    """Passes of 2 ms, one of which, another in every trial, waits for 20 ms more."""

    def prepare(self, load: Load):  # type: ignore[no-untyped-def]
        slow = next(self.turns) % 4

        def passes() -> Iterator[None]:
            for i in range(4):
                end = time.perf_counter() + (0.022 if i == slow else 0.002)
                while time.perf_counter() < end:
                    pass
                yield

        return passes

    turns = count()


def test_a_request_that_is_never_undisturbed_as_a_whole(tmp_path: Path) -> None:
    (measurement,) = measure(InPasses(), [RequestLoad(1, 8, 4)], trials=8)
    assert measurement.min_s > 0.028
    assert measurement.envelope.floor_s.expected < 0.02
    assert measurement.envelope.floor_s.upper >= 0.008
    write_measurements(tmp_path / "m.jsonl", [measurement])
    assert read_measurements(tmp_path / "m.jsonl") == (measurement,)


def test_a_step_load_is_a_step() -> None:
    step = StepLoad(3, 1, 50).passes[0]
    assert step.total_tokens == 3
    assert step.computed_tokens == 50


@pytest.mark.parametrize(
    "line",
    ["", "{}", "[1]", '{"headway_measurement": 9}', '{"headway_measurement": 1, "kind": "x"}'],
)
def test_other_lines_are_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a measurement"):
        Measurement.from_line(line)
    path = tmp_path / "x.jsonl"
    path.write_text("\n" + (line or "nonsense") + "\n")
    with pytest.raises(InputError, match="line 2"):
        read_measurements(path)


def test_impossible_measurements_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trial"):
        Measurement(SETUP, LOADS[0], (), Clock.WALL, "2026-01-01")
    with pytest.raises(InputError, match="at least 1"):
        RequestLoad(0, 1, 1)
    with pytest.raises(InputError, match="step"):
        StepLoad(1, 0, 1)
    with pytest.raises(InputError, match="names its model"):
        Setup("", "e", "cpu")
    with pytest.raises(InputError, match="one trial"):
        measure(Counting(), LOADS, trials=0)
    with pytest.raises(InputError, match="no file"):
        read_measurements(tmp_path / "none")
    (tmp_path / "empty").write_text("")
    with pytest.raises(InputError, match="no measurement"):
        read_measurements(tmp_path / "empty")
