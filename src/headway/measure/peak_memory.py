"""The most memory that was held at once while something ran, where the system can tell.

On a CPU that is the process's resident set, weights and Python included: Linux keeps its high-water
mark and begins it anew on request. On a CUDA device it is what torch's allocator held.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class PeakMemory(Protocol):
    """A high-water mark in bytes."""

    def restart(self) -> None:
        """Begin anew from what is held now."""
        ...

    def read_bytes(self) -> float | None:
        """The most since `restart`; ``None`` where it cannot be told."""
        ...


@dataclass(slots=True)
class ProcessMemory:
    """Resident set of this process on Linux, from ``proc``."""

    proc: Path = Path("/proc/self")
    _restarted: bool = False

    def restart(self) -> None:
        """Begin anew; a kernel that does not allow it leaves `read_bytes` without an answer."""
        try:
            # 5: reset the peak of the resident set (proc_pid_clear_refs(5)).
            (self.proc / "clear_refs").write_text("5")
            self._restarted = True
        except OSError:
            self._restarted = False

    def read_bytes(self) -> float | None:
        """See `PeakMemory`."""
        if not self._restarted:
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
    """What torch's allocator held on ``device``."""

    torch: Any
    device: Any

    def restart(self) -> None:
        """See `PeakMemory`."""
        self.torch.cuda.reset_peak_memory_stats(self.device)

    def read_bytes(self) -> float | None:
        """See `PeakMemory`."""
        return float(self.torch.cuda.max_memory_allocated(self.device))
