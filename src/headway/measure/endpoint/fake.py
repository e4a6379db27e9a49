"""An OpenAI-compatible endpoint of known truth, for tests and examples: nothing is patched.

A real HTTP server on a free port of this machine that streams words at the times that it is told,
with every disturbance and every failure that a profiler must survive.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

TEMPLATE_TOKENS = 7


@dataclass(slots=True)
class Truth:
    """How the endpoint behaves; seconds throughout.

    Attributes:
        prompt_s: time of a prompt with its first token, by uncached prompt tokens.
        token_s: time of each further token.
        network_s: of a whole round trip, before anything else and without inference too.
        queue_s: front-end and scheduling of every inference request.
        busy: probability that a neighbour is at work during a request.
        busy_s: what the neighbour then adds to the first token, exponential mean.
        busy_token_s: and to every tenth token.
        tokens_per_chunk: tokens that are flushed together.
        reasoning_tokens: generated and billed before the first shown token, never sent.
        cached_tokens: of every prompt that are found in a cache.
        with_usage: whether counts are reported.
        failures: what goes wrong with the next requests, in order: a status to answer with, or
            "malformed", "close", "stall" in mid-stream; ``None`` for a request that goes well.
        passes: a real engine instead of ``prompt_s`` and ``token_s``: given prompt and output
            tokens, yields as each token is there.

    """

    prompt_s: Callable[[float], float] = lambda tokens: 0.004 + 1e-5 * tokens
    token_s: float = 0.002
    network_s: float = 0.0
    queue_s: float = 0.0
    busy: float = 0.0
    busy_s: float = 0.0
    busy_token_s: float = 0.0
    tokens_per_chunk: int = 1
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    with_usage: bool = True
    failures: list[int | str | None] = field(default_factory=list)
    passes: Callable[[int, int], Iterator[None]] | None = None
    seed: int = 0


class FakeEndpoint:
    """The server; ``url`` is its address while the context is open, ``num_requests`` what came."""

    def __init__(self, truth: Truth) -> None:
        """Listen on a free port; requests are answered once the context is entered."""
        self.truth = truth
        self.num_requests = 0
        self.random = random.Random(truth.seed)
        owner = self

        class Handler(_Handler):
            endpoint = owner

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FakeEndpoint:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    endpoint: FakeEndpoint
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        time.sleep(self.endpoint.truth.network_s)
        self._whole(200, {"data": []})

    def do_POST(self) -> None:
        truth = self.endpoint.truth
        start = time.perf_counter()
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.endpoint.num_requests += 1
        failure = truth.failures.pop(0) if truth.failures else None
        if isinstance(failure, int):
            said = {"error": {"message": f"this is a {failure}"}}
            self._whole(failure, said, {"Retry-After": "0.01"} if failure == 429 else {})
            return
        text = asked["messages"][0]["content"] if "messages" in asked else asked["prompt"]
        limit = asked.get("max_tokens") or asked["max_completion_tokens"]
        try:
            self._stream(start, len(text.split()) + TEMPLATE_TOKENS, int(limit), failure)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _whole(
        self, status: int, content: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, start: float, prompt: int, limit: int, failure: str | None) -> None:
        truth, source = self.endpoint.truth, self.endpoint.random
        cached = min(truth.cached_tokens, prompt - 1)
        passes = truth.passes(prompt - cached, limit) if truth.passes else None
        prompt_s = 0.0 if passes else truth.prompt_s(prompt - cached)
        at = start + truth.network_s + truth.queue_s + prompt_s
        busy = source.random() < truth.busy
        if busy and truth.busy_s:
            at += source.expovariate(1 / truth.busy_s)
        at += truth.token_s * truth.reasoning_tokens
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        shown = limit - truth.reasoning_tokens
        for first in range(0, shown, truth.tokens_per_chunk):
            together = min(truth.tokens_per_chunk, shown - first)
            if first and not passes:
                at += truth.token_s * together
                if busy and (first // truth.tokens_per_chunk) % 10 == 9:
                    at += truth.busy_token_s
            _sleep_until(at)
            if passes:
                for _ in range(together):
                    next(passes)
            if not first:
                self.end_headers()
            if failure and first >= shown // 2:
                self._break(failure)
                return
            self._event({"choices": [{"delta": {"content": " word" * together}}]})
        self._event({"choices": [{"delta": {}, "finish_reason": "length"}]})
        if truth.with_usage:
            self._event({"choices": [], "usage": self._usage(prompt, limit, cached)})
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _usage(self, prompt: int, output: int, cached: int) -> dict[str, object]:
        usage: dict[str, object] = {"prompt_tokens": prompt, "completion_tokens": output}
        if cached:
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
        if self.endpoint.truth.reasoning_tokens:
            hidden = {"reasoning_tokens": self.endpoint.truth.reasoning_tokens}
            usage["completion_tokens_details"] = hidden
        return usage

    def _break(self, failure: str) -> None:
        if failure == "malformed":
            self._chunk(b'data: {"choices": [{"delta"\n\n')
            self.wfile.write(b"0\r\n\r\n")
        elif failure == "stall":
            time.sleep(1.0)
        self.close_connection = True

    def _event(self, content: dict[str, object]) -> None:
        self._chunk(b"data: " + json.dumps(content).encode() + b"\n\n")

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()


def _sleep_until(at: float) -> None:
    left = at - time.perf_counter()
    if left > 0:
        time.sleep(left)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may leave when they like."""
