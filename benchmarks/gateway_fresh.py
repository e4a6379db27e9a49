"""A fresh gateway in front of an engine that is not busy, second by second, against going direct.

Four engines: gaps that stay or that grow with the requests in flight, each with and without
``/metrics``. A closed loop asks the engine directly for some seconds, then the same through a
gateway that has just started and knows nothing. It makes nothing worse when the throughput stays
and no second's median TTFT rises. A fifth engine has places for half of the requests only: there a
queue must be found, and the places must stay full all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.gateway_overhead import gateway, plan, prefer_us

from headway.http.fake import FakeEngine, FakeSpeed
from headway.http.message import HttpRequest, fastest_loop
from headway.http.server import ServerConnection
from headway.load.answer import Outcome
from headway.load.run import Server, closed_loop, run

TOKENS = 32
BAR_THROUGHPUT, BAR_TTFT_MS = 0.98, 2.0


@dataclass(frozen=True, slots=True)
class Engine:
    """How a fake engine behaves: gaps of ``itl_s + each_s * running`` between tokens."""

    name: str
    each_s: float = 0.0
    metrics: bool = True
    places: int = 1_000_000
    ttft_s: float = 0.05
    itl_s: float = 0.02


@dataclass(frozen=True, slots=True)
class GrowingSpeed(FakeSpeed):
    """Gaps that grow with the requests in flight, read at every token."""

    each_s: float = 0.0
    in_flight: list[Fake] = field(default_factory=list)

    def token_times(
        self, prompt_tokens: int, tokens: int, source: random.Random
    ) -> Iterator[float]:
        """Yield when each token is there."""
        now_s = self.ttft_s
        for _ in range(tokens):
            yield now_s
            now_s += self.itl_s + self.each_s * self.in_flight[0].num_running


class Fake(FakeEngine):
    """A fake engine that can keep its queue to itself."""

    tells: bool = True

    @property
    def num_running(self) -> int:
        """Requests that it works on."""
        return len(self._running)

    def received(self, connection: ServerConnection, request: HttpRequest) -> None:
        """Answer, but for metrics where there are none."""
        if request.path == "/metrics" and not self.tells:
            connection.answer(404, b"", b"", request.keep_alive)
        else:
            super().received(connection, request)


def serve(pipe: Connection, engine: Engine) -> None:
    """Run the engine until the pipe says something."""

    async def main() -> None:
        fake = Fake(
            GrowingSpeed(
                ttft_s=engine.ttft_s, itl_s=engine.itl_s, tokens=TOKENS,
                max_num_seqs=engine.places, each_s=engine.each_s,
            ),
            model="known",
        )  # fmt: skip
        fake.tells = engine.metrics
        assert isinstance(fake.speed, GrowingSpeed)  # as it was made above
        fake.speed.in_flight.append(fake)
        pipe.send(await fake.start())
        await asyncio.to_thread(pipe.recv)

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(main())


@contextmanager
def running(engine: Engine) -> Iterator[str]:
    """Run ``engine`` in a process of its own; yield its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, engine), daemon=True)
    process.start()
    theirs.close()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        ours.send("stop")
        process.join(5)


def ask(url: str, count: int, streams: int) -> Outcome:
    """Keep ``streams`` requests under way until ``count`` were answered; they begin in a second."""
    return run(lambda: closed_loop(Server(url), plan(count), streams, ramp_s=1.0))


def seconds(outcome: Outcome, span: int) -> npt.NDArray[np.float64]:
    """Return the median TTFT of the requests that were sent in each second."""
    good = [answer for answer in outcome.answers if answer.token_s]
    sent = np.array([answer.sent_s - outcome.start_s for answer in good])
    ttft = np.array([answer.token_s[0] - answer.sent_s for answer in good])
    parts = [ttft[(sent >= k) & (sent < k + 1)] for k in range(span)]
    return np.array([np.median(part) if len(part) else np.nan for part in parts])


def tokens_within(outcome: Outcome, span: int) -> int:
    """Return the tokens that came within the first ``span`` seconds."""
    until_s = outcome.start_s + span
    return sum(sum(t < until_s for t in answer.token_s) for answer in outcome.answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=128)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--only", default="", help="engines with this in their name")
    asked = parser.parse_args()
    prefer_us()
    streams, span = asked.streams, asked.seconds

    result: dict[str, float] = {}
    engines = [
        Engine("constant, metrics"),
        Engine("constant", metrics=False),
        Engine("growing, metrics", each_s=0.02 / streams),
        Engine("growing", each_s=0.02 / streams, metrics=False),
        Engine("half the places, metrics", places=streams // 2),
        Engine("half the places", places=streams // 2, metrics=False),
    ]
    for engine in engines:
        if asked.only not in engine.name:
            continue
        count = round(1.3 * streams * span / (engine.ttft_s + TOKENS * engine.itl_s))
        if engine.places < streams:
            count //= 2
        with running(engine) as url:
            direct = ask(url, count, streams)
            with gateway(url) as (through_url, _):
                through = ask(through_url, count, streams)

        share = tokens_within(through, span) / tokens_within(direct, span)
        added_ms = 1e3 * (seconds(through, span) - seconds(direct, span))
        worst_ms = float(np.nanmax(added_ms))
        result[f"throughput, {engine.name}"] = share
        result[f"added_ttft_p50_ms, {engine.name}"] = worst_ms
        print(
            f"{engine.name:26s} throughput {share:6.1%} of direct (bar {BAR_THROUGHPUT:.0%}), "
            f"median TTFT of the worst second {worst_ms:+.1f} ms (bar +{BAR_TTFT_MS:g}); "
            f"failed {sum(bool(a.problem) for a in through.answers)}; "
            f"by second {np.round(added_ms, 1).tolist()}",
            flush=True,
        )
    print(json.dumps({"benchmark": "gateway_fresh", **result}))


if __name__ == "__main__":
    main()
