"""A wish to stop that comes from outside: Ctrl-C, or the signal that ends programs."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """Within it the first signal asks a load to stop and to tell what it measured; a second kills.

    Attributes:
        signal_number: that asked; 0 while nobody did.

    """

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.signal_number = 0
        self._wake: Callable[[], object] | None = None
        self._handlers: dict[int, Any] = {}

    @property
    def is_asked(self) -> bool:
        """Whether the load should stop."""
        return self.signal_number != 0

    def __enter__(self) -> Interruption:
        """Take the signals, where this thread gets them."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def ask(self, signal_number: int = signal.SIGINT) -> None:
        """Ask as a signal does."""
        self.signal_number = signal_number
        if self._wake is not None:
            self._wake()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.ask(number)

    @contextmanager
    def calls(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop`` on the running loop once somebody asks, for as long as the block lasts."""
        loop = asyncio.get_running_loop()
        self._wake = lambda: loop.call_soon_threadsafe(stop)
        if self.is_asked:
            stop()
        try:
            yield
        finally:
            self._wake = None
