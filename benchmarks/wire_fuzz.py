"""Parsers of the wire against a million inputs each: no crash, no hang, time that grows in a line.

    python benchmarks/wire_fuzz.py --inputs 1000000 [--parser toml] [--seed 0]

An input is a valid one that was mutated (bytes changed, parts cut out, doubled, and pieces that
parsers are known to stumble over put in), or pieces alone. A crash is any exception but the
sentence of `InputError` or a broken answer; a hang is an input that takes longer than a second of
CPU. Then one input of each parser is made ten times as long, and the ratio of times is told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import process_time, thread_time

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.http.conftest import Memory

from headway.errors import InputError
from headway.gateway.config_file import read_config
from headway.http.client import ClientConnection, ConnectionPool, Headers
from headway.http.events import EventReader
from headway.http.message import BrokenAnswerError, HttpRequest, as_chunk
from headway.http.meter import TokenMeter
from headway.http.openai import PATHS, AnswerWriter, Usage, read_request
from headway.http.server import Application, ServerConnection

HANG_S = 1.0
MAX_SHOWN = 3
APIS = tuple(PATHS.values())
Parser = Callable[[bytes, random.Random], None]

REQUEST = (
    b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: localhost:9000\r\nAuthorization: Bearer x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n" + b"{}" * 10
)
CHUNKED = (
    b"POST /v1/completions HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n"
    b'Connection: keep-alive, upgrade\r\nExpect: 100-continue\r\n\r\n5\r\n{"a":\r\n2;x=y\r\n1}\r\n'
    b"0\r\nA: b\r\n\r\n"
)
BODY = json.dumps({
    "model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "prompt": ["a", [1, 2]], "input": [{"content": "x"}], "max_tokens": 5, "stream": True,
    "tools": [{"type": "function"}],
}).encode()  # fmt: skip
TOML = b"""policy = "sjf"
record = "live.db"
retries = 1
host = "127.0.0.1"
port = 9000
admin_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
[[backend]]
url = "http://localhost:8000/v1"
max_inflight = 64
pool = "gpu"
[[backend]]
url = "https://[::1]:8001/v1"
api_key = "k"
batching = "static"
batch_ratio = 3.0
[[tenant]]
name = "research"
key_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
weight = 2
requests_per_minute = 600
[pool.gpu]
usd_per_hour = 1.5
output_token_s = 0.01
[class.interactive]
ttft_ms = 500
[timeouts]
queue_s = 60
[limits]
body_bytes = 1000
[fairness]
by_tenant = true
[web]
origins = ["https://chat.example"]
"""
COMMON = [b"", b"\0", b"\xff\xfe", b"\xc3", b"9" * 5000, b"0x" + b"f" * 6000, b"-1", b"1e400",
          b"nan", b"inf", b"true", b"'", b'"', b"\\ud800", b"\xe2\x80\xa8", b" " * 50,
          b"[" * 300, b"{" * 300, b"\n", b"\r\n", b"\r", b":"]  # fmt: skip
PIECES: dict[str, list[bytes]] = {
    "requests": [
        b"GET ", b" HTTP/1.1\r\n", b" HTTP/0.9\r\n", b"Host: a\r\n", b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"PRI * HTTP/2.0\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"fffffffffffffffff\r\n", b" : x\r\n",
    ],
    "responses": [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 304 x\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"\r\n\r\n",
        b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n",
        b"Content-Type: text/event-stream\r\n", b"ffffffffffffffffff\r\n",
    ],
    "events": [
        b"data: ", b"\n\n", b"\r\n\r\n", b"\r\r", b": ping\n\n", b"[DONE]", b"event: x\n",
        b'"choices"', b'.delta"', b'"usage"', b'"usage": {', b'{"error": {', b"\xef\xbb\xbf",
    ],
    "json": [
        b"NaN", b"Infinity", b"[]", b"{}", b'"a":', b",", b"null", b'"model": 5', b"1.5e5",
    ],
    "toml": [
        b"[[backend]]\n", b"url = ", b"= ", b"[a.b]\n", b"'''", b'"""', b"2026-11-29", b"{}",
        b"http://[::1", b"http://\xe2\x84\x80", b"http://a..b/v1", b"http://u:p@h/v1",
        b"http://h:99999/v1", b"http://" + b"a" * 70 + b"/v1", b"\\r\\n", b"http://h/\\u00ff",
    ],
}  # fmt: skip


