"""An alarm that rings when it should: event loops round their timers to milliseconds."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from time import monotonic

_MONOTONIC = 1
_ABSOLUTE = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """Calls back at one moment at a time, by the monotonic clock.

    On Linux a timer of the kernel's wakes the loop within tens of microseconds; elsewhere the
    loop's own timer does, within about a millisecond.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        """Call ``ring`` whenever the moment has come; needs a running loop."""
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        self._handle: asyncio.TimerHandle | None = None
        if sys.platform == "linux":
            self._c = ctypes.CDLL(None, use_errno=True)
            self._fd = self._c.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._woken)

    def set(self, when_s: float) -> None:
        """Ring at ``when_s`` of `time.monotonic`, instead of what was set before."""
        if self._fd < 0:
            if self._handle is not None:
                self._handle.cancel()
            delay_s = max(0.0, when_s - monotonic())
            self._handle = self._loop.call_later(delay_s, self._ring)
            return
        seconds = int(when_s)
        # A timer set to 0 would be switched off; one nanosecond is over already.
        value = _Timespec(max(seconds, 0), max(int((when_s - seconds) * 1e9), 1))
        timer = _Timer(_Timespec(0, 0), value)
        self._c.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(timer), None)

    def close(self) -> None:
        """Never ring again."""
        if self._handle is not None:
            self._handle.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _woken(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._ring()
