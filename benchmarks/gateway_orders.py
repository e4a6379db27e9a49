"""What the order of the queue does live, on timed engines: objectives at overload, and a burst.

Objectives: interactive requests (first token within a second) and batch ones come to one engine a
tenth faster than it answers. Against first come first served: the tail of the interactive ones'
first tokens, and how many requests per second met what they were promised (batch: a minute).

Burst: short questions among long essays come at once to an engine of few places, as in Clairvoyant
(arXiv 2606.07248); the shipped predictor reads the texts. Against first come first served: the
median of the short ones, and the tail of the long ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.gateway_overhead import prefer_us
from benchmarks.gateway_placement import process

from headway.engines.batch import in_thread
from headway.engines.server import EngineServer
from headway.engines.timed import TimedPipeline
from headway.gateway.config import GatewayConfig, ServiceClass
from headway.gateway.pools import Endpoint
from headway.gateway.server.gateway import Gateway
from headway.http.message import fastest_loop
from headway.load.answer import Outcome
from headway.load.plan import Planned, make_body
from headway.load.run import Server, open_loop, run
from headway.predict.storage import default_predictor
from headway.schedule.policies import find_policy
from headway.steptime.deployment_name import parse_deployment
from headway.workload.request import Slo

DEPLOYMENT = "llama-3.1-8b@h100:tp1"
OBJECTIVE_S, BATCH_S = 1.0, 60.0
SECOND_BURST_S = 14.0
SHORT = (
    "Answer in one word: what is the capital of {}?", "Is {} in Europe? Answer yes or no.",
    "Translate the word {} into French.", "What is {} plus 7?",
)  # fmt: skip
LONG = (
    "Write a long and detailed essay about the history of {}, with many sections.",
    "Write a complete tutorial with many code examples on how to build a web service about {}.",
    "Tell a long story about a journey to {}, chapter by chapter.",
)


def serve_engine(pipe: Connection, places: int) -> None:
    """Serve one timed engine until the pipe says something."""

    async def main() -> None:
        pipeline = TimedPipeline(parse_deployment(DEPLOYMENT).step_time_model, 2048)
        server = EngineServer(in_thread(pipeline, places), DEPLOYMENT, context_tokens=1 << 20)
        pipe.send(await server.start())
        await asyncio.to_thread(pipe.recv)
        await server.stop()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(main())


def serve_gateway(pipe: Connection, url: str, policy: str, admission: str) -> None:
    """Serve a gateway in front of ``url`` until the pipe says something."""

    async def main() -> None:
        config = GatewayConfig(
            (Endpoint(url),),
            find_policy(policy),
            port=0,
            classes=(ServiceClass("interactive", Slo(ttft_s=OBJECTIVE_S)),),
            admission=admission,
        )
        gateway = Gateway(config, default_predictor())
        gateway.scheduler.warm_up()
        pipe.send(await gateway.start())
        await asyncio.to_thread(pipe.recv)
        await gateway.stop(drain_s=0.0)

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(main())


def ask(planned: list[Planned], places: int, policy: str, admission: str = "off") -> Outcome:
    """Send ``planned`` through a fresh gateway to a fresh engine."""
    with ExitStack() as stack:
        engine = stack.enter_context(process(serve_engine, places))
        url = stack.enter_context(process(serve_gateway, engine, policy, admission))
        return run(lambda: open_loop(Server(url, "completions"), planned))


def request(due_s: float, text: str, tokens: int, more: str = "") -> Planned:
    """Return a request whose length only the engine knows."""
    headers = f"x-engine-tokens: {tokens}\r\n{more}".encode()
    return Planned(due_s, make_body(text, DEPLOYMENT, "completions", 1024), len(text), headers)


def overload(rate_rps: float, count: int) -> tuple[list[Planned], npt.NDArray[np.bool_]]:
    """Return requests at ``rate_rps``, and which of them are interactive: half."""
    random = np.random.default_rng(1)
    due_s = np.cumsum(random.exponential(1 / rate_rps, count))
    interactive = random.random(count) < 0.5
    tokens = np.clip(random.lognormal(4.2, 0.7, count), 4, 600).astype(int)
    planned = [
        request(
            float(due_s[i]), f"Tell me about the number {i}. " * 12, int(tokens[i]),
            "x-headway-class: interactive\r\n" if interactive[i] else "",
        )
        for i in range(count)
    ]  # fmt: skip
    return planned, interactive


def objectives(places: int, rate_rps: float, count: int) -> dict[str, float]:
    """Compare orders and admissions at overload."""
    planned, interactive = overload(rate_rps, count)
    figures: dict[str, float] = {}
    for policy, admission in (("fcfs", "off"), ("headway", "off"), ("headway", "strict")):
        answers = ask(planned, places, policy, admission).answers
        ttft_s = np.array([a.token_s[0] - a.due_s if a.token_s else np.nan for a in answers])
        limit_s = np.where(interactive, OBJECTIVE_S, BATCH_S)
        span_s = max(a.token_s[-1] for a in answers if a.token_s) - answers[0].due_s
        good = float(np.nansum(ttft_s <= limit_s)) / span_s
        tail_s = float(np.nanquantile(ttft_s[interactive], 0.99))
        name = f"{policy}, {admission}"
        figures |= {f"interactive_ttft_p99_s, {name}": tail_s, f"goodput_rps, {name}": good}
        print(
            f"load {rate_rps:g}/s, {name:16s} interactive TTFT p50 "
            f"{np.nanmedian(ttft_s[interactive]):.2f} s, P99 {tail_s:.2f} s; goodput {good:.2f}/s; "
            f"refused {np.isnan(ttft_s).sum()}; batch TTFT P99 "
            f"{np.nanquantile(ttft_s[~interactive], 0.99):.1f} s",
            flush=True,
        )
    for name in ("headway, off", "headway, strict"):
        tail = (
            figures[f"interactive_ttft_p99_s, {name}"]
            / figures["interactive_ttft_p99_s, fcfs, off"]
        )
        good = figures[f"goodput_rps, {name}"] / figures["goodput_rps, fcfs, off"]
        print(f"  {name}: P99 {tail - 1:+.0%} (bar -69%), goodput {good - 1:+.0%} (bar -10%)")
    return figures


def burst(places: int, count: int) -> dict[str, float]:
    """Compare orders on a burst of short requests among long ones.

    A smaller burst comes first: until an engine has shown that it queues nothing is held back from
    it, and so nothing is ordered.
    """
    random = np.random.default_rng(2)
    num_first = count // 2
    total = num_first + count
    short = random.random(total) < 0.7
    words = [f"place {n}" for n in random.integers(1000, size=total)]
    planned = [
        request(
            0.002 * i + (SECOND_BURST_S if i >= num_first else 0.0),
            (SHORT if short[i] else LONG)[i % 3].format(words[i]),
            int(random.integers(5, 40) if short[i] else random.integers(400, 900)),
        )
        for i in range(total)
    ]
    is_short, figures = short[num_first:], {}
    for policy in ("fcfs", "headway", "sjf"):
        answers = ask(planned, places, policy).answers[num_first:]
        e2e_s = np.array([a.token_s[-1] - a.due_s for a in answers])
        figures[f"short_p50_s, {policy}"] = float(np.median(e2e_s[is_short]))
        figures[f"long_p99_s, {policy}"] = float(np.quantile(e2e_s[~is_short], 0.99))
        print(
            f"burst of {count}, {policy:8s} short P50 {figures[f'short_p50_s, {policy}']:.2f} s, "
            f"long P99 {figures[f'long_p99_s, {policy}']:.2f} s",
            flush=True,
        )
    for policy in ("headway", "sjf"):
        short_change = figures[f"short_p50_s, {policy}"] / figures["short_p50_s, fcfs"] - 1
        long_change = figures[f"long_p99_s, {policy}"] / figures["long_p99_s, fcfs"] - 1
        print(f"  {policy}: short P50 {short_change:+.0%} (bar -70%), "
              f"long P99 {long_change:+.0%} (bar +10%)")  # fmt: skip
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=27.0, help="of the objectives' part")
    parser.add_argument("--count", type=int, default=700)
    parser.add_argument("--burst", type=int, default=120)
    parser.add_argument("--only", choices=["objectives", "burst"])
    asked = parser.parse_args()
    prefer_us()
    result: dict[str, float] = {}
    if asked.only != "burst":
        result |= objectives(16, asked.rate, asked.count)
    if asked.only != "objectives":
        result |= burst(8, asked.burst)
    print(json.dumps({"benchmark": "gateway_orders", **result}))


if __name__ == "__main__":
    main()