def seeds_of(parser: str) -> list[bytes]:
    """Valid inputs of ``parser``."""
    if parser == "requests":
        return [REQUEST, CHUNKED]
    if parser == "json":
        return [BODY]
    if parser == "toml":
        return [TOML]
    streams = [
        AnswerWriter(api=api, model="m", id="1").delta("hello", opens=True)
        + AnswerWriter(api=api, model="m", id="1").delta("\u00fc")
        + AnswerWriter(api=api, model="m", id="1").end("stop", Usage(3, 4, 1, 2))
        for api in APIS
    ]
    if parser == "events":
        return [*streams, *(stream.replace(b"\n", b"\r\n") for stream in streams)]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    return [
        head + b"Transfer-Encoding: chunked\r\n\r\n" + as_chunk(streams[0]) + b"0\r\nA: b\r\n\r\n",
        head + b"Content-Length: 5\r\n\r\nhello",
        head + b"\r\n" + streams[1],
    ]


def mutated(seed: bytes, pieces: list[bytes], source: random.Random) -> bytes:
    """Return ``seed`` with one to six things done to it."""
    data = seed if source.random() < 0.9 else b""
    for _ in range(source.randint(1, 6)):
        at, end = sorted((source.randint(0, len(data)), source.randint(0, len(data))))
        kind = source.randrange(5)
        if kind == 0:
            data = data[:at] + data[end:]
        elif kind == 1:
            data = data[:at] + source.choice(pieces) + data[at:]
        elif kind == 2:
            data = data[:at] + source.choice(pieces) + data[at + source.randint(0, 30) :]
        elif kind == 3 and data:
            data = data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]
        else:
            data = data[:end] + data[at:end] + data[end:]
    return data


# The parsers


class Answering(Application):
    """Answers every request at once."""

    def received(self, connection: ServerConnection, request: HttpRequest) -> None:
        """Answer with nothing."""
        connection.answer(200, b"", b"", request.keep_alive)


class Nobody:
    """Receives answers and keeps nothing."""

    def answer_begins(self, status: int, headers: Headers) -> None:
        """Keep nothing."""

    def answer_body(self, data: bytes, now_s: float, is_last: bool) -> None:
        """Keep nothing."""

    def answer_ends(self) -> None:
        """Keep nothing."""

    def answer_fails(self, why: str, stale: bool) -> None:
        """Keep nothing."""


def pieces_of(data: bytes, source: random.Random) -> list[bytes]:
    """Cut ``data`` at random."""
    if source.random() < 0.5:
        return [data]
    size = source.choice([1, 2, 3, 7, 50]) if len(data) < 3000 else 500
    return [data[at : at + size] for at in range(0, len(data), size)]


