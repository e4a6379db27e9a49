"""What counts joules: a counter that only grows, of which differences are taken around a trial.

    CPU   Intel's and AMD's RAPL counters, through Linux's powercap folder: the whole package
    GPU   NVML's counter of total energy; where a GPU has none, its power sampled and integrated

What a meter cannot say is not guessed: `meter_of` names the reason, and the measurement keeps
``None``. A counter sees the whole device, other work on it included.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from headway.errors import MissingExtraError, UnsupportedError

POWERCAP = Path("/sys/class/powercap")
# Sub-counters that a package's own counter leaves out.
BESIDE_PACKAGE = ("dram",)
# Measured energy is believed when the trials of a load span so many ticks of the counter.
LEAST_TICKS = 20


class EnergyMeter(Protocol):
    """A counter of joules.

    Attributes:
        source: what it counts, in words.
        tick_s: how often it moves; shorter spans are noise.

    """

    source: str
    tick_s: float

    def read_j(self) -> float:
        """Joules since some fixed moment; never less than the reading before."""
        ...


@dataclass(slots=True)
class RaplMeter:
    """Joules of all CPU packages and their memory, from files below ``folder``.

    The files are world-readable on few systems; else root's.

    Raises:
        UnsupportedError: there is no such counter, or it may not be read.

    """

    folder: Path = POWERCAP
    source: str = field(init=False)
    tick_s: float = field(default=1e-3, init=False)
    _zones: tuple[Path, ...] = field(init=False)
    _last_uj: list[int] = field(init=False)
    _sum_uj: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._zones = tuple(sorted(_zones(self.folder)))
        if not self._zones:
            raise UnsupportedError(f"this machine shows no RAPL counter in {self.folder}")
        names = [(zone / "name").read_text().strip() for zone in self._zones]
        self.source = f"RAPL, {' and '.join(names)}"
        self._last_uj = [self._read(zone) for zone in self._zones]

    def read_j(self) -> float:
        """Joules since this meter was made."""
        for i, zone in enumerate(self._zones):
            now = self._read(zone)
            # The counter begins again at its range, every minute or so under load.
            range_uj = int((zone / "max_energy_range_uj").read_text())
            self._sum_uj += (now - self._last_uj[i]) % (range_uj + 1)
            self._last_uj[i] = now
        return self._sum_uj / 1e6

    def _read(self, zone: Path) -> int:
        try:
            return int((zone / "energy_uj").read_text())
        except PermissionError:
            raise UnsupportedError(
                f"only root may read the energy counter {zone / 'energy_uj'}; run as root, or make "
                "it readable"
            ) from None


def _zones(folder: Path) -> list[Path]:
    found = []
    for zone in folder.glob("intel-rapl:*"):
        try:
            name = (zone / "name").read_text().strip()
        except OSError:
            continue
        inside = zone.name.count(":") > 1
        # Cores and uncore are parts of the package; psys would count the package again.
        if name.startswith("package") or (inside and name in BESIDE_PACKAGE):
            found.append(zone)
    return found


@dataclass(slots=True)
class NvmlMeter:
    """Joules of one NVIDIA GPU since its driver was loaded, by NVML's own counter (Volta or later).

    Raises:
        MissingExtraError: nvidia-ml-py is not installed.
        UnsupportedError: there is no such GPU, or it has no counter.

    """

    index: int = 0
    source: str = field(init=False)
    # Newer GPUs move it every 20 ms, older ones every 100.
    tick_s: float = field(default=0.1, init=False)
    _nvml: Any = field(init=False)
    _gpu: Any = field(init=False)

    def __post_init__(self) -> None:
        self._nvml, self._gpu, name = nvml_gpu(self.index)
        self.source = f"NVML energy counter of {name}"
        try:
            self.read_j()
        except self._nvml.NVMLError as error:
            raise UnsupportedError(f"{name} has no energy counter: {error}") from None

    def read_j(self) -> float:
        """Joules since the driver was loaded."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)) / 1e3


def nvml_gpu(index: int) -> tuple[Any, Any, str]:
    """NVML, its handle of GPU ``index``, and that GPU's name."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        raise MissingExtraError("metering a GPU's energy", "nvml") from None
    try:
        nvml.nvmlInit()
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(gpu)
    except nvml.NVMLError as error:
        raise UnsupportedError(f"NVML shows no GPU {index}: {error}") from None
    return nvml, gpu, name.decode() if isinstance(name, bytes) else str(name)


class SampledMeter:
    """Joules from a reading of power in watts, taken every ``tick_s`` and joined by straight lines.

    Use it as a context manager: samples are taken while it is open.
    """

    def __init__(
        self,
        power_w: Callable[[], float],
        source: str,
        tick_s: float = 0.05,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Nothing is sampled before `__enter__` or the first `read_j`."""
        self.source, self.tick_s = source, tick_s
        self._power_w, self._clock = power_w, clock
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._last: tuple[float, float] | None = None
        self._sum_j = 0.0
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def read_j(self) -> float:
        """Joules since the first sample."""
        with self._lock:
            now, watts = self._clock(), self._power_w()
            if self._last is not None:
                before, was = self._last
                self._sum_j += (now - before) * (watts + was) / 2
            self._last = now, watts
            return self._sum_j

    def _sample(self) -> None:
        while not self._ended.wait(self.tick_s):
            self.read_j()

    def __enter__(self) -> SampledMeter:
        self.read_j()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()


@dataclass(slots=True)
class ReplayMeter:
    """Readings that were recorded, in turn; the last one for ever. For tests."""

    readings_j: Sequence[float]
    source: str = "replayed readings"
    tick_s: float = 0.0
    _next: int = field(default=0, init=False)

    def read_j(self) -> float:
        """The next reading."""
        at = min(self._next, len(self.readings_j) - 1)
        self._next += 1
        return self.readings_j[at]


def meter_of(device: str) -> tuple[EnergyMeter | None, str]:
    """The meter of ``device`` ("cpu", "cuda", "cuda:1"), or ``None`` and why there is none."""
    try:
        if not device.startswith("cuda"):
            return RaplMeter(), ""
        index = int(device.partition(":")[2] or 0)
        try:
            return NvmlMeter(index), ""
        except UnsupportedError:
            nvml, gpu, name = nvml_gpu(index)
            meter = SampledMeter(
                lambda: float(nvml.nvmlDeviceGetPowerUsage(gpu)) / 1e3, f"NVML power of {name}"
            )
            meter.__enter__()  # for the life of the process
            return meter, ""
    except (UnsupportedError, MissingExtraError) as error:
        return None, str(error)
