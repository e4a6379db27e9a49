"""Bytes read in passes are the bytes that were sent, and one connection's end is its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from hypothesis import given
from hypothesis import strategies as st
from tests.http.conftest import Memory

from headway.http.passes import AT_ONCE, Passes


class Reader:
    """Remembers what came, and whether it ended."""

    def __init__(self) -> None:
        self.transport = Memory()
        self.received = b""
        self.ended: list[OSError | None] = []

    def data_received(self, data: bytes) -> None:
        self.received += data
        if data == b"trouble":
            raise ValueError(data)

    def reading_ended(self, error: OSError | None) -> None:
        self.ended.append(error)


@contextmanager
def pairs(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    with ExitStack() as stack:
        both = [socket.socketpair() for _ in range(count)]
        for ours, theirs in both:
            ours.setblocking(False)
            stack.enter_context(ours)
            stack.enter_context(theirs)
        yield both


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0.001)


PIECES = st.lists(st.tuples(st.integers(0, 4), st.binary(min_size=1, max_size=50)), max_size=30)


def test_a_pass_lets_others_go_before_its_end() -> None:
    async def crowd() -> None:
        passes, readers, order = Passes(), [Reader() for _ in range(3 * AT_ONCE)], []
        with pairs(len(readers)) as both:
            for reader, (ours, theirs) in zip(readers, both, strict=True):
                passes.join(ours.fileno(), reader)
                theirs.sendall(b"token")
            while not all(reader.received for reader in readers):
                order.append(sum(bool(reader.received) for reader in readers))
                await asyncio.sleep(0)
        passes.close()
        assert {AT_ONCE, 2 * AT_ONCE} <= set(order)

    asyncio.run(crowd())


@given(pieces=PIECES, longest_s=st.sampled_from([0.0, 0.002]))
def test_everyone_gets_its_own_bytes_in_order(
    pieces: list[tuple[int, bytes]], longest_s: float
) -> None:
    readers = [Reader() for _ in range(5)]

    async def send() -> None:
        passes = Passes(longest_s)
        with pairs(5) as both:
            for reader, (ours, _) in zip(readers, both, strict=True):
                passes.join(ours.fileno(), reader)
            for to, piece in pieces:
                both[to][1].sendall(piece)
                await asyncio.sleep(0)
            wanted = sum(len(piece) for _, piece in pieces)
            while sum(len(reader.received) for reader in readers) < wanted:
                await asyncio.sleep(0)
            passes.close()

    asyncio.run(send())
    for number, reader in enumerate(readers):
        assert reader.received == b"".join(piece for to, piece in pieces if to == number)


def test_an_end_is_told_and_others_go_on() -> None:
    async def end() -> None:
        passes = Passes()
        first, second = Reader(), Reader()
        with pairs(2) as ((ours, theirs), (others, their_other)):
            passes.join(ours.fileno(), first)
            passes.join(others.fileno(), second)
            theirs.close()
            await turns()
            assert first.ended
            assert set(first.ended) == {None}
            passes.leave(ours.fileno(), first)
            their_other.sendall(b"more")
            await turns()
            assert second.received == b"more"
            assert not second.ended
        passes.close()

    asyncio.run(end())


def test_whoever_has_left_is_read_no_more_even_under_another_s_number() -> None:
    async def leave() -> None:
        passes = Passes()
        before, after = Reader(), Reader()
        with pairs(1) as ((ours, theirs),):
            passes.join(ours.fileno(), before)
            passes.leave(ours.fileno(), before)
            theirs.sendall(b"one")
            await turns()
            assert not before.received
            passes.join(ours.fileno(), after)
            passes.leave(ours.fileno(), before)  # once more, too late: the number is another's
            await turns()
            assert (before.received, after.received, len(passes)) == (b"", b"one", 1)
        passes.close()
        passes.close()

    asyncio.run(leave())


def test_trouble_with_one_is_no_trouble_for_the_others() -> None:
    async def trouble() -> None:
        passes = Passes()
        first, second = Reader(), Reader()
        with pairs(2) as ((ours, theirs), (others, their_other)):
            passes.join(ours.fileno(), first)
            passes.join(others.fileno(), second)
            theirs.sendall(b"trouble")
            their_other.sendall(b"fine")
            await turns()
            assert first.transport.is_closing()
            assert (second.received, len(passes)) == (b"fine", 1)
        passes.close()

    asyncio.run(trouble())
