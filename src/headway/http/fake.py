"""A fake engine: speaks OpenAI's API, waits as long as it is told to, and misbehaves on request.

It ships with the gateway, so that tests meet real sockets and real faults instead of patches:
``FakeEngine(FakeSpeed(ttft_s=0.05, itl_s=0.01))``. A request's ``x-fake-tokens`` header says how
long its answer is, ``x-fake-fault`` how it goes wrong; ``faults`` do so for the next requests.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from headway.errors import InputError, UnknownNameError
from headway.http.message import LAST_CHUNK, HttpRequest, as_chunk
from headway.http.openai import (
    CHAT,
    PATHS,
    RESPONSES,
    Asked,
    error_body,
    read_asked,
)
from headway.http.server import ServerConnection

WORDS = ("the ", "a ", "line ", "of ", "words ", "that ", "means ", "nothing ")


FAULTS = (
    "die", "die-in-event", "hang", "hang-midway", "garbage", "garbage-stream", "not-json",
    "close-early", "close-before", "status-429", "status-500", "status-503", "html-500",
    "no-done", "bad-chunk", "huge", "redirect", "split", "wrong-length",
)  # fmt: skip
MIDWAY = frozenset({"die", "die-in-event", "hang-midway", "bad-chunk"})


def _plain(
    status: bytes, body: bytes, kind: bytes = b"application/json", more: bytes = b""
) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status, kind, more, len(body), body,
    )  # fmt: skip


CANNED = {
    "garbage": b"\x00\x01\x02 what is this\r\n\r\n",
    "garbage-stream": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + as_chunk(b"data: {not json\n\n") + LAST_CHUNK,
    "not-json": _plain(b"200 OK", b"<html>hello</html>"),
    "status-429": _plain(
        b"429 Too Many Requests", error_body("slow down", "rate_limit_error", "rate"),
        more=b"Retry-After: 1\r\n",
    ),
    "status-500": _plain(b"500 Internal", error_body("engine trouble", "server_error", None)),
    "status-503": _plain(b"503 Unavailable", error_body("loading", "server_error", None)),
    "html-500": _plain(b"500 Internal", b"<h1>Oops</h1>", b"text/html"),
    "redirect": _plain(b"302 Found", b"", b"text/html", b"Location: http://127.0.0.1:1/\r\n"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FakeSpeed:
    """How long a fake engine takes.

    Attributes:
        ttft_s: from a request's start to its first token.
        itl_s: from token to token.
        prompt_token_s: added to the first token's time for each token of the prompt.
        max_num_seqs: requests that run at once; the others wait.
        tokens: of an answer, where the request does not say.
        token_bytes: added to the text of every token.
    """

    ttft_s: float = 0.001
    itl_s: float = 0.0005
    prompt_token_s: float = 0.0
    max_num_seqs: int = 1_000_000
    tokens: int = 8
    token_bytes: int = 0


@dataclass(slots=True, eq=False)
class _Run:
    """A request that is being answered."""

    engine: FakeEngine
    connection: ServerConnection
    incoming: HttpRequest
    asked: Asked
    tokens: int
    fault: str
    sent: int = 0
    begun_s: float = 0.0
    started: bool = False
    timer: asyncio.TimerHandle | None = None
    paused: bool = False

    def client_gone(self) -> None:
        self.engine.cancelled += 1
        self._stop()

    def client_full(self) -> None:
        self.paused = True

    def client_ready(self) -> None:
        self.paused = False

    def start(self, now_s: float) -> None:
        self.started = True
        speed = self.engine.speed
        prefill_s = speed.prompt_token_s * self.asked.prompt_tokens(4.0)
        self.begun_s = now_s + speed.ttft_s + prefill_s
        if self.fault != "hang":
            self._at(self.begun_s, self._first)

    def _at(self, when_s: float, what: Any) -> None:
        self.timer = self.engine.loop.call_at(when_s, what)

    def _stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.engine.over(self)

    def _first(self) -> None:
        wrong = CANNED.get(self.fault)
        if wrong is not None:
            self.connection.exchange = None
            self.connection.write(wrong)
            self.connection.close_after()
            self.connection.transport.close()
            self._stop()
        elif self.fault == "close-before":
            self.connection.exchange = None
            self.connection.transport.abort()
            self._stop()
        elif self.asked.stream:
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            if self.asked.api == CHAT:
                head += as_chunk(
                    stream_event(self.asked, {"role": "assistant", "content": ""}, None)
                )
            self.connection.write(head)
            self._token()
        else:
            # A whole answer is written when its last token would be.
            speed = self.engine.speed
            self._at(self.begun_s + (self.tokens - 1) * speed.itl_s, self._whole)

    def _token(self) -> None:
        speed = self.engine.speed
        halfway = self.sent >= max(1, self.tokens // 2)
        if halfway and self.fault in MIDWAY:
            self._go_wrong()
            return
        if self.paused:
            self._at(self.engine.loop.time() + 0.005, self._token)
            return
        last = self.sent + 1 >= self.tokens
        word = WORDS[self.sent % len(WORDS)] + "x" * speed.token_bytes
        event = self.engine.token_event(self.asked, word)
        self.sent += 1
        if self.fault == "split":
            self.engine.loop.call_later(0.002, self.connection.write, event[11:])
            event = event[:11]
        if not last:
            self.connection.write(event)
            next_s = self.begun_s + self.sent * speed.itl_s
            if self.fault == "split":
                next_s = max(next_s, self.engine.loop.time() + 0.006)
            self._at(next_s, self._token)
        elif self.fault == "split":
            self.connection.write(event)
            self.engine.loop.call_later(0.004, self._last, b"")
        else:
            self._last(event)

    def _last(self, event: bytes) -> None:
        if self.fault == "close-early":
            self.connection.write(event + LAST_CHUNK)
        else:
            self.connection.write(event + last_events(self.asked, self.tokens, self.fault))
        self._stop()
        self.connection.finished(keep_alive=self.incoming.keep_alive)

    def _go_wrong(self) -> None:
        if self.fault == "hang-midway":
            return
        if self.fault == "die-in-event":
            self.connection.write(b'20\r\ndata: {"id":"x","choi')
        elif self.fault == "bad-chunk":
            self.connection.write(b"zz\r\nnonsense\r\n")
        self.connection.exchange = None
        self.connection.transport.close()
        self._stop()

    def _whole(self) -> None:
        text = "".join(WORDS[i % len(WORDS)] for i in range(self.tokens))
        if self.fault == "huge":
            text = "x" * (12 * 2**20)
        body = json.dumps(whole_answer(self.asked, text, self.tokens)).encode()
        self._stop()
        if self.fault in MIDWAY:
            self.connection.exchange = None
            self.connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            self.connection.write(body[: len(body) // 2])
            self.connection.transport.close()
            return
        length = b""
        if self.fault == "wrong-length":
            length = b"Content-Length: 5\r\n"
        headers = b"Content-Type: application/json\r\nx-fake-engine: yes\r\n" + length
        self.connection.answer(200, headers, body, self.incoming.keep_alive)


@dataclass(slots=True, eq=False)
class FakeEngine:
    """The engine; ``await start()`` returns its port.

    Attributes:
        speed: how long it takes.
        faults: what goes wrong with the next requests, the first one first; empty text: nothing.
        lengths: answers' tokens by prompt, which whoever asks need not know.
        bodies: of the requests that came, as they came, at most 1000.
        cancelled: requests whose client went away.
    """

    speed: FakeSpeed = field(default_factory=FakeSpeed)
    faults: deque[str] = field(default_factory=deque)
    lengths: dict[str, int] = field(default_factory=dict)
    model: str = "fake"
    bodies: deque[bytes] = field(default_factory=lambda: deque(maxlen=1000))
    headers: deque[dict[bytes, bytes]] = field(default_factory=lambda: deque(maxlen=1000))
    cancelled: int = 0
    served: int = 0
    most_running: int = 0
    accepted: int = 0
    head_limit_bytes: int = 65_536
    body_limit_bytes: int = 64 * 2**20
    loop: asyncio.AbstractEventLoop = field(init=False)
    _running: set[_Run] = field(default_factory=set)
    _waiting: deque[_Run] = field(default_factory=deque)
    _open: set[ServerConnection] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _cached: dict[tuple[str, str], bytes] = field(default_factory=dict)

    async def start(self, port: int = 0) -> int:
        """Listen on the loopback address; returns the port."""
        self.loop = asyncio.get_running_loop()
        self._server = await self.loop.create_server(
            lambda: ServerConnection(self, self.loop), "127.0.0.1", port, backlog=16_384
        )
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            connection.transport.abort()
        await asyncio.sleep(0)

    def opened(self, connection: ServerConnection) -> None:
        """A client has connected."""
        self.accepted += 1
        self._open.add(connection)

    def closed(self, connection: ServerConnection) -> None:
        """It has gone."""
        self._open.discard(connection)

    def begun(self, connection: ServerConnection, incoming: HttpRequest) -> None:
        """A request's head is complete."""

    def abandoned(self, connection: ServerConnection, incoming: HttpRequest) -> None:
        """A client went away in the middle of its request."""

    def malformed(
        self, connection: ServerConnection, incoming: HttpRequest | None, status: int, why: str
    ) -> None:
        """What came is no request."""
        connection.refuse(status, b"", why.encode())

    def received(self, connection: ServerConnection, incoming: HttpRequest) -> None:
        """A request is complete."""
        api = PATHS.get(incoming.path)
        keep = incoming.keep_alive
        json_type = b"Content-Type: application/json\r\n"
        if incoming.path == "/v1/models":
            listed = [{"id": self.model, "object": "model", "created": 0, "owned_by": "headway"}]
            body = json.dumps({"object": "list", "data": listed}).encode()
            connection.answer(200, json_type, body, keep)
            return
        if incoming.path == "/metrics":
            body = (
                f'vllm:num_requests_running{{model_name="{self.model}"}} {len(self._running)}.0\n'
                f'vllm:num_requests_waiting{{model_name="{self.model}"}} {len(self._waiting)}.0\n'
            ).encode()
            connection.answer(200, b"Content-Type: text/plain\r\n", body, keep)
            return
        if api is None:
            connection.answer(404, json_type, error_body("no such path", "not_found", None), keep)
            return
        self.bodies.append(incoming.body)
        self.headers.append(incoming.headers)
        try:
            asked = read_asked(api, incoming.body)
        except InputError as error:
            body = error_body(str(error), "invalid_request_error", None)
            connection.answer(400, json_type, body, keep)
            return
        fault = incoming.headers.get(b"x-fake-fault", b"").decode()
        if not fault and self.faults:
            fault = self.faults.popleft()
        if fault and fault not in FAULTS:
            raise UnknownNameError("fault", fault, FAULTS)
        wanted = incoming.headers.get(b"x-fake-tokens")
        tokens = int(wanted) if wanted else self.lengths.get(asked.prompt, self.speed.tokens)
        tokens = max(1, min(tokens, asked.max_tokens or tokens))
        run = _Run(self, connection, incoming, asked, tokens, fault)
        connection.exchange = run
        self._waiting.append(run)
        self._admit()

    def over(self, run: _Run) -> None:
        """A request is answered, or nobody wants the answer."""
        self.served += run.started
        self._running.discard(run)
        if not run.started and run in self._waiting:
            self._waiting.remove(run)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self.speed.max_num_seqs:
            run = self._waiting.popleft()
            self._running.add(run)
            self.most_running = max(self.most_running, len(self._running))
            run.start(self.loop.time())

    def token_event(self, asked: Asked, word: str) -> bytes:
        """One token's event as a chunk."""
        found = self._cached.get((asked.api, word))
        if found is None:
            found = as_chunk(stream_event(asked, {"content": word}, None))
            self._cached[asked.api, word] = found
        return found


