"""Joules and peak memory: counters that wrap, that are missing, that are too slow."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from headway.errors import UnsupportedError
from headway.measure.harness import Run, measure
from headway.measure.measurement import Load, RequestLoad, Setup
from headway.measure.meter import ProcessMemory, RaplMeter, ReplayMeter, SampledMeter, meter_of

RANGE_UJ = 1_000_000


class Idle:
    """An engine whose work is to hold as many bytes as a prompt has tokens."""

    setup = Setup("m", "fake 1", "cpu")

    def __init__(self) -> None:
        self.peak_memory = ProcessMemory()

    def prepare(self, load: Load) -> Run:
        size = load.prompt_tokens if isinstance(load, RequestLoad) else 1
        return lambda: bytearray(size)


def powercap(folder: Path) -> Path:
    """Two packages, the memory of one, and what would be counted twice."""
    zones = {
        "intel-rapl:0": "package-0", "intel-rapl:1": "package-1", "intel-rapl:2": "psys",
        "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram",
    }  # fmt: skip
    for zone, name in zones.items():
        (folder / zone).mkdir(parents=True)
        (folder / zone / "name").write_text(f"{name}\n")
        (folder / zone / "energy_uj").write_text("900000\n")
        (folder / zone / "max_energy_range_uj").write_text(f"{RANGE_UJ - 1}\n")
    return folder


def test_rapl_adds_packages_and_memory_once_and_survives_its_wrap(tmp_path: Path) -> None:
    folder = powercap(tmp_path)
    meter = RaplMeter(folder)
    assert meter.source == "RAPL, package-0 and dram and package-1"
    assert meter.read_j() == 0
    (folder / "intel-rapl:0" / "energy_uj").write_text("950000")
    (folder / "intel-rapl:0:0" / "energy_uj").write_text("999000")  # cores are in the package
    (folder / "intel-rapl:2" / "energy_uj").write_text("999000")
    assert meter.read_j() == pytest.approx(0.05)
    (folder / "intel-rapl:0:1" / "energy_uj").write_text("100000")  # began again
    assert meter.read_j() == pytest.approx(0.05 + 0.2)


def test_what_has_no_meter_says_why(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no RAPL counter"):
        RaplMeter(tmp_path)
    for device in ("cpu", "cuda:7"):
        meter, why = meter_of(device)
        assert (meter is None) == bool(why)


def test_sampled_power_is_integrated() -> None:
    times = iter([0.0, 1.0, 3.0])
    watts = iter([100.0, 200.0, 200.0])
    meter = SampledMeter(lambda: next(watts), "made up", clock=lambda: next(times))
    assert [meter.read_j() for _ in range(3)] == [0, 150, 150 + 400]


def test_a_sampled_meter_samples_by_itself_while_open() -> None:
    with SampledMeter(lambda: 50.0, "made up", tick_s=0.001) as meter:
        readings = [meter.read_j() for _ in range(50)]
    assert all(later >= earlier for earlier, later in pairwise(readings))


def test_joules_of_a_trial_are_the_mean_and_warm_up_is_left_out() -> None:
    # Before and after: one round of warm-up, then two trials of 3 J and 5 J.
    meter = ReplayMeter([0, 100, 100, 103, 200, 205])
    measurement = measure(Idle(), [RequestLoad(1, 8, 1)], trials=2, meter=meter)[0]
    assert measurement.energy_j == 4
    assert measurement.meter == "replayed readings"


def test_a_counter_too_slow_for_the_trials_measures_nothing() -> None:
    meter = ReplayMeter([0, 0, 0, 7], tick_s=10.0)
    measurement = measure(Idle(), [RequestLoad(1, 8, 1)], trials=1, meter=meter)[0]
    assert measurement.energy_j is None
    assert measurement.meter is None


def test_peak_memory_is_of_the_trial_alone(tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the resident set's peak is reset through Linux's /proc")
    large = 64_000_000
    small, much = measure(
        Idle(), [RequestLoad(1, 1, 1), RequestLoad(1, large, 1)], trials=2, seed=1
    )
    assert small.peak_memory_bytes is not None
    assert much.peak_memory_bytes is not None
    assert much.peak_memory_bytes - small.peak_memory_bytes > 0.8 * large
    assert ProcessMemory(tmp_path).read_bytes() is None
