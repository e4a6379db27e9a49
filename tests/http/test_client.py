"""Answers taken apart: however the bytes are cut, and whatever they are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.http.conftest import Memory, cut

from headway.http.bounds import BOUNDS
from headway.http.client import ClientConnection, ConnectionPool, Headers
from headway.http.message import LAST_CHUNK, as_chunk

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Heard:
    """A receiver that remembers."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.body = b""
        self.has_ended = False
        self.problem = ""
        self.is_stale = False

    def answer_begins(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers

    def answer_body(self, data: bytes, now_s: float, is_last: bool) -> None:
        assert self.status
        assert not self.has_ended
        assert not self.problem
        self.body += data

    def answer_ends(self) -> None:
        self.has_ended = True

    def answer_fails(self, why: str, stale: bool) -> None:
        self.problem, self.is_stale = why, stale


def connected() -> tuple[ClientConnection, ConnectionPool]:
    pool = ConnectionPool("127.0.0.1", 9)
    connection = ClientConnection(pool)
    connection.connection_made(Memory())
    return connection, pool


def heard(*pieces: bytes, ends: bool = False) -> Heard:
    """What a receiver hears of an answer in ``pieces``."""
    connection, _ = connected()
    receiver = Heard()
    connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", receiver)
    for piece in pieces:
        if not connection.transport.is_closing():
            connection.data_received(piece)
    if ends:
        connection.connection_lost(None)
    return receiver


PLACES = st.sets(st.integers(0, 600), max_size=20)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), PLACES, st.data())
def test_a_chunked_body_survives_being_cut_anywhere(
    parts: list[bytes], places: set[int], data: st.DataObject
) -> None:
    end = data.draw(st.sampled_from([LAST_CHUNK, b"0\r\nTrailer: x\r\n\r\n", b"000;e=1\r\n\r\n"]))
    wire = CHUNKED + b"".join(map(as_chunk, parts)) + end
    receiver = heard(*cut(wire, places))
    assert (receiver.status, receiver.body, receiver.has_ended) == (200, b"".join(parts), True)
    assert receiver.headers == [(b"Transfer-Encoding", b"chunked")]  # a trailer is no header


@given(st.binary(max_size=300), PLACES, st.booleans())
def test_a_body_with_a_length_or_up_to_the_end_survives_too(
    body: bytes, places: set[int], has_length: bool
) -> None:
    length = b"Content-Length: %d\r\n" % len(body) if has_length else b""
    receiver = heard(*cut(OK + length + b"\r\n" + body, places), ends=not has_length)
    assert (receiver.status, receiver.body, receiver.has_ended) == (200, body, True)


@pytest.mark.parametrize("wire", [b"xyz\r\n", b"-1\r\n", b"+5\r\nhello\r\n", b"5\r\nhelloXX",
                                  b"0x5\r\nhello\r\n", b"f" * 20 + b"\r\n", b"1" * 2000,
                                  b"0\r\n\r\nmore", b"\r\n"])  # fmt: skip
def test_what_is_no_chunk_is_refused(wire: bytes) -> None:
    receiver = heard(CHUNKED + wire)
    assert receiver.problem
    assert not receiver.has_ended


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (b"\x00\x01 what is this\r\n\r\n", "not HTTP"),
        (OK + b"Content-Length: 3\r\n\r\nabcd", "more than its answer|not HTTP"),
        (OK + b"Content-Length: x\r\n\r\n", "not HTTP"),
        (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "not HTTP|twice"),
        (OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", "not HTTP|twice"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\nabc", "unknown transfer encoding"),
        (OK + b"A: " + b"x" * BOUNDS.quiet_bytes, "too long"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "protocols|HTTP"),
    ],
)
def test_what_is_no_answer_fails(wire: bytes, problem: str) -> None:
    receiver = heard(wire)
    assert re.search(problem, receiver.problem), receiver.problem
    assert not receiver.has_ended


def test_trailers_are_bounded() -> None:
    piece = b"x" * 1000
    receiver = heard(CHUNKED + b"0\r\nA: ", *[piece] * 70)
    assert "too long" in receiver.problem


@given(st.binary(max_size=200), PLACES)
def test_any_bytes_are_an_answer_or_a_failure(wire: bytes, places: set[int]) -> None:
    receiver = heard(*cut(wire, places), ends=True)
    assert receiver.has_ended != bool(receiver.problem)


def test_a_head_that_only_informs_is_passed_over() -> None:
    receiver = heard(
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok"
    )
    assert (receiver.status, receiver.body, receiver.has_ended) == (200, b"ok", True)
    assert receiver.headers == [(b"Content-Length", b"2")]


def test_a_connection_is_used_again_and_may_be_stale() -> None:
    connection, pool = connected()
    for _ in range(2):
        first = Heard()
        connection.send(b"", b"", first)
        connection.data_received(OK + b"Content-Length: 2\r\n\r\nok")
        assert first.has_ended
        assert pool.idle() is connection
    last = Heard()
    connection.send(b"", b"", last)
    connection.connection_lost(None)
    assert last.is_stale
    assert pool.num_open == 0


def test_a_connection_that_is_to_be_closed_is_not_kept() -> None:
    connection, pool = connected()
    receiver = Heard()
    connection.send(b"", b"", receiver)
    connection.data_received(OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nok")
    assert receiver.has_ended
    assert pool.idle() is None
    assert connection.transport.is_closing()
