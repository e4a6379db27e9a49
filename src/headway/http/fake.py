"""A fake engine: speaks OpenAI's API, takes as long as it is told to, and misbehaves on request.

It ships with Headway, so that tests meet real sockets and real faults instead of patches:
``FakeEngine(FakeSpeed(ttft_s=0.05, itl_s=0.01))``. A request's ``x-fake-tokens`` header says how
long its answer is, ``x-fake-fault`` how it goes wrong; ``faults`` do so for the next requests.

An answer is a script: bytes, each with the moment at which they are due. A timer of the kernel
keeps these moments within tens of microseconds, so that clients' clocks can be held against it.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import math
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic

from headway.errors import InputError, UnknownNameError
from headway.http.alarm import Alarm
from headway.http.message import (
    JSON_HEADERS,
    LAST_CHUNK,
    STREAM_HEADERS,
    HttpRequest,
    as_chunk,
)
from headway.http.openai import (
    CHAT,
    PATHS,
    AnswerWriter,
    GenerationRequest,
    Usage,
    error_body,
    models_body,
    read_request,
)
from headway.http.server import Application, ServerConnection

WORDS = ("the ", "a ", "line ", "of ", "words ", "that ", "means ", "nothing ")
TEMPLATE_TOKENS = 7  # of every prompt, beside one for each word
PAUSE_S = 0.005
SPLIT_S = 0.002
TEXT_HEADERS = b"Content-Type: text/plain\r\n"

FAULTS = (
    "die", "die-in-event", "hang", "hang-midway", "garbage", "garbage-stream", "not-json",
    "close-early", "close-before", "status-NNN", "html-500", "malformed", "no-done", "bad-chunk",
    "huge", "redirect", "split", "rechunk", "wrong-length", "no-last-chunk",
)  # fmt: skip
MIDWAY = frozenset({"die", "die-in-event", "hang-midway", "bad-chunk", "malformed"})
RECHUNKED_BYTES = 50  # less than an event has

GO_ON, FINISH, CLOSE, ABORT = range(4)


# A part of an answer: when it is due, its bytes, and what follows them.
Step = tuple[float, bytes, int]


@dataclass(frozen=True, slots=True)
class FakeSpeed:
    """How long a fake engine takes.

    Attributes:
        ttft_s: from a request's start to its first token.
        itl_s: from token to token.
        prompt_token_s: added to the first token's time for each token of the prompt.
        network_s: of a whole round trip, before anything else, and without inference, too.
        busy: probability that a neighbour is at work during a request.
        busy_s: what the neighbour then adds to the first token, exponential mean.
        step_times: instead of ``ttft_s`` and the others of a token: given the tokens of prompt and
            answer, returns the seconds of each token.
        max_num_seqs: requests that run at once; the others wait.
        tokens: of an answer, where the request does not say.
        tokens_per_event: tokens that are sent together.
        token_bytes: added to the text of every token.

    """

    ttft_s: float = 0.001
    itl_s: float = 0.0005
    prompt_token_s: float = 0.0
    network_s: float = 0.0
    busy: float = 0.0
    busy_s: float = 0.0
    step_times: Callable[[int, int], Sequence[float]] | None = None
    max_num_seqs: int = 1_000_000
    tokens: int = 8
    tokens_per_event: int = 1
    token_bytes: int = 0

    def token_times(
        self, prompt_tokens: int, tokens: int, source: random.Random
    ) -> Iterator[float]:
        """Yield when each token is there, in seconds after the request's start."""
        now_s = self.network_s
        if self.busy_s and source.random() < self.busy:
            now_s += source.expovariate(1 / self.busy_s)

        if self.step_times is not None:
            for step_s in self.step_times(prompt_tokens, tokens)[:tokens]:
                now_s += step_s
                yield now_s
            return
        first_s = now_s + self.ttft_s + self.prompt_token_s * prompt_tokens
        for number in range(tokens):
            yield first_s + number * self.itl_s


