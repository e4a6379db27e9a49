"""Valid streams cut anywhere: the same bytes, tokens and end; events of 100 MB in little memory.

    python benchmarks/wire_rechunk.py --cuts 1000000

Streams of all three APIs, with LF and CRLF and with pings between, are put into chunks of random
sizes, and those into segments of random sizes, until so many cuts were made. Then one event of
100 MB passes, and the memory of this process is told at its highest.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.gateway.test_bytes import APIS, HEAD, LAST, Sent, a_stream, through
from tests.http.conftest import Memory, cut

from headway.gateway.server.answer import Answer
from headway.http.client import ClientConnection, ConnectionPool
from headway.http.message import HttpRequest, as_chunk
from headway.http.openai import CHAT, AnswerWriter, Usage
from headway.http.server import Application, Reply, ServerConnection

PINGS = (b"", b": ping\n\n", b'event: ping\ndata: {"type": "ping"}\n\n')
TEXTS = ("a ", "\u00fc\u4e16 ", "x" * 700, '"choices" [DONE] \\"usage\\"', "{}\\n\\n ")
TOKENS = 24


def rechunk(num_cuts: int, seed: int) -> tuple[int, int, int]:
    """Return the streams that were passed, those that failed, and the cuts that were made."""
    source = random.Random(seed)
    num_streams = num_failed = num_made = 0
    while num_made < num_cuts:
        api = source.choice(APIS)
        wire = a_stream(
            api,
            TOKENS,
            source.choice((b"\n", b"\r\n")),
            text=source.choice(TEXTS),
            ping=source.choice(PINGS),
        )
        chunks = {source.randrange(1, len(wire)) for _ in range(source.randrange(200))}
        sent = HEAD + b"".join(map(as_chunk, cut(wire, chunks))) + LAST
        segments = {source.randrange(1, len(sent)) for _ in range(source.randrange(400))}
        passed = through(api, cut(sent, segments))

        is_same = passed.body == wire and passed.answer.meter.num_tokens == TOKENS
        num_failed += not is_same or bool(passed.client.problem or passed.client.failure)
        num_streams += 1
        num_made += len(chunks) + len(segments)
    return num_streams, num_failed, num_made


class Counting(Memory):
    """Counts what is written and keeps none of it."""

    num_bytes = 0

    def write(self, data: Any) -> None:
        """Count ``data``."""
        self.num_bytes += len(data)


def long_event(num_bytes: int) -> tuple[int, int, float]:
    """Pass one event of ``num_bytes``; return bytes written, its tokens, and MB more memory."""
    server = ServerConnection(Application(), None)  # type: ignore[arg-type] # needs no loop here
    transport = Counting()
    server.connection_made(transport)
    answer = Answer(Sent(), Reply(server, HttpRequest()), CHAT, 8 * 2**20)
    upstream = ClientConnection(ConnectionPool("engine", 1))
    upstream.connection_made(Memory())
    upstream.send(b"", b"", answer)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writer, piece = AnswerWriter(api=CHAT, model="m", id="1"), b"x" * 65_536
    event = writer.delta("@")
    head, _, rest = event.partition(b"@")
    upstream.data_received(HEAD + as_chunk(head))
    for _ in range(num_bytes // len(piece)):
        upstream.data_received(as_chunk(piece))
    upstream.data_received(as_chunk(rest + writer.end("stop", Usage(output_tokens=7))) + LAST)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    return transport.num_bytes, answer.meter.num_tokens, grown_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    began_s = time.process_time()
    num_written, num_tokens, grown_mb = long_event(100_000_000)
    print(f"one event of 100 MB: {num_written / 1e6:.0f} MB passed, {num_tokens} token, "
          f"{grown_mb:.1f} MB of memory")  # fmt: skip
    num_streams, num_failed, num_made = rechunk(asked.cuts, asked.seed)
    print(f"{num_made:,} cuts of {num_streams:,} streams: {num_failed} failed "
          f"({time.process_time() - began_s:.0f} s of CPU)")  # fmt: skip
    print(json.dumps({"benchmark": "wire_rechunk", "cuts": num_made, "failed": num_failed,
                      "long_event_mb": grown_mb}))  # fmt: skip


if __name__ == "__main__":
    main()
