"""A transport that only remembers: connections are fed bytes, without a socket."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any


class Memory(asyncio.Transport):
    """Keeps what is written; closed once and for all by either way of closing."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True


def cut(wire: bytes, places: set[int]) -> list[bytes]:
    """``wire`` in pieces that begin at ``places``."""
    edges = [0, *sorted(place for place in places if 0 < place < len(wire)), len(wire)]
    return [wire[low:high] for low, high in pairwise(edges)]