def last_events(asked: Asked, tokens: int, fault: str) -> bytes:
    """What follows the last token."""
    if asked.api == RESPONSES:
        whole = whole_answer(asked, "", tokens)
        event = {"type": "response.completed", "response": whole, "sequence_number": 99}
        return as_chunk(_named("response.completed", event)) + LAST_CHUNK
    finish = as_chunk(stream_event(asked, {}, "stop"))
    prompt_tokens = asked.prompt_tokens(4.0)
    usage = {"id": "fake", "object": "chat.completion.chunk", "created": 0,
             "model": asked.model, "choices": [],
             "usage": _usage(prompt_tokens, tokens)}  # fmt: skip
    body = finish + as_chunk(b"data: " + json.dumps(usage).encode() + b"\n\n")
    if fault != "no-done":
        body += as_chunk(b"data: [DONE]\n\n")
    return body + LAST_CHUNK


def _usage(prompt_tokens: int, tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": prompt_tokens + tokens,
    }


def _named(name: str, event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(event).encode())


def stream_event(asked: Asked, delta: dict[str, str], finish: str | None) -> bytes:
    """One event of a stream, in the shape of its API."""
    if asked.api == RESPONSES:
        event = {"type": "response.output_text.delta", "delta": delta.get("content", ""),
                 "item_id": "m", "output_index": 0, "content_index": 0,
                 "sequence_number": 1, "logprobs": []}  # fmt: skip
        return _named("response.output_text.delta", event)
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if asked.api == CHAT:
        choice["delta"] = delta
        kind = "chat.completion.chunk"
    else:
        choice["text"] = delta.get("content", "")
        kind = "text_completion"
    event = {"id": "fake", "object": kind, "created": 0, "model": asked.model, "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def whole_answer(asked: Asked, text: str, tokens: int) -> dict[str, Any]:
    """An answer in one, in the shape of its API."""
    prompt_tokens = asked.prompt_tokens(4.0)
    if asked.api == RESPONSES:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        message = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
                   "content": content}  # fmt: skip
        return {
            "id": "fake", "object": "response", "created_at": 0, "model": asked.model,
            "status": "completed", "output": [message], "parallel_tool_calls": True,
            "tool_choice": "auto", "tools": [],
            "usage": {"input_tokens": prompt_tokens, "output_tokens": tokens,
                      "total_tokens": prompt_tokens + tokens,
                      "input_tokens_details": {"cached_tokens": 0},
                      "output_tokens_details": {"reasoning_tokens": 0}},
        }  # fmt: skip
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if asked.api == CHAT:
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    kind = "chat.completion" if asked.api == CHAT else "text_completion"
    return {"id": "fake", "object": kind, "created": 0, "model": asked.model, "choices": [choice],
            "usage": _usage(prompt_tokens, tokens)}  # fmt: skip
