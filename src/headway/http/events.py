"""Server-sent events (WHATWG HTML, section 9.2), read from bytes that were cut anywhere.

`EventReader` finds where events end and returns their bytes as they came, so that they can be
passed on unchanged; `payloads` reads what such bytes say. A reader knows neither chunks nor
segments of the network: the same bytes give the same events however they were cut.
"""

from __future__ import annotations

import re
from itertools import pairwise

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A line ends with CR LF, LF, or CR. A CR that may be half of a CR LF is a line end as well: the LF
# that follows it then stands alone at the start of the next piece, and empty lines say nothing.
_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
_EVENT_END = re.compile(_LINE_END + _LINE_END)
_OVERLAP_BYTES = 3  # of an event's end that may have come before the newest bytes


class EventReader:
    """Cuts a stream of bytes at the ends of its events."""

    __slots__ = ("_length", "_parts", "_released")

    def __init__(self) -> None:
        """Start before the first event."""
        self._parts: list[bytes] = []  # of the event that is not complete
        self._length = 0
        self._released = b""  # the newest bytes of its part that was released already

    @property
    def held_bytes(self) -> int:
        """Bytes of the event that is not complete."""
        return self._length

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of all events that ``data`` completes, as they came.

        Each byte is looked at once, so that an event in many small pieces costs no more than one
        that comes whole.
        """
        # The usual case: exactly one event, or several whole ones.
        if not self._parts and not self._released and data.endswith(b"\n\n"):
            return data

        # An event's end may begin in the bytes that came before.
        before = self._tail()
        recent = before + data
        end = 0
        for match in _EVENT_END.finditer(recent):
            end = match.end()
        end -= len(before)

        if end <= 0:
            if data:
                self._parts.append(data)
                self._length += len(data)
            return b""

        self._parts.append(data[:end])
        events = b"".join(self._parts)
        rest = data[end:]
        self._parts = [rest] if rest else []
        self._length = len(rest)
        self._released = b""
        return events

    def rest(self) -> bytes:
        """Return what is held of the event that is not complete; its end is still looked for."""
        self._released = self._tail()
        released = b"".join(self._parts)
        self._parts = []
        self._length = 0
        return released

    def _tail(self) -> bytes:
        """Return the newest bytes of the event, as many as its end can reach back."""
        tail = b""
        for part in reversed(self._parts):
            tail = part[-_OVERLAP_BYTES:] + tail
            if len(tail) >= _OVERLAP_BYTES:
                break
        return (self._released + tail)[-_OVERLAP_BYTES:]


def split_events(events: bytes) -> list[bytes]:
    """Return the bytes of each event in ``events``; what follows the last end comes last."""
    edges = [0, *(match.end() for match in _EVENT_END.finditer(events))]
    parts = [events[low:high] for low, high in pairwise(edges)]
    return [*parts, events[edges[-1] :]] if edges[-1] < len(events) else parts


def payloads(events: bytes) -> list[bytes]:
    """Return the data of each event in ``events``, which end with the end of an event.

    Comments, names, and events without data are left out, as the standard says.
    """
    if b"\r" in events:
        events = events.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    data: list[bytes] = []
    for block in events.removeprefix(_BYTE_ORDER_MARK).split(b"\n\n"):
        if block.startswith(b"data:") and b"\n" not in block:
            data.append(block[5:].removeprefix(b" "))
            continue
        if not block:
            continue

        lines = [
            line[5:].removeprefix(b" ")
            for line in block.split(b"\n")
            if line.startswith(b"data:") or line == b"data"
        ]
        if lines:
            data.append(b"\n".join(lines))
    return data


def as_event(payload: bytes, name: bytes = b"") -> bytes:
    """Return an event with the one line ``payload`` as its data."""
    if name:
        return b"event: %b\ndata: %b\n\n" % (name, payload)
    return b"data: %b\n\n" % payload
