"""How wrong the client's own clock is, measured against a server that knows.

The server has delays that are known, and stamps, on the machine's monotonic clock, when each
request came in and when its first token went out. What the client measured beyond that is the
client's error (and the kernel's, which no client can avoid): ``headway load --check-clock``.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import process_time

import numpy as np

from headway.http.fake import FakeEngine, FakeSpeed
from headway.http.message import fastest_loop
from headway.load.plan import evenly_shaped, plan_trace
from headway.load.run import Server, closed_loop, run
from headway.report.column import column
from headway.report.report import Report
from headway.workload.aggregate import RequestSummary
from headway.workload.record import Records

LEVELS = (1, 64, 256)
TTFT_S, ITL_S, TOKENS = 0.05, 0.01, 32
MAX_TOKENS_PER_S = 20_000  # what the known server writes on time beside other work


class Known:
    """A server with known delays in a process of its own."""

    def __init__(self, port: int, pipe: Connection) -> None:
        """Speak to the process through ``pipe``."""
        self.url = f"http://127.0.0.1:{port}/v1"
        self._pipe = pipe

    def ttfts_s(self) -> list[float]:
        """Return the server's own TTFTs since the last question."""
        self._pipe.send("ttfts")
        ttfts_s: list[float] = self._pipe.recv()
        return ttfts_s


@contextmanager
def known_server(
    ttft_s: float = TTFT_S, itl_s: float = ITL_S, tokens: int = TOKENS
) -> Iterator[Known]:
    """Run a server with these delays in another process for as long as the block lasts."""
    speed = FakeSpeed(ttft_s=ttft_s, itl_s=itl_s, tokens=tokens)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, speed), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Known(ours.recv(), ours)
    finally:
        ours.send("stop")
        process.join(5)
        if process.is_alive():
            process.kill()


def _serve(pipe: Connection, speed: FakeSpeed) -> None:
    async def main() -> None:
        # It tells no queue: a gateway in between would pace it by that, and not by its answers.
        engine = FakeEngine(speed, model="known", with_metrics=False)
        pipe.send(await engine.start())
        while True:
            try:
                # In a thread: a loop would make the pipe non-blocking, and long answers fail.
                question = await asyncio.to_thread(pipe.recv)
            except EOFError:
                return
            if question == "stop":
                return
            pipe.send(list(engine.ttfts_s))
            engine.ttfts_s.clear()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(main())
    sys.exit(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRow:
    """The client's error at one concurrency."""

    concurrency: int = column("concurrency", "requests under way at once")
    requests: int = column("requests", "requests that were sent")
    unfinished: int = column("unfinished", "requests that failed")
    true_ttft_mean_s: float = column(
        "true TTFT", "mean of the server's own stamps", unit="ms", scale=1e3
    )
    error_mean_s: float = column(
        "error", "client's mean TTFT less the true one", unit="ms", scale=1e3
    )
    error_p99_s: float = column(
        "error of P99", "client's P99 of TTFT less the true one", unit="ms", scale=1e3
    )
    tpot_error: float = column(
        "TPOT error", "client's over the true TPOT, less 1", unit="%", scale=100
    )
    cpu_per_request_s: float = column("CPU", "of the client, per request", unit="ms", scale=1e3)


def clock_error(concurrency: int, num_requests: int | None = None) -> ClockRow:
    """Ask a known server with ``concurrency`` streams; compare its figures with ours."""
    itl_s = max(ITL_S, concurrency / MAX_TOKENS_PER_S)
    count = num_requests or max(50, 8 * concurrency)
    ramp_s = TTFT_S + (TOKENS - 1) * itl_s

    with known_server(TTFT_S, itl_s, TOKENS) as server:
        planned = plan_trace(evenly_shaped(count, 8, TOKENS), "known")
        began_s = process_time()
        outcome = run(lambda: closed_loop(Server(server.url), planned, concurrency, ramp_s=ramp_s))
        cpu_s = process_time() - began_s
        truth_s = np.array(server.ttfts_s())

    records = Records.of(outcome.records)
    summary = RequestSummary.of(records)
    ttfts_s = records.ttft_s[np.isfinite(records.ttft_s)]
    tpots_s = records.tpot_s[np.isfinite(records.tpot_s)]
    return ClockRow(
        concurrency=concurrency,
        requests=count,
        unfinished=summary.unfinished,
        true_ttft_mean_s=float(truth_s.mean()),
        error_mean_s=float(ttfts_s.mean() - truth_s.mean()),
        error_p99_s=float(np.quantile(ttfts_s, 0.99) - np.quantile(truth_s, 0.99)),
        tpot_error=float(tpots_s.mean()) / itl_s - 1,
        cpu_per_request_s=cpu_s / count,
    )


def check_clock(concurrency: Sequence[int], num_requests: int | None = None) -> Report[ClockRow]:
    """Return the client's own error at each ``concurrency``."""
    return Report(
        kind="load-clock",
        title="the client's own error against a server with known delays",
        question={"concurrency": ",".join(map(str, concurrency)), "num_requests": num_requests},
        rows=tuple(clock_error(level, num_requests) for level in concurrency),
        notes=("the truth is what the server itself stamped on the same clock; the error includes "
               "the kernel's part, which no client can avoid",),
    )  # fmt: skip
