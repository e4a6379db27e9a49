"""OpenAI's API in front of a batcher, with vLLM's names on ``/metrics``."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from headway.engines.batch import Count, Message, Piece, Work
from headway.engines.request import EngineRequest, read_engine_request
from headway.engines.vocabulary import ByteVocabulary, Vocabulary
from headway.errors import InputError, reason
from headway.http.message import JSON_HEADERS, STREAM_HEADERS, HttpRequest, fastest_loop
from headway.http.openai import (
    CHAT,
    COMPLETIONS,
    PATHS,
    AnswerWriter,
    Usage,
    error_body,
    error_event,
    models_body,
)
from headway.http.server import Application, Reply, ServerConnection

LOOK_S = 1.0
REQUEST_S = 30.0  # from a request's first byte to its last
BACKLOG = 16_384
TEXT_HEADERS = b"Content-Type: text/plain; version=0.0.4\r\n"
_log = logging.getLogger("headway.engines")


@dataclass(slots=True, eq=False)
class _Answer:
    """A request that is being answered."""

    server: EngineServer
    request: EngineRequest
    reply: Reply
    writer: AnswerWriter
    texts: list[str] = field(default_factory=list)
    num_tokens: int = 0
    cached_tokens: int = 0
    has_begun: bool = False

    def client_gone(self) -> None:
        """Compute it no further."""
        self.server.cancel(self.request.work.number)

    def client_full(self) -> None:
        """A loopback client that reads slowly is waited for by its socket alone."""

    def client_ready(self) -> None:
        """See `client_full`."""

    def add(self, texts: list[str], reason: str) -> None:
        """Send or keep the texts of new tokens; ``reason`` says that they are the last."""
        if not self.request.stream:
            self.texts += texts
            self.num_tokens += len(texts)
            if reason:
                tree = self.writer.whole("".join(self.texts), self._reason(reason), self._usage())
                self.reply.whole(200, JSON_HEADERS, json.dumps(tree).encode())
            return

        events = b""
        for text in texts:
            opens = self.request.api == CHAT and not self.num_tokens
            events += self.reply.framed(self.writer.delta(text, opens=opens))
            self.num_tokens += 1
        if reason:
            usage = self._usage() if self.request.with_usage else None
            events += self.reply.framed(self.writer.end(self._reason(reason), usage))
        if self.reply.begun:
            self.reply.piece(events)
        else:
            self.reply.begin(200, STREAM_HEADERS, events)
        if reason:
            self.reply.finish()

    def fail(self, problem: str) -> None:
        """Tell the client that there will be no more."""
        if self.reply.begun:
            event = error_event(self.request.api, problem, "engine_failed")
            self.reply.piece(self.reply.framed(event))
            self.reply.finish()
        else:
            self.reply.whole(503, JSON_HEADERS, error_body(problem, "server_error", None))

    def _reason(self, reason: str) -> str:
        return "stop" if self.request.stops else reason

    def _usage(self) -> Usage:
        return Usage(
            prompt_tokens=len(self.request.work.prompt),
            output_tokens=self.num_tokens,
            cached_tokens=self.cached_tokens,
        )


class EngineServer(Application):
    """Serves the batcher at the other end of ``pipe`` as ``model``; `start` before, `stop` after.

    Attributes:
        context_tokens: that a prompt and its answer may have together.

    """

    def __init__(
        self,
        pipe: Connection,
        model: str,
        context_tokens: int = 4096,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """Serve nothing yet."""
        self._pipe = pipe
        self._vocabulary: Vocabulary = vocabulary or ByteVocabulary()
        self._model = model
        self.context_tokens = context_tokens
        self._answers: dict[int, _Answer] = {}
        self._connections: set[ServerConnection] = set()
        self._number = 0
        self._problem = ""

        # What /metrics shows.
        self._count = Count()
        self._prompt_tokens = 0
        self._looked_up_tokens = 0
        self._cached_tokens = 0
        self._generated_tokens = 0
        self._finished = 0

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Listen; returns the port.

        Raises:
            InputError: the address cannot be used.

        """
        self._loop = asyncio.get_running_loop()
        try:
            self._listener = await self._loop.create_server(
                lambda: ServerConnection(self, self._loop), host, port, backlog=BACKLOG
            )
        except OSError as error:
            raise InputError(f"cannot listen on {host}:{port}: {reason(error)}") from None
        self._looks = self._loop.create_task(self._look_after_clients())
        self._reader = threading.Thread(target=self._read, name="engine's answers", daemon=True)
        self._reader.start()
        listening: int = self._listener.sockets[0].getsockname()[1]
        return listening

    async def stop(self) -> None:
        """Stop after the step that is being computed; what was not answered is cut off."""
        self._listener.close()
        self._looks.cancel()
        with suppress(OSError):
            self._pipe.send(None)
        await asyncio.to_thread(self._reader.join)
        for connection in list(self._connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    # the clients' side

    async def _look_after_clients(self) -> None:
        """End connections that send nothing or read nothing for too long."""
        while True:
            await asyncio.sleep(LOOK_S)
            for connection in list(self._connections):
                connection.look_after(time.monotonic(), REQUEST_S)

    def opened(self, connection: ServerConnection) -> None:
        """A client has connected."""
        self._connections.add(connection)

    def closed(self, connection: ServerConnection) -> None:
        """A client has gone."""
        self._connections.discard(connection)

    def received(self, connection: ServerConnection, request: HttpRequest) -> None:
        """A request is complete."""
        path, reply = request.path, Reply(connection, request)
        if PATHS.get(path) in (CHAT, COMPLETIONS):
            if request.method == "POST":
                self._generate(connection, request, reply)
            else:
                _refuse(reply, 405, f"{path} takes POST")
        elif path == "/v1/models":
            body = models_body({self._model: {"max_model_len": self.context_tokens}})
            reply.whole(200, JSON_HEADERS, body)
        elif path == "/metrics":
            reply.whole(200, TEXT_HEADERS, self._metrics().encode())
        elif path == "/health":
            reply.whole(503 if self._problem else 200, TEXT_HEADERS, self._problem.encode())
        else:
            _refuse(reply, 404, f"there is no {path}")

    def _generate(
        self, connection: ServerConnection, http_request: HttpRequest, reply: Reply
    ) -> None:
        if self._problem:
            _refuse(reply, 503, self._problem)
            return
        self._number += 1
        try:
            request = read_engine_request(
                http_request, self._number, self._vocabulary.tokens, self.context_tokens
            )
        except InputError as error:
            _refuse(reply, 400, str(error))
            return

        prefix = "chatcmpl" if request.api == CHAT else "cmpl"
        writer = AnswerWriter(
            api=request.api,
            model=self._model,
            id=f"{prefix}-{self._number}",
            created_unix=int(time.time()),
        )
        answer = _Answer(self, request, reply, writer)
        connection.exchange = self._answers[self._number] = answer
        self._prompt_tokens += len(request.work.prompt)
        self._send(request.work)

    # the batcher's side

    def cancel(self, number: int) -> None:
        """Nobody wants this answer any more: it is not computed any further."""
        if self._answers.pop(number, None) is not None:
            self._send(number)

    def _send(self, message: Work | int) -> None:
        with suppress(OSError):  # an engine that has gone is told of where its answers are read
            self._pipe.send(message)

    def _read(self) -> None:
        """In a thread: a loop would make the pipe non-blocking, and long messages fail."""
        message: Message
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                message = "the engine has ended"
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._take, message)
            if isinstance(message, str):
                return

    def _take(self, message: Message) -> None:
        if isinstance(message, str):
            self._break(message)
            return
        pieces, self._count = message
        for piece in pieces:
            self._take_piece(piece)

    def _take_piece(self, piece: Piece) -> None:
        answer = self._answers.get(piece.number)
        if answer is None:  # its client has gone meanwhile
            return
        self._generated_tokens += len(piece.tokens)
        if piece.reason:
            self._finished += 1
            del self._answers[piece.number]
        if not answer.has_begun:
            answer.has_begun, answer.cached_tokens = True, piece.cached_tokens
            self._looked_up_tokens += len(answer.request.work.prompt)
            self._cached_tokens += piece.cached_tokens
        answer.add([self._vocabulary.text(token) for token in piece.tokens], piece.reason)

    def _break(self, problem: str) -> None:
        """Whoever computed has ended: tell those who wait, and who asks from now on."""
        self._problem = problem
        if self._listener.is_serving():
            _log.error(problem)
        answers = list(self._answers.values())
        self._answers.clear()
        for answer in answers:
            answer.fail(problem)

    def _metrics(self) -> str:
        count = self._count
        label = json.dumps(self._model)
        rows = [
            ("vllm:num_requests_running", "gauge", count.running),
            ("vllm:num_requests_waiting", "gauge", count.waiting),
            ("vllm:kv_cache_usage_perc", "gauge", count.kv_usage),
            ("vllm:prefix_cache_queries_total", "counter", self._looked_up_tokens),
            ("vllm:prefix_cache_hits_total", "counter", self._cached_tokens),
            ("vllm:prompt_tokens_total", "counter", self._prompt_tokens),
            ("vllm:generation_tokens_total", "counter", self._generated_tokens),
            ("vllm:request_success_total", "counter", self._finished),
            ("headway_engine_steps_total", "counter", count.steps),
            ("headway_engine_step_seconds_total", "counter", count.step_s),
            ("headway_engine_step_cpu_seconds_total", "counter", count.step_cpu_s),
        ]
        return "".join(
            f"# TYPE {name} {kind}\n{name}{{model_name={label}}} {float(value)}\n"
            for name, kind, value in rows
        )


def _refuse(reply: Reply, status: int, why: str) -> None:
    kind = "invalid_request_error" if status < 500 else "server_error"
    reply.whole(status, JSON_HEADERS, error_body(why, kind, None))


def serve(
    server: EngineServer, host: str, port: int, started: Callable[[int], None] = lambda port: None
) -> None:
    """Serve until SIGTERM or SIGINT; ``started`` is told the port.

    Raises:
        InputError: the address cannot be used.

    """

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        started(await server.start(port, host))
        await stopping.wait()
        await server.stop()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(main())
