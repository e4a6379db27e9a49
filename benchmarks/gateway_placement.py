"""Where requests go: prefixes that the gateway has learned from its own decisions, against load.

Groups of prompts share a long prefix each, as tenants' system prompts do; eight timed engines with
prefix caches (their step times are a deployment's, `headway.engines.timed`) stand behind a gateway.
As in the published experiment (`placement_published.py`), all prompts come once at 15 requests/s,
which is in no figure, and then again and again at the rate of its last stage; answers are shorter,
so that two cores carry them. The same is asked by the fewest requests, by work that is left and
learned prefixes, and by both once more without caches that anybody was told of, so that the index
is wrong. `--cold` leaves the first round out: prompts come once, at 40 requests/s, to empty caches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.gateway_overhead import prefer_us

from headway.engines.batch import in_thread
from headway.engines.cache import BLOCK_TOKENS, BlockCache
from headway.engines.server import EngineServer
from headway.engines.timed import TimedPipeline
from headway.gateway.config import GatewayConfig
from headway.gateway.pools import Endpoint
from headway.gateway.server.gateway import Gateway
from headway.http.message import fastest_loop
from headway.load.answer import Outcome
from headway.load.plan import Planned, make_body
from headway.load.run import Server, open_loop, run
from headway.predict.storage import default_predictor
from headway.schedule.route import LEAST_LOADED, PREFIX_WORK_LEFT, Placement
from headway.steptime.deployment_name import parse_deployment

DEPLOYMENT = "qwen3-32b@h100:tp2"
GROUPS, PROMPTS, SHARED, OWN = 150, 5, 6000, 1200
WARM_RATE_RPS = 15.0
BAR_RATIO, BAR_TTFT_S, BAR_WRONG = 1.7, 1.0, 0.95


def serve_engine(pipe: Connection, has_cache: bool) -> None:
    """Serve one timed engine until the pipe says something."""

    async def main() -> None:
        deployment = parse_deployment(DEPLOYMENT)
        fitting = int(deployment.max_sequences(BLOCK_TOKENS, max_sequences=2.0**24))
        cache = BlockCache(fitting) if has_cache else None
        pipeline = TimedPipeline(deployment.step_time_model, 8192, cache)
        server = EngineServer(in_thread(pipeline, 256), DEPLOYMENT, context_tokens=1 << 20)
        pipe.send(await server.start())
        await asyncio.to_thread(pipe.recv)
        await server.stop()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(main())


def serve_gateway(pipe: Connection, urls: list[str], placement: Placement) -> None:
    """Serve a gateway in front of ``urls`` until the pipe says something."""

    async def main() -> None:
        config = GatewayConfig(tuple(Endpoint(url) for url in urls), port=0)
        gateway = Gateway(config, default_predictor(), placement=placement)
        gateway.scheduler.warm_up()
        pipe.send(await gateway.start())
        await asyncio.to_thread(pipe.recv)
        await gateway.stop(drain_s=0.0)

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(main())


@contextmanager
def process(target: object, *arguments: object) -> Iterator[str]:
    """Run ``target`` in a process of its own; yield the address that it serves at."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=target, args=(theirs, *arguments), daemon=True)  # type: ignore[arg-type]  # any of the two above
    child.start()
    theirs.close()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        ours.send("stop")
        child.join(10)


def planned(rate_rps: float, output: int, num_groups: int, rounds: int) -> list[Planned]:
    """Return the prompts of all groups in a random order, so many times over, at ``rate_rps``."""
    random = np.random.default_rng(0)

    def letters(count: int) -> str:
        return bytes(random.integers(97, 123, count, dtype=np.uint8)).decode()

    prompts = [
        shared + letters(OWN)
        for shared in (letters(SHARED) for _ in range(num_groups))
        for _ in range(PROMPTS)
    ]
    bodies = [
        make_body(prompt, DEPLOYMENT, "completions", output, fixed_length=True)
        for prompt in prompts
    ]
    rows = random.permutation(len(bodies)).tolist() * rounds
    due_s = np.cumsum(random.exponential(1 / rate_rps, len(rows))).tolist()
    return [Planned(at_s, bodies[row], SHARED + OWN) for at_s, row in zip(due_s, rows, strict=True)]


def tokens_per_s(outcome: Outcome) -> float:
    """Return output tokens per second from the first due time to the last token."""
    good = [answer for answer in outcome.answers if answer.token_s]
    end_s = max(answer.token_s[-1] for answer in good)
    return sum(answer.output_tokens for answer in good) / (end_s - outcome.start_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cold", action="store_true", help="to empty caches, each prompt once")
    parser.add_argument("--rate", type=float, help="default: 60, as published; 40 to empty caches")
    parser.add_argument("--output", type=int, help="default: 100; 60 to empty caches")
    parser.add_argument("--groups", type=int, default=GROUPS)
    parser.add_argument("--engines", type=int, default=8)
    parser.add_argument("--only", default="", help="arms with this in their name")
    asked = parser.parse_args()
    prefer_us()
    output = asked.output or (60 if asked.cold else 100)
    warm = [] if asked.cold else planned(WARM_RATE_RPS, output, asked.groups, 1)
    rate_rps = asked.rate or (40.0 if asked.cold else 60.0)
    requests = planned(rate_rps, output, asked.groups, 1 if asked.cold else 2)

    result: dict[str, float] = {}
    for name, placement, has_cache in (
        ("least loaded", LEAST_LOADED, True),
        ("learned prefixes", PREFIX_WORK_LEFT, True),
        ("least loaded, no cache", LEAST_LOADED, False),
        ("learned prefixes, no cache", PREFIX_WORK_LEFT, False),
    ):
        if asked.only not in name:
            continue
        with ExitStack() as stack:
            engines = [process(serve_engine, has_cache) for _ in range(asked.engines)]
            urls = [stack.enter_context(engine) for engine in engines]
            url = stack.enter_context(process(serve_gateway, urls, placement))
            server = Server(url, "completions")
            run(lambda s=server: open_loop(s, warm))  # type: ignore[misc]
            outcome = run(lambda s=server: open_loop(s, requests))  # type: ignore[misc]

        ttfts_s = np.array([a.token_s[0] - a.due_s for a in outcome.answers if a.token_s])
        late_s = np.quantile([a.late_s for a in outcome.answers], 0.99)
        rate = tokens_per_s(outcome)
        result[f"tok_per_s, {name}"] = rate
        result[f"ttft_p90_s, {name}"] = float(np.quantile(ttfts_s, 0.9))
        print(
            f"{name:26s} {rate:7.0f} tok/s, TTFT p50 {np.median(ttfts_s):.2f} s, "
            f"p90 {np.quantile(ttfts_s, 0.9):.2f} s; failed {sum(outcome.problems.values())}, "
            f"sent {1e3 * late_s:.0f} ms late at P99",
            flush=True,
        )
    if len(result) == 8:
        ratio = result["tok_per_s, learned prefixes"] / result["tok_per_s, least loaded"]
        wrong = (
            result["tok_per_s, learned prefixes, no cache"]
            / result["tok_per_s, least loaded, no cache"]
        )
        result |= {"ratio": ratio, "ratio_wrong_index": wrong}
        print(f"{ratio:.2f} x least loaded (bar {BAR_RATIO}), TTFT p90 bar {BAR_TTFT_S} s; "
              f"with a wrong index {wrong:.2f} (bar {BAR_WRONG})")  # fmt: skip
    print(json.dumps({"benchmark": "gateway_placement", **result}))


if __name__ == "__main__":
    main()