@dataclass(slots=True, eq=False)
class _Run:
    """A request that is being answered."""

    engine: FakeEngine
    connection: ServerConnection
    request: HttpRequest
    generation: GenerationRequest
    tokens: int
    fault: str
    prompt_tokens: int = 0
    begin_s: float = math.nan
    script: Iterator[Step] | None = None
    step: Step | None = None
    is_paused: bool = False
    has_begun: bool = False

    def client_gone(self) -> None:
        self.engine.cancelled += 1
        self.end()

    def client_full(self) -> None:
        self.is_paused = True

    def client_ready(self) -> None:
        self.is_paused = False

    def end(self) -> None:
        """Do nothing more; a script and its request would else hold each other."""
        self.step = self.script = None
        self.engine.over(self)

    def advance(self) -> None:
        """Find out what is to be done next, and when; nothing for a request that hangs."""
        self.step = step = next(self.script, None) if self.script is not None else None
        if step is not None:
            self.engine.later(step[0], self.act)

    def act(self) -> None:
        """Do what is due."""
        if self.step is None:
            return
        if self.is_paused:
            self.engine.later(monotonic() + PAUSE_S, self.act)
            return

        due_s, data, action = self.step
        if not self.has_begun:
            self.has_begun = True
            self.engine.ttfts_s.append(monotonic() - self.request.arrival_s)
        if data:
            self.connection.transport.write(data)
        if action == GO_ON:
            self.advance()
            return

        self.engine.late_s.append(monotonic() - due_s)
        self.end()
        if action == FINISH:
            self.connection.finished(self.request.keep_alive)
            return
        self.connection.exchange = None
        if action == CLOSE:
            self.connection.transport.close()
        else:
            self.connection.transport.abort()


