"""Bytes that may wait for company: what streams have is read in passes over all of them.

A loop that is told of every token of hundreds of streams reads, parses and writes each by itself.
A pass looks at all connections that have joined. While little of the time goes into passes there is
one as soon as there are bytes. Once it is more, the next one waits for `REST` times as long as the
last one took, a few milliseconds at most, and finds more in each read. The bytes are the same.
After every `AT_ONCE` connections the loop looks at what cannot wait: requests, and first bytes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
from contextlib import suppress
from time import thread_time
from typing import Protocol

from headway.http.bounds import BOUNDS

REST = 3.0  # times as long as a pass took until the next one: a quarter of the time
MIN_REST_S = 0.001  # less is not worth a timer
AT_ONCE = 32
READ_BYTES = 65_536
IS_POSSIBLE = hasattr(select, "epoll")  # Linux; elsewhere every connection is read by the loop
_log = logging.getLogger("headway.http")


class Passenger(Protocol):
    """A connection whose bytes may wait."""

    @property
    def transport(self) -> asyncio.Transport:
        """What it comes over."""
        ...

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        ...

    def reading_ended(self, error: OSError | None) -> None:
        """There will be no more: the other side has closed, or ``error``."""
        ...


class Passes:
    """The connections that are read together.

    Attributes:
        longest_s: that bytes wait for a pass.
        rest: times as long as the last pass took they wait at first.

    """

    def __init__(self, longest_s: float = BOUNDS.pass_s, rest: float = REST) -> None:
        """Read nobody yet."""
        self.longest_s = longest_s
        self.rest = rest
        self._epoll = select.epoll()
        self._passengers: dict[int, Passenger] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: list[tuple[int, int]] = []  # whom the present pass has not read yet
        self._pass_s = 0.0  # that it took so far
        self._next: asyncio.Handle | None = None  # what goes on with it, or begins another

    def __len__(self) -> int:
        """Return how many connections have joined."""
        return len(self._passengers)

    @property
    def is_closed(self) -> bool:
        """Whether nobody is read any more."""
        return self._epoll.closed

    def join(self, number: int, passenger: Passenger) -> None:
        """Read the socket with this ``number`` for ``passenger``, who reads it no more."""
        self._passengers[number] = passenger
        self._epoll.register(number, select.EPOLLIN)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._epoll.fileno(), self._pass)

    def leave(self, number: int, passenger: Passenger) -> None:
        """Read it no more."""
        if self._passengers.get(number) is passenger:
            del self._passengers[number]
            with suppress(OSError):  # its socket may be closed, which has ended it already
                self._epoll.unregister(number)

    def close(self) -> None:
        """Read nobody any more."""
        if self.is_closed:
            return
        if self._next is not None:
            self._next.cancel()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._epoll.fileno())
        self._passengers.clear()
        self._epoll.close()

    def _pass(self) -> None:
        began_s = thread_time()  # what others do on the machine is no work of ours
        if not self._ready:
            self._ready = self._epoll.poll(0)
            self._pass_s = 0.0

        ready, self._ready = self._ready[:AT_ONCE], self._ready[AT_ONCE:]
        for number, _ in ready:
            # Whoever has left in the meantime is not read, and a number may have passed to another.
            passenger = self._passengers.get(number)
            if passenger is None:
                continue
            try:
                self._read(number, passenger)
            except Exception:  # whatever is wrong with one, the others are read
                _log.exception("cannot take what came for one connection")
                self.leave(number, passenger)
                passenger.transport.abort()
        self._pass_s += thread_time() - began_s
        self._go_on()

    def _read(self, number: int, passenger: Passenger) -> None:
        try:
            data = os.read(number, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            passenger.reading_ended(error)
            return
        if data:
            passenger.data_received(data)
        else:
            passenger.reading_ended(None)

    def _go_on(self) -> None:
        """Go on with this pass, or begin one when there are bytes, or later if this took long."""
        assert self._loop is not None  # somebody has joined
        rest_s = min(self.rest * self._pass_s, self.longest_s)
        if self._ready or rest_s >= MIN_REST_S:
            if self._next is None:
                self._loop.remove_reader(self._epoll.fileno())
            rest_s = 0.0 if self._ready else rest_s
            self._next = self._loop.call_later(rest_s, self._pass)
        elif self._next is not None:
            self._next = None
            self._loop.add_reader(self._epoll.fileno(), self._pass)
