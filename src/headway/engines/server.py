"""OpenAI's API in front of a batcher, with vLLM's names on ``/metrics``."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from headway.engines.asked import CHAT, COMPLETIONS, Asked, read_asked
from headway.engines.batch import Count, Piece, Told, Work
from headway.engines.vocabulary import ByteVocabulary
from headway.errors import InputError
from headway.http.small import LAST_CHUNK, STREAM_HEAD, Incoming, ServerConnection, as_chunk

BACKLOG = 16_384
JSON = b"application/json"
_log = logging.getLogger("headway.engines")


@dataclass(slots=True, eq=False)
class _Answer:
    """A request that is being answered."""

    connection: ServerConnection
    asked: Asked
    begun_unix: int
    texts: list[str] = field(default_factory=list)
    tokens: int = 0


class EngineServer:
    """Serves the batcher at the other end of ``pipe`` as ``model``; `start` before, `stop` after.

    Attributes:
        context_tokens: most tokens of a prompt and its answer.

    """

    def __init__(
        self,
        pipe: Connection,
        model: str,
        context_tokens: int = 4096,
        vocabulary: ByteVocabulary | None = None,
    ) -> None:
        """Serve nothing yet."""
        self._pipe = pipe
        self._vocabulary = vocabulary or ByteVocabulary()
        self._model = model
        self.context_tokens = context_tokens
        self._answers: dict[int, _Answer] = {}
        self._by_connection: dict[ServerConnection, int] = {}
        self._connections: set[ServerConnection] = set()
        self._number = 0
        self._problem = ""
        self._count = Count(0, 0, 0, 0.0, 0.0, 0.0)
        self._prompt_tokens = 0
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
                self._connected, host, port, backlog=BACKLOG
            )
        except OSError as error:
            raise InputError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        self._reader = threading.Thread(target=self._read, name="engine's answers", daemon=True)
        self._reader.start()
        listening: int = self._listener.sockets[0].getsockname()[1]
        return listening

    async def stop(self) -> None:
        """Stop after the step that is being computed; what was not answered is cut off."""
        self._listener.close()
        with suppress(OSError):
            self._pipe.send(None)
        await asyncio.to_thread(self._reader.join)
        for connection in list(self._connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _connected(self) -> ServerConnection:
        connection = ServerConnection(self)
        self._connections.add(connection)
        return connection

    def received(self, connection: ServerConnection, incoming: Incoming) -> None:
        """A request is complete."""
        path = incoming.path
        if path in (CHAT, COMPLETIONS):
            if incoming.method == "POST":
                self._ask(connection, incoming)
            else:
                _refuse(connection, 405, f"{path} takes POST")
        elif path == "/v1/models":
            listed = {"id": self._model, "object": "model", "created": 0, "owned_by": "headway",
                      "max_model_len": self.context_tokens}  # fmt: skip
            tree = {"object": "list", "data": [listed]}
            connection.answer(200, JSON, json.dumps(tree).encode())
        elif path == "/metrics":
            connection.answer(200, b"text/plain; version=0.0.4", self._metrics().encode())
        elif path == "/health":
            connection.answer(503 if self._problem else 200, b"text/plain", self._problem.encode())
        else:
            _refuse(connection, 404, f"there is no {path}")

    def gone(self, connection: ServerConnection) -> None:
        """A client has disconnected: its answer is not computed any further."""
        self._connections.discard(connection)
        number = self._by_connection.pop(connection, None)
        if number is not None:
            del self._answers[number]
            self._send(number)

    def _ask(self, connection: ServerConnection, incoming: Incoming) -> None:
        if self._problem:
            _refuse(connection, 503, self._problem)
            return
        self._number += 1
        try:
            asked = read_asked(incoming, self._number, self._vocabulary.tokens, self.context_tokens)
        except InputError as error:
            _refuse(connection, 400, str(error))
            return
        self._prompt_tokens += len(asked.work.prompt)
        self._answers[self._number] = _Answer(connection, asked, int(time.time()))
        self._by_connection[connection] = self._number
        self._send(asked.work)

    def _send(self, message: Work | int) -> None:
        with suppress(OSError):  # an engine that has gone is told of where its answers are read
            self._pipe.send(message)

    def _read(self) -> None:
        """In a thread: a loop would make the pipe non-blocking, and long messages fail."""
        told: Told
        while True:
            try:
                told = self._pipe.recv()
            except (EOFError, OSError):
                told = "the engine has ended"
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._told, told)
            if isinstance(told, str):
                return

    def _told(self, told: Told) -> None:
        if isinstance(told, str):
            self._broke(told)
            return
        pieces, self._count = told
        for piece in pieces:
            answer = self._answers.get(piece.number)
            if answer is None:  # its client has gone meanwhile
                continue
            self._generated_tokens += len(piece.tokens)
            texts = [self._vocabulary.text(token) for token in piece.tokens]
            if answer.asked.stream:
                head = STREAM_HEAD if not answer.tokens else b""
                events = b"".join(as_chunk(self._event(answer, text)) for text in texts)
                answer.tokens += len(texts)
                end = self._end(answer, piece.reason) if piece.reason else b""
                answer.connection.write(head + events + end)
            else:
                answer.texts += texts
                answer.tokens += len(texts)
            if piece.reason:
                self._finish(piece, answer)

    def _finish(self, piece: Piece, answer: _Answer) -> None:
        self._finished += 1
        del self._answers[piece.number]
        del self._by_connection[answer.connection]
        if answer.asked.stream:
            answer.connection.finish()
            return
        text = "".join(answer.texts)
        choice: dict[str, Any] = {"index": 0, "finish_reason": _reason(answer, piece.reason)}
        if answer.asked.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        kind = "chat.completion" if answer.asked.chat else "text_completion"
        tree = self._tree(answer, kind, [choice]) | {"usage": _usage(answer)}
        answer.connection.answer(200, JSON, json.dumps(tree).encode())

    def _event(self, answer: _Answer, text: str, reason: str | None = None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
        if answer.asked.chat:
            role = {} if answer.tokens else {"role": "assistant"}
            choice["delta"] = {} if reason else {**role, "content": text}
        else:
            choice["text"] = text
        kind = "chat.completion.chunk" if answer.asked.chat else "text_completion"
        return b"data: %b\n\n" % json.dumps(self._tree(answer, kind, [choice])).encode()

    def _end(self, answer: _Answer, reason: str) -> bytes:
        end = as_chunk(self._event(answer, "", _reason(answer, reason)))
        if answer.asked.usage:
            kind = "chat.completion.chunk" if answer.asked.chat else "text_completion"
            tree = self._tree(answer, kind, []) | {"usage": _usage(answer)}
            end += as_chunk(b"data: %b\n\n" % json.dumps(tree).encode())
        return end + as_chunk(b"data: [DONE]\n\n") + LAST_CHUNK

    def _tree(self, answer: _Answer, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        name = f"{'chatcmpl' if answer.asked.chat else 'cmpl'}-{answer.asked.work.number}"
        return {"id": name, "object": kind, "created": answer.begun_unix, "model": self._model,
                "choices": choices}  # fmt: skip

    def _broke(self, problem: str) -> None:
        """Whoever computed has ended: tell those who wait, and who asks from now on."""
        self._problem = problem
        if self._listener.is_serving():
            _log.error(problem)
        for answer in self._answers.values():
            if answer.asked.stream and answer.tokens:
                error = {"error": {"message": problem, "type": "server_error"}}
                answer.connection.write(as_chunk(b"data: %b\n\n" % json.dumps(error).encode()))
                answer.connection.transport.close()
            else:
                _refuse(answer.connection, 503, problem)
        self._answers.clear()
        self._by_connection.clear()

    def _metrics(self) -> str:
        count = self._count
        label = json.dumps(self._model)
        rows = [
            ("vllm:num_requests_running", "gauge", count.running),
            ("vllm:num_requests_waiting", "gauge", count.waiting),
            ("vllm:kv_cache_usage_perc", "gauge", count.kv_usage),
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


def _reason(answer: _Answer, reason: str) -> str:
    return "stop" if answer.asked.cut else reason


def _usage(answer: _Answer) -> dict[str, int]:
    prompt = len(answer.asked.work.prompt)
    return {"prompt_tokens": prompt, "completion_tokens": answer.tokens,
            "total_tokens": prompt + answer.tokens}  # fmt: skip


def _refuse(connection: ServerConnection, status: int, why: str) -> None:
    kind = "invalid_request_error" if status < 500 else "server_error"
    tree = {"error": {"message": why, "type": kind, "param": None, "code": None}}
    connection.answer(status, JSON, json.dumps(tree).encode())
