"""What is read around a trial beside the clock: a counter of joules, and the peak of memory.

    CPU   joules: Intel's and AMD's RAPL counters, through Linux's powercap folder (whole package);
          memory: the resident set of the process, weights and Python included
    GPU   joules: NVML's counter of total energy, or its power, sampled and integrated;
          memory: what torch's allocator held

What cannot be read is not guessed: `meter_of` names the reason, and the measurement keeps ``None``.
A counter sees the whole device, other work on it included.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from headway.errors import MissingExtraError, UnsupportedError

POWERCAP = Path("/sys/class/powercap")
# Sub-counters that a package's own counter leaves out.
BESIDE_PACKAGE = ("dram",)
# Measured energy is believed when the trials of a load span so many ticks of the counter.
MIN_TICKS = 20


class EnergyMeter(Protocol):
    """A counter of joules.

    Attributes:
        source: what it counts, in words.
        tick_s: how often it moves; shorter spans are noise.

    """

    source: str
    tick_s: float

    def read_j(self) -> float:
        """Return joules since some fixed moment, never less than the reading before."""
        ...


class PeakMemory(Protocol):
    """A high-water mark in bytes."""

    def restart(self) -> None:
        """Begin anew from what is held now."""
        ...

    def read_bytes(self) -> float | None:
        """Return the peak since `restart`; ``None`` where it cannot be told."""
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
        self._zones = tuple(sorted(_rapl_zones(self.folder)))
        if not self._zones:
            raise UnsupportedError(f"this machine shows no RAPL counter in {self.folder}")
        names = [(zone / "name").read_text().strip() for zone in self._zones]
        self.source = f"RAPL, {' and '.join(names)}"
        self._last_uj = [self._read_uj(zone) for zone in self._zones]

    def read_j(self) -> float:
        """Return joules since this meter was made."""
        for i, zone in enumerate(self._zones):
            now_uj = self._read_uj(zone)

            # The counter begins again at its range, every minute or so under load.
            range_uj = int((zone / "max_energy_range_uj").read_text())
            self._sum_uj += (now_uj - self._last_uj[i]) % (range_uj + 1)
            self._last_uj[i] = now_uj
        return self._sum_uj / 1e6

    def _read_uj(self, zone: Path) -> int:
        try:
            return int((zone / "energy_uj").read_text())
        except PermissionError:
            raise UnsupportedError(
                f"only root may read the energy counter {zone / 'energy_uj'}; run as root, or make "
                "it readable"
            ) from None


def _rapl_zones(folder: Path) -> list[Path]:
    zones = []
    for zone in folder.glob("intel-rapl:*"):
        try:
            name = (zone / "name").read_text().strip()
        except OSError:
            continue

        # Cores and uncore are parts of the package; psys would count the package again.
        is_inside = zone.name.count(":") > 1
        if name.startswith("package") or (is_inside and name in BESIDE_PACKAGE):
            zones.append(zone)
    return zones


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
        self._nvml, self._gpu, name = _nvml_gpu(self.index)
        self.source = f"NVML energy counter of {name}"
        try:
            self.read_j()
        except self._nvml.NVMLError as error:
            raise UnsupportedError(f"{name} has no energy counter: {error}") from None

    def read_j(self) -> float:
        """Return joules since the driver was loaded."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)) / 1e3


def _nvml_gpu(index: int) -> tuple[Any, Any, str]:
    """Return NVML, its handle of GPU ``index``, and that GPU's name."""
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
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._last: tuple[float, float] | None = None
        self._sum_j = 0.0
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def read_j(self) -> float:
        """Return joules since the first sample."""
        with self._lock:
            now_s, power_w = self._clock(), self._power_w()
            if self._last is not None:
                last_s, last_w = self._last
                self._sum_j += (now_s - last_s) * (power_w + last_w) / 2
            self._last = now_s, power_w
            return self._sum_j

    def _sample(self) -> None:
        while not self._closed.wait(self.tick_s):
            self.read_j()

    def __enter__(self) -> SampledMeter:
        self.read_j()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self._thread.join()


@dataclass(slots=True)
class ReplayMeter:
    """Readings that were recorded, in turn; the last one for ever. For tests."""

    readings_j: Sequence[float]
    source: str = "replayed readings"
    tick_s: float = 0.0
    _next: int = field(default=0, init=False)

    def read_j(self) -> float:
        """Return the next reading."""
        index = min(self._next, len(self.readings_j) - 1)
        self._next += 1
        return self.readings_j[index]


def meter_of(device: str) -> tuple[EnergyMeter | None, str]:
    """Return the meter of ``device`` ("cpu", "cuda", "cuda:1"), or ``None`` and why."""
    try:
        if not device.startswith("cuda"):
            return RaplMeter(), ""
        index = int(device.partition(":")[2] or 0)
        try:
            return NvmlMeter(index), ""
        except UnsupportedError:
            nvml, gpu, name = _nvml_gpu(index)
    except (UnsupportedError, MissingExtraError) as error:
        return None, str(error)

    # A GPU without a counter: its power is sampled for the life of the process.
    meter = SampledMeter(
        lambda: float(nvml.nvmlDeviceGetPowerUsage(gpu)) / 1e3, f"NVML power of {name}"
    )
    return meter.__enter__(), ""


@dataclass(slots=True)
class ProcessMemory:
    """Peak of this process's resident set, from Linux's ``proc``."""

    proc: Path = Path("/proc/self")
    _is_fresh: bool = False

    def restart(self) -> None:
        """Begin anew; a kernel that does not allow it leaves `read_bytes` without an answer."""
        try:
            # 5: reset the peak of the resident set (proc_pid_clear_refs(5)).
            (self.proc / "clear_refs").write_text("5")
            self._is_fresh = True
        except OSError:
            self._is_fresh = False

    def read_bytes(self) -> float | None:
        """See `PeakMemory`."""
        if not self._is_fresh:
            return None
        try:
            for line in (self.proc / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return 1024.0 * int(line.split()[1])
        except (OSError, ValueError, IndexError):
            pass
        return None


@dataclass(slots=True)
class CudaMemory:
    """Peak of what torch's allocator held on ``device``."""

    torch: Any
    device: Any

    def restart(self) -> None:
        """See `PeakMemory`."""
        self.torch.cuda.reset_peak_memory_stats(self.device)

    def read_bytes(self) -> float | None:
        """See `PeakMemory`."""
        return float(self.torch.cuda.max_memory_allocated(self.device))