class Parsers:
    """What is tried; ``toml`` writes to a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._file = folder / "headway.toml"
        self._pool = ConnectionPool("engine", 1)
        self._num_requests = 0

    def requests(self, data: bytes, source: random.Random) -> None:
        """Read ``data`` as a client's bytes."""
        connection = ServerConnection(Answering(), self.loop)
        connection.connection_made(Memory())
        for piece in pieces_of(data, source):
            connection.data_received(piece)
        connection.connection_lost(None)

        # What refusals have scheduled would pile up in a loop that never runs.
        self._num_requests += 1
        if self._num_requests % 1000 == 0:
            self.loop.close()
            self.loop = asyncio.new_event_loop()

    def responses(self, data: bytes, source: random.Random) -> None:
        """Read ``data`` as an engine's bytes."""
        connection = ClientConnection(self._pool)
        connection.connection_made(Memory())
        connection.send(b"", b"", Nobody())
        for piece in pieces_of(data, source):
            connection.data_received(piece)
        connection.connection_lost(None)

    def events(self, data: bytes, source: random.Random) -> None:
        """Read ``data`` as a stream; its bytes must pass whole."""
        meter, reader = TokenMeter(source.choice(APIS)), EventReader()
        passed: list[bytes] = []
        for piece in pieces_of(data, source):
            events = reader.feed(piece)
            passed.append(events)
            if events:
                meter.see(events, 1.0)
            if reader.held_bytes > 200:
                part = reader.rest()
                passed.append(part)
                meter.see_part(part)
        passed.append(reader.rest())
        meter.end_stream()
        if b"".join(passed) != data or meter.num_tokens < 0:
            raise AssertionError("bytes or tokens were lost")

    def json(self, data: bytes, source: random.Random) -> None:
        """Read ``data`` as a body."""
        request = read_request(source.choice(APIS), data)
        if request.prompt_tokens() < 1:
            raise AssertionError("a prompt of nothing")

    def toml(self, data: bytes, source: random.Random) -> None:
        """Read ``data`` as a configuration."""
        self._file.write_bytes(data)
        read_config(self._file)


def fuzz(parser: str, num_inputs: int, seed: int, folder: Path) -> tuple[int, int, float]:
    """Return crashes, hangs, and the longest time in seconds, of so many inputs."""
    source = random.Random(seed)
    parsers = Parsers(folder)
    parse: Parser = getattr(parsers, parser)
    seeds, pieces = seeds_of(parser), [*COMMON, *PIECES[parser]]
    num_crashes = num_hangs = 0
    longest_s = 0.0

    for _ in range(num_inputs):
        data = mutated(source.choice(seeds), pieces, source)
        began_s = thread_time()
        try:
            parse(data, source)
        except (InputError, BrokenAnswerError):
            pass
        except Exception:
            num_crashes += 1
            if num_crashes <= MAX_SHOWN:
                print(f"{parser}: {data[:300]!r}", file=sys.stderr)
                traceback.print_exc()
        elapsed_s = thread_time() - began_s
        longest_s = max(longest_s, elapsed_s)
        num_hangs += elapsed_s > HANG_S
    parsers.loop.close()
    return num_crashes, num_hangs, longest_s


def growth(parser: str, folder: Path) -> float:
    """Return the time of a long input over that of one a tenth as long."""
    parsers = Parsers(folder)
    parse: Parser = getattr(parsers, parser)
    units = {
        "requests": (CHUNKED.partition(b"5\r\n")[0], b"5\r\nabcde\r\n"),
        "responses": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nabcde\r\n"),
        "events": (b"data: {", b'"choices": [], '),
        "json": (b"[", b'{"a": [1, "b"]}, '),
        "toml": (b"", b"# a comment\n"),
    }
    head, unit = units[parser]
    times_s = []
    for count in (20_000, 200_000):
        data = head + unit * count
        source = random.Random(3)  # draws the same cut for both
        began_s = thread_time()
        with suppress(InputError, BrokenAnswerError):
            parse(data, source)
        times_s.append(thread_time() - began_s)
    parsers.loop.close()
    return times_s[1] / max(times_s[0], 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--parser", choices=sorted(PIECES), action="append")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    result: dict[str, float] = {}
    memory = Path("/dev/shm")  # a configuration is a file, and a disk is slower than its parser
    for name in asked.parser or sorted(PIECES):
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            began_s = process_time()
            crashes, hangs, longest_s = fuzz(name, asked.inputs, asked.seed, Path(folder))
            took_s = process_time() - began_s
            ratio = growth(name, Path(folder))
        print(f"{name:9} {asked.inputs:,} inputs: {crashes} crashes, {hangs} hangs, longest "
              f"{1e3 * longest_s:.1f} ms, ten times the length {ratio:.1f} times as long "
              f"({took_s:.0f} s of CPU)")  # fmt: skip
        result |= {f"{name}_crashes": crashes, f"{name}_hangs": hangs, f"{name}_growth": ratio}
    print(json.dumps({"benchmark": "wire_fuzz", "inputs": asked.inputs, **result}))


if __name__ == "__main__":
    main()