@dataclass(slots=True, eq=False)
class FakeEngine(Application):
    """The engine; ``await start()`` returns its port.

    Attributes:
        speed: how long it takes.
        faults: what goes wrong with the next requests, the first one first; empty text: nothing.
        lengths: answers' tokens by prompt, which whoever asks need not know.
        cached_tokens: of every prompt, as its usage says.
        reasoning_tokens: generated and billed before the first token, never sent.
        with_usage: whether it says how many tokens there were.
        with_metrics: whether ``/metrics`` tells its queue, as vLLM's does.
        bodies: of the requests that came, as they came, at most 1000.
        ttfts_s: the engine's own: from a request's last byte to its first token's first.
        late_s: by how much the end of each answer was sent later than it was due.
        cancelled: requests whose client went away.
        num_requests: that asked for text.
        accepted: connections.

    """

    speed: FakeSpeed = field(default_factory=FakeSpeed)
    faults: deque[str] = field(default_factory=deque)
    lengths: dict[str, int] = field(default_factory=dict)
    model: str = "fake"
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    with_usage: bool = True
    with_metrics: bool = True
    seed: int = 0
    bodies: deque[bytes] = field(default_factory=lambda: deque(maxlen=1000))
    headers: deque[dict[bytes, bytes]] = field(default_factory=lambda: deque(maxlen=1000))
    ttfts_s: deque[float] = field(default_factory=lambda: deque(maxlen=1_000_000))
    late_s: deque[float] = field(default_factory=lambda: deque(maxlen=1_000_000))
    cancelled: int = 0
    num_requests: int = 0
    max_running: int = 0
    accepted: int = 0
    connections: set[ServerConnection] = field(default_factory=set)
    _random: random.Random = field(init=False)
    _running: set[_Run] = field(default_factory=set)
    _waiting: deque[_Run] = field(default_factory=deque)
    _due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: int = 0
    _free_s: float = -math.inf  # when a place was last given up
    _alarm_s: float = math.inf
    _alarm: Alarm | None = None
    _server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> int:
        """Listen on the loopback address; returns the port."""
        loop = asyncio.get_running_loop()
        self._random = random.Random(self.seed)
        self._alarm = Alarm(self._ring)
        self._server = await loop.create_server(
            lambda: ServerConnection(self, loop), "127.0.0.1", port, backlog=16_384
        )
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    async def stop(self) -> None:
        """Close every connection; an engine that was not started has none."""
        if self._server is None or self._alarm is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        self._alarm.close()

    # time

    def later(self, due_s: float, action: Callable[[], None]) -> None:
        """Call ``action`` at ``due_s`` on the monotonic clock."""
        self._number += 1
        heapq.heappush(self._due, (due_s, self._number, action))
        if due_s < self._alarm_s and self._alarm is not None:
            self._alarm_s = due_s
            self._alarm.set(due_s)

    def _ring(self) -> None:
        due = self._due
        self._alarm_s = -math.inf  # set once, below, whatever the actions add
        while due and due[0][0] <= monotonic():
            heapq.heappop(due)[2]()
        self._alarm_s = due[0][0] if due else math.inf
        if due and self._alarm is not None:
            self._alarm.set(self._alarm_s)

    # the server's side

    def opened(self, connection: ServerConnection) -> None:
        """A client has connected."""
        self.accepted += 1
        self.connections.add(connection)

    def closed(self, connection: ServerConnection) -> None:
        """A client has gone."""
        self.connections.discard(connection)

    def received(self, connection: ServerConnection, request: HttpRequest) -> None:
        """A request is complete."""
        api = PATHS.get(request.path)
        if api is not None:
            self._generate(connection, request, api)
        elif request.path == "/v1/models":
            body = models_body({self.model: {}})
            self._answer_later(connection, request, JSON_HEADERS, body)
        elif request.path == "/health":
            self._answer_later(connection, request, JSON_HEADERS, b"{}")
        elif request.path == "/metrics" and self.with_metrics:
            self._answer_later(connection, request, TEXT_HEADERS, self._metrics())
        else:
            body = error_body("no such path", "not_found", None)
            connection.answer(404, JSON_HEADERS, body, request.keep_alive)

    def _answer_later(
        self, connection: ServerConnection, request: HttpRequest, headers: bytes, body: bytes
    ) -> None:
        """Answer after a round trip over the network."""

        def answer() -> None:
            if not connection.transport.is_closing():
                connection.answer(200, headers, body, request.keep_alive)

        if self.speed.network_s:
            self.later(monotonic() + self.speed.network_s, answer)
        else:
            answer()

    def _metrics(self) -> bytes:
        label = f'{{model_name="{self.model}"}}'
        return (
            f"vllm:num_requests_running{label} {len(self._running)}.0\n"
            f"vllm:num_requests_waiting{label} {len(self._waiting)}.0\n"
        ).encode()

    def _generate(self, connection: ServerConnection, request: HttpRequest, api: str) -> None:
        self.num_requests += 1
        self.bodies.append(request.body)
        self.headers.append(request.headers)
        try:
            generation = read_request(api, request.body)
        except InputError as error:
            body = error_body(str(error), "invalid_request_error", None)
            connection.answer(400, JSON_HEADERS, body, request.keep_alive)
            return

        fault = request.headers.get(b"x-fake-fault", b"").decode()
        if not fault and self.faults:
            fault = self.faults.popleft()
        if fault and fault not in FAULTS and not fault.startswith("status-"):
            raise UnknownNameError("fault", fault, FAULTS)

        header = request.headers.get(b"x-fake-tokens")
        tokens = int(header) if header else self.lengths.get(generation.prompt, self.speed.tokens)
        tokens = max(1, min(tokens, generation.max_tokens or tokens))
        run = _Run(self, connection, request, generation, tokens=tokens, fault=fault)
        run.prompt_tokens = len(generation.prompt.split()) + TEMPLATE_TOKENS
        connection.exchange = run
        self._waiting.append(run)
        self._admit()

    def over(self, run: _Run) -> None:
        """A request is answered, or nobody wants the answer."""
        self._running.discard(run)
        self._free_s = monotonic()
        if math.isnan(run.begin_s) and run in self._waiting:
            self._waiting.remove(run)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self.speed.max_num_seqs:
            run = self._waiting.popleft()
            self._running.add(run)
            self.max_running = max(self.max_running, len(self._running))
            run.begin_s = max(run.request.arrival_s, self._free_s)
            run.script = self._script(run)
            run.advance()

    # what is said

    def _script(self, run: _Run) -> Iterator[Step]:
        """Yield the parts of an answer; without an end the request hangs."""
        fault = run.fault
        hidden = min(self.reasoning_tokens, run.tokens - 1)
        prompt_tokens = run.prompt_tokens - min(self.cached_tokens, run.prompt_tokens - 1)
        times = self.speed.token_times(prompt_tokens, run.tokens, self._random)
        for _ in range(hidden):
            next(times)
        if fault == "hang":
            return

        wrong = _canned(fault)
        if wrong:
            yield run.begin_s + next(times), wrong, CLOSE
        elif fault == "close-before":
            yield run.begin_s + next(times), b"", ABORT
        elif run.generation.stream:
            yield from self._stream(run, times, run.tokens - hidden)
        else:
            yield from self._whole(run, times)

    def _stream(self, run: _Run, times: Iterator[float], tokens: int) -> Iterator[Step]:
        fault, generation = run.fault, run.generation
        key = generation.api, generation.model
        usage = self._usage(run) if self.with_usage else None
        data = _opening(*key, is_cut=fault == "rechunk")
        end = b""
        if fault != "close-early":
            end = _end(*key, usage, says_done=fault != "no-done", is_cut=fault == "rechunk")
        chunks = _word_chunks(*key, self.speed.token_bytes, is_cut=fault == "rechunk")
        due_s = run.begin_s

        # The usual case, in which clients' clocks are held against ours, takes as little as can be.
        if not fault and self.speed.tokens_per_event == 1:
            for number in range(tokens - 1):
                yield run.begin_s + next(times), data + chunks[number % len(WORDS)], GO_ON
                data = b""
            data += chunks[(tokens - 1) % len(WORDS)] + end + LAST_CHUNK
            yield run.begin_s + next(times), data, FINISH
            return

        for number in range(0, tokens, self.speed.tokens_per_event):
            size = min(self.speed.tokens_per_event, tokens - number)
            for _ in range(size):
                due_s = run.begin_s + next(times)
            if fault in MIDWAY and number >= max(1, tokens // 2):
                yield from _go_wrong(fault, due_s, data)
                return

            chunk = chunks[number % len(WORDS)]
            if size > 1:
                words = "".join(WORDS[(number + i) % len(WORDS)] for i in range(size))
                chunk = as_chunk(self._writer(run).delta(words))
            if fault == "split":
                yield due_s, data + chunk[:11], GO_ON
                data, chunk = b"", chunk[11:]
                due_s += SPLIT_S
            data += chunk
            if number + size < tokens:
                yield due_s, data, GO_ON
                data = b""
        if fault == "no-last-chunk":
            yield due_s, data + end, GO_ON  # and nothing more
        else:
            yield due_s, data + end + LAST_CHUNK, FINISH

    def _whole(self, run: _Run, times: Iterator[float]) -> Iterator[Step]:
        # A whole answer is written when its last token would be.
        due_s = run.begin_s + list(times)[-1]
        text = "".join(WORDS[i % len(WORDS)] for i in range(run.tokens))
        if run.fault == "huge":
            text = "x" * (12 * 2**20)
        body = json.dumps(self._writer(run).whole(text, "stop", self._usage(run))).encode()
        length = b"Content-Length: %d\r\n" % len(body)
        if run.fault in MIDWAY:
            yield due_s, _head(length) + body[: len(body) // 2], CLOSE
            return

        lines = JSON_HEADERS + b"x-fake-engine: yes\r\n"
        if run.fault == "wrong-length":
            lines += b"Content-Length: 5\r\n"
        yield due_s, _head(lines + length) + body, FINISH

    def _writer(self, run: _Run) -> AnswerWriter:
        return _writer_of(run.generation.api, run.generation.model)

    def _usage(self, run: _Run) -> Usage:
        return Usage(
            prompt_tokens=run.prompt_tokens,
            output_tokens=run.tokens,
            cached_tokens=min(self.cached_tokens, run.prompt_tokens - 1),
            reasoning_tokens=min(self.reasoning_tokens, run.tokens - 1),
        )


def _head(lines: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n%b\r\n" % lines


# What is said again and again is composed once.


@lru_cache(maxsize=64)
def _opening(api: str, model: str, *, is_cut: bool) -> bytes:
    """Return the head of a stream, with the event that opens a chat."""
    head = _head(STREAM_HEADERS + b"Transfer-Encoding: chunked\r\n")
    if api != CHAT:
        return head
    return head + _framed(_writer_of(api, model).delta("", opens=True), is_cut)


@lru_cache(maxsize=16)
def _word_chunks(api: str, model: str, token_bytes: int, *, is_cut: bool) -> list[bytes]:
    """Return the event of each word, framed."""
    writer, more = _writer_of(api, model), "x" * token_bytes
    return [_framed(writer.delta(word + more), is_cut) for word in WORDS]


@lru_cache(maxsize=1024)
def _end(api: str, model: str, usage: Usage | None, *, says_done: bool, is_cut: bool) -> bytes:
    """Return the last events of a stream, framed."""
    return _framed(_writer_of(api, model).end("stop", usage, says_done=says_done), is_cut)


def _writer_of(api: str, model: str) -> AnswerWriter:
    return AnswerWriter(api=api, model=model, id="fake")


def _framed(events: bytes, is_cut: bool) -> bytes:
    """Return ``events`` as one chunk, or in chunks that cut them, as a proxy may send them."""
    if not is_cut:
        return as_chunk(events)
    places = range(0, len(events), RECHUNKED_BYTES)
    return b"".join(as_chunk(events[at : at + RECHUNKED_BYTES]) for at in places)


def _go_wrong(fault: str, due_s: float, data: bytes) -> Iterator[Step]:
    """Yield the last steps of a stream that breaks off; none for one that hangs."""
    if fault == "hang-midway":
        yield due_s, data, GO_ON
    elif fault == "malformed":
        yield due_s, data + as_chunk(b'data: {"choices": [{"delta"\n\n') + LAST_CHUNK, CLOSE
    else:
        ends = {"die-in-event": b'20\r\ndata: {"id":"x","choi', "bad-chunk": b"zz\r\nnonsense\r\n"}
        yield due_s, data + ends.get(fault, b""), CLOSE


def _canned(fault: str) -> bytes:
    """Return the whole answer that is a fault; empty for a fault of another kind."""
    if fault == "garbage":
        return b"\x00\x01\x02 what is this\r\n\r\n"
    if fault == "garbage-stream":
        head = _head(STREAM_HEADERS + b"Transfer-Encoding: chunked\r\n")
        return head + as_chunk(b"data: {not json\n\n") + LAST_CHUNK
    if fault == "not-json":
        return _plain(b"200 OK", JSON_HEADERS, b"<html>hello</html>")
    if fault == "html-500":
        return _plain(b"500 Internal", b"Content-Type: text/html\r\n", b"<h1>Oops</h1>")
    if fault == "redirect":
        return _plain(b"302 Found", b"Location: http://127.0.0.1:1/\r\n", b"")
    if not fault.startswith("status-"):
        return b""

    status = fault.removeprefix("status-")
    if status == "429":
        body = error_body(f"this is a {status}", "rate_limit_error", "rate")
        return _plain(b"429 Too Many Requests", JSON_HEADERS + b"Retry-After: 1\r\n", body)
    body = error_body(f"this is a {status}", "server_error", None)
    return _plain(status.encode() + b" Fault", JSON_HEADERS, body)


def _plain(status: bytes, lines: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, lines, len(body), body)


@contextmanager
def running(engine: FakeEngine) -> Iterator[str]:
    """Run ``engine`` on a loop of its own in a thread; yield its address, such as ``.../v1``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake engine")
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(engine.start(), loop).result(10)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(engine.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
