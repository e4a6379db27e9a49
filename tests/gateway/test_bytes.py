"""The same bytes, cut anywhere, reach the client as the same bytes, tokens and end."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.http.conftest import Memory, cut

from headway.gateway.server.answer import Answer
from headway.http.bounds import BOUNDS
from headway.http.client import ClientConnection, ConnectionPool
from headway.http.message import HttpRequest, as_chunk
from headway.http.openai import CHAT, COMPLETIONS, RESPONSES, AnswerWriter, Usage
from headway.http.server import Application, Reply, ServerConnection

APIS = [CHAT, COMPLETIONS, RESPONSES]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


class Sent:
    """A client's view of an answer, and what the gateway was told of the engine."""

    def __init__(self) -> None:
        self.active_s = 0.0
        self.status = 0
        self.problem = ""
        self.failure = ""

    def answering(self) -> None: ...
    def client_full(self) -> None: ...

    def take_time(self) -> None: ...

    def own_headers(self) -> bytes:
        return b"x-headway-id: 1\r\n"

    def refused(self, status: int, retry_after: bytes) -> None: ...

    def is_own_key(self, status: int) -> bool:
        return False

    def retry(self, *, drops: bool = False) -> bool:
        return False

    def answered(self, status: int, problem: str = "") -> None:
        self.status, self.problem = status, problem

    def failed(self, why: str, status: int) -> None:
        self.failure = why

    def attempt_failed(self, why: str, status: int, stale: bool = False) -> None:
        self.failure = why


@dataclass
class Passed:
    """What came of an engine's bytes."""

    body: bytes
    client: Sent
    answer: Answer
    max_held_bytes: int


def dechunked(written: bytes) -> bytes:
    """The body of a chunked answer, by the letter of RFC 9112, section 7.1."""
    _, _, rest = written.partition(b"\r\n\r\n")
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert rest == b"\r\n"
            return body
        body, rest = body + rest[:length], rest[length + 2 :]


def through(api: str, pieces: list[bytes]) -> Passed:
    """Pass an engine's bytes through an answer to a client."""
    loop = asyncio.new_event_loop()
    server, client = ServerConnection(Application(), loop), Sent()
    transport = Memory()
    server.connection_made(transport)
    answer = Answer(client, Reply(server, HttpRequest()), api, max_bytes=10_000)
    upstream = ClientConnection(ConnectionPool("engine", 1))
    upstream.connection_made(Memory())
    upstream.send(b"", b"", answer)

    max_held_bytes = 0
    for piece in pieces:
        upstream.data_received(piece)
        max_held_bytes = max(max_held_bytes, answer._events.held_bytes)
    loop.close()
    body = dechunked(transport.written) if client.status else b""
    return Passed(body, client, answer, max_held_bytes)


def a_stream(api: str, tokens: int, line_end: bytes, *, text: str, ping: bytes) -> bytes:
    writer = AnswerWriter(api=api, model="m", id="1")
    events = [writer.delta("", opens=True)] if api == CHAT else []
    events += [writer.delta(text) for _ in range(tokens)]
    wire = ping.join(events) + ping + writer.end("stop", Usage(prompt_tokens=5)) + ping
    return wire.replace(b"\n", line_end)


PINGS = st.sampled_from([b"", b": ping\n\n", b'event: ping\ndata: {"type": "ping"}\n\n'])


@settings(deadline=None)
@given(
    api=st.sampled_from(APIS), tokens=st.integers(1, 12), text=st.text(max_size=40), ping=PINGS,
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    chunks=st.sets(st.integers(1, 3000), max_size=30),
    segments=st.sets(st.integers(1, 6000), max_size=60),
)  # fmt: skip
def test_bytes_cut_anywhere_are_the_same_bytes_tokens_and_end(
    api: str, tokens: int, text: str, ping: bytes, line_end: bytes, chunks: set[int],
    segments: set[int],
) -> None:  # fmt: skip
    wire = a_stream(api, tokens, line_end, text=text + ".", ping=ping)
    sent = HEAD + b"".join(map(as_chunk, cut(wire, chunks))) + LAST
    passed = through(api, cut(sent, segments))
    assert passed.body == wire
    assert (passed.client.status, passed.client.problem, passed.client.failure) == (200, "", "")
    assert passed.answer.meter.num_tokens == tokens


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("size", [7, 1000, 65_536])
def test_events_of_megabytes_pass_in_bounded_memory(api: str, size: int) -> None:
    text = "long " * (1 if size == 7 else 8) * 40_000
    writer = AnswerWriter(api=api, model="m", id="1")
    wire = writer.delta(text) + writer.delta("short") + writer.end("stop", Usage(output_tokens=77))
    sent = HEAD + b"".join(map(as_chunk, cut(wire, set(range(0, len(wire), 10 * size)))))

    passed = through(api, [*(sent[at : at + size] for at in range(0, len(sent), size)), LAST])
    assert passed.max_held_bytes <= BOUNDS.held_event_bytes + max(size, 10 * size)
    assert passed.body == wire
    assert passed.client.status == 200
    assert passed.answer.meter.num_tokens == 2
    assert passed.answer.meter.output_tokens == 77


@pytest.mark.parametrize("size", [1 << 12, 1 << 16])
def test_a_last_event_of_megabytes_still_tells_usage_and_end(size: int) -> None:
    response = {
        "id": "r", "object": "response", "status": "completed",
        "output": [{"type": "message", "content": "x" * 3_000_000}],
        "usage": {"input_tokens": 5, "output_tokens": 123, "total_tokens": 128}, "metadata": {},
    }  # fmt: skip
    event = json.dumps({"type": "response.completed", "response": response}).encode()
    wire = AnswerWriter(api=RESPONSES, model="m", id="1").delta("x")
    wire += b"event: response.completed\ndata: " + event + b"\n\n"
    sent = HEAD + as_chunk(wire) + LAST
    passed = through(RESPONSES, [sent[at : at + size] for at in range(0, len(sent), size)])
    assert passed.body == wire
    assert (passed.client.status, passed.client.problem) == (200, "")
    assert passed.answer.meter.output_tokens == 123


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (b"data: {not json\n\n", "not_understood"),
        (b"data: hello\n\ndata: [DONE]\n\n", "not_understood"),
        (b'data: {"error": {"message": "overloaded"}}\n\n', "engine_error"),
        (b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]', ""),
    ],
)
def test_what_looks_odd_is_passed_on_and_not_counted(wire: bytes, problem: str) -> None:
    passed = through(CHAT, [HEAD + as_chunk(wire) + LAST])
    assert passed.body == wire
    assert (passed.client.status, passed.client.problem) == (200, problem)
    assert not passed.client.failure


@pytest.mark.parametrize(
    "wire",
    [
        b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: {"choi',
        b"",
    ],
)
def test_an_answer_without_its_end_is_the_engines_fault(wire: bytes) -> None:
    passed = through(CHAT, [HEAD + (as_chunk(wire) if wire else b"") + LAST])
    assert passed.client.failure
