"""Requests taken apart: however the bytes are cut, and bounded in everything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.http.conftest import Memory, cut

from headway.http.message import HttpRequest
from headway.http.server import Application, Reply, ServerConnection

POST = b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: x\r\n"


class Kept(Application):
    """An application that remembers requests and answers none."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.is_abandoned = False

    @property
    def max_body_bytes(self) -> int:
        return 10_000

    def received(self, connection: ServerConnection, request: HttpRequest) -> None:
        self.requests.append(request)

    def abandoned(self, connection: ServerConnection, request: HttpRequest) -> None:
        self.is_abandoned = True


class Waiting:
    """An exchange that is never answered."""

    def client_gone(self) -> None: ...
    def client_full(self) -> None: ...
    def client_ready(self) -> None: ...


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def connected(loop: asyncio.AbstractEventLoop) -> tuple[ServerConnection, Kept, Memory]:
    app, transport = Kept(), Memory()
    connection = ServerConnection(app, loop)
    connection.connection_made(transport)
    return connection, app, transport


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), places=st.sets(st.integers(0, 600)), chunked=st.booleans())
def test_a_request_survives_being_cut_anywhere(
    loop: asyncio.AbstractEventLoop, body: bytes, places: set[int], chunked: bool
) -> None:
    if chunked:
        size = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        wire = POST + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"0\r\nHost: trailer\r\n\r\n"
    else:
        wire = POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    connection, app, _ = connected(loop)
    for piece in cut(wire, places):
        connection.data_received(piece)
    (request,) = app.requests
    assert (request.method, request.path, request.query, request.body) == (
        "POST", "/v1/chat/completions", "a=b", body,
    )  # fmt: skip
    assert request.headers[b"host"] == b"x"  # a trailer changes no header
    assert connection.began_s is None


def test_trailers_and_chunk_lines_are_bounded_as_heads_are(loop: asyncio.AbstractEventLoop) -> None:
    for start in (b"0\r\nA: ", b"5;"):
        connection, app, transport = connected(loop)
        connection.data_received(POST + b"Transfer-Encoding: chunked\r\n\r\n" + start)
        for _ in range(70):
            connection.data_received(b"x" * 1000)
        assert transport.written.startswith(b"HTTP/1.1 431 ")
        assert not app.requests


def test_a_body_is_bounded(loop: asyncio.AbstractEventLoop) -> None:
    connection, app, transport = connected(loop)
    connection.data_received(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(11):
        connection.data_received(b"400\r\n" + b"x" * 1024 + b"\r\n")
    assert transport.written.startswith(b"HTTP/1.1 413 ")
    assert not app.requests


def test_nothing_is_written_into_a_running_answer(loop: asyncio.AbstractEventLoop) -> None:
    connection, app, transport = connected(loop)
    connection.data_received(POST + b"Content-Length: 2\r\n\r\n{}")
    connection.exchange = Waiting()
    connection.data_received(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    connection.request_timed_out()
    assert transport.written == b""
    assert not transport.is_closing()

    Reply(connection, app.requests[0]).whole(200, b"", b"first")
    assert transport.written.endswith(b"first")
    connection.request_timed_out()
    assert b"HTTP/1.1 408 " in transport.written


def test_whoever_leaves_in_the_middle_is_told_of(loop: asyncio.AbstractEventLoop) -> None:
    connection, app, _ = connected(loop)
    connection.data_received(POST + b"Content-Length: 20\r\n\r\n{")
    connection.connection_lost(None)
    assert app.is_abandoned


@given(st.lists(st.binary(max_size=100), max_size=4))
def test_any_bytes_are_a_request_or_refused(parts: list[bytes]) -> None:
    loop = asyncio.new_event_loop()
    try:
        connection, app, transport = connected(loop)
        for part in parts:
            connection.data_received(part)
        assert not app.requests or app.requests[0].method
        assert transport.written == b"" or transport.written.startswith(b"HTTP/1.1 4")
    finally:
        loop.close()


def received(loop: asyncio.AbstractEventLoop, wire: bytes) -> tuple[list[HttpRequest], bytes]:
    connection, app, transport = connected(loop)
    connection.data_received(wire)
    return app.requests, transport.written


@pytest.mark.parametrize(
    "wire",
    [
        b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",  # no host
        b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        POST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /\r\n\r\n",  # HTTP/0.9
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(
    loop: asyncio.AbstractEventLoop, wire: bytes
) -> None:
    requests, written = received(loop, wire)
    assert not requests
    assert written[9:12] in (b"400", b"505")


def test_repeated_headers_are_lists(loop: asyncio.AbstractEventLoop) -> None:
    (request,), _ = received(
        loop, POST + b"A: 1\r\nA: 2\r\nCookie: x\r\nCookie: y\r\nContent-Length: 0\r\n\r\n"
    )
    assert (request.headers[b"a"], request.headers[b"cookie"]) == (b"1, 2", b"x; y")


def test_an_upgrade_is_an_ordinary_request_with_its_body(loop: asyncio.AbstractEventLoop) -> None:
    (request,), _ = received(
        loop,
        POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
        b'Content-Length: 7\r\n\r\n{"a":1}',
    )
    assert request.body == b'{"a":1}'


def test_a_stray_line_end_starts_no_request(loop: asyncio.AbstractEventLoop) -> None:
    connection, app, transport = connected(loop)
    connection.data_received(POST + b"Content-Length: 2\r\n\r\n{}\r\n")
    connection.exchange = Waiting()
    connection.data_received(b"\r\n")
    assert connection.began_s is None
    connection.data_received(b"GET")  # of the next request: its time has not begun
    connection.look_after(1e9, request_s=0.0)
    assert transport.written == b""
    assert not transport.is_closing()
    assert len(app.requests) == 1


def test_a_target_cut_after_its_question_mark_is_one_target(
    loop: asyncio.AbstractEventLoop,
) -> None:
    connection, app, _ = connected(loop)
    for piece in (b"GET /sta?", b"te HTTP/1.1\r\nHost: x\r\n\r\n"):
        connection.data_received(piece)
    assert (app.requests[0].path, app.requests[0].query) == ("/sta", "te")
