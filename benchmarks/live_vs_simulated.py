"""The proof of the whole: a real engine behind our gateway, beside the simulation of the same run.

    python benchmarks/live_vs_simulated.py --results FILE   # needs the extras openvino, serve, load

1. OpenVINO GenAI with random weights is profiled: decode steps by batch and context, requests that
   join a running batch. The first profile sets the rate of the requests.
2. Each round sends, through the gateway: the trace, first come first served; the trace, shortest
   predicted work first; the same with its predictions shuffled; and between them, other requests
   (like sizes in another order). The engine logs its steps. Lengths are those of a real trace.
3. The simulator serves the same trace with the same predictions and policies, on step times that
   were fitted three ways: to the profile beforehand; to the log of the *other* requests right
   before and after (ABBA: the machine drifts by 10% within minutes); and to the run's own steps,
   which leaves what is wrong with the simulator alone.

Near saturation a step 1% slower makes the wait 5% longer, so the load is well above it: there waits
are in proportion to the steps, and an error of the simulator is not hidden by one of the machine.
A round takes about two minutes, and is a line of FILE: cut it whenever you like, and go on.

The true length of an answer reaches the engine in a header that the gateway passes on unread; the
gateway is given the simulator's own seeded predictions, by prompt. The engine computes on a core of
its own; its sockets, the gateway and the load share another.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from headway.engines.batch import Batcher
from headway.engines.openvino import OpenVinoPipeline
from headway.engines.profiled import ProfiledPipeline
from headway.engines.server import EngineServer
from headway.engines.server import serve as serve_engine
from headway.engines.steplog import LoggedPipeline, Row, as_steps
from headway.engines.tiny import TINY_RANDOM
from headway.engines.vocabulary import ByteVocabulary
from headway.gateway.config import Fairness, GatewayConfig
from headway.gateway.pools import Endpoint
from headway.gateway.server.serve import serve as serve_gateway
from headway.http.openai import COMPLETIONS
from headway.ideal.estimator import fit_measured_passes
from headway.load.answer import Outcome
from headway.load.measure import summarize
from headway.load.plan import Planned, make_body
from headway.load.run import Server, open_loop, run
from headway.machine import go_first, real_time
from headway.measure.harness import measure
from headway.measure.measurement import (
    Clock,
    JoinLoad,
    Load,
    Measurement,
    RequestLoad,
    Setup,
    StepLoad,
    this_host,
)
from headway.predict.prediction import LEVELS, LengthPrediction
from headway.report.estimate import Estimate
from headway.schedule.order import Fcfs, Keys, OrderPolicy, Policy, ShortestJob
from headway.schedule.view import ServiceTime, View
from headway.sim.engine import Engine
from headway.sim.laws import check as check_laws
from headway.sim.outcome import simulate_trace
from headway.sim.predictions import quantiles, shuffled, view_of
from headway.sim.site import Pool, Site, share_of_work
from headway.sim.times import tabulate
from headway.sim.world import Floats
from headway.steptime.fitted import FittedStepTime, fit_step_log
from headway.workload.aggregate import Latency
from headway.workload.oracle import Trace
from headway.workload.profile import find_profile
from headway.workload.request import Request

SLOTS, BUDGET = 8, 512
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CAP = 2048  # max_tokens of every request: says nothing about any of them
Rows = dict[str, tuple[float, ...]]  # predicted quantiles by prompt
LOADS: list[Load] = [
    *(StepLoad(b, 1, c) for b in (1, 2, 4, 8) for c in (32, 256)),
    *(JoinLoad(b, 64, p, o) for b, p, o in ((1, 32, 8), (4, 64, 8), (6, 300, 4), (7, 128, 8))),
    *(RequestLoad(1, p, o) for p, o in ((16, 4), (64, 1), (450, 4))),
]


@dataclass(frozen=True, slots=True)
class Priced(Policy):
    """A policy that takes requests to cost what was profiled, here and in the gateway."""

    policy: OrderPolicy
    service: ServiceTime

    @property
    def name(self) -> str:
        """The policy's."""
        return self.policy.name

    def keys(self, view: View) -> Keys:
        """The policy's, at these costs."""
        return self.policy.keys(replace(view, service=self.service))


class Told:
    """A predictor that was told a prediction for each prompt, and nothing else."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        """What was told; something for a prompt that it was not told of, such as a warm-up."""
        some = (1.0,) * len(LEVELS)
        found = (self._rows.get(request.prompt, some) for request in requests)
        return [LengthPrediction(tuple(zip(LEVELS, row, strict=True))) for row in found]

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn nothing: the skill is to stay as it was stated."""


# the processes


def engine_process(control: Connection, pipe: Connection) -> None:
    """Profile, then compute for whoever is at the other end of ``pipe``; on core 0."""
    real_time()
    os.sched_setaffinity(0, {0})
    pipeline = OpenVinoPipeline(TINY_RANDOM, "tiny-random", BUDGET)
    setup = Setup("tiny-random", "OpenVINO GenAI", "cpu", threads=1, host=this_host())
    profiled = ProfiledPipeline(pipeline, setup, BUDGET)
    control.send(measure(profiled, LOADS, trials=2, clock=Clock.WALL))
    profiled.clear()
    logged = LoggedPipeline(pipeline, BUDGET)

    def tell() -> None:
        while control.recv():
            rows, logged.rows = logged.rows, []
            control.send(rows)

    threading.Thread(target=tell, daemon=True).start()
    Batcher(logged, SLOTS).run(pipe)


def socket_process(control: Connection, pipe: Connection) -> None:
    """OpenAI's API in front of the engine."""
    size = TINY_RANDOM["vocab_size"]
    assert isinstance(size, int)  # it is written in this package
    server = EngineServer(pipe, "tiny-random", vocabulary=ByteVocabulary(size))
    serve_engine(server, "127.0.0.1", 0, control.send)


def gateway_process(pipe: Connection, url: str, policy: OrderPolicy, rows: Rows) -> None:
    """Give the engine what it can run and no more: the queue is here, in our order."""
    config = GatewayConfig(
        (Endpoint(url, max_inflight=SLOTS),), policy, port=0,
        fairness=Fairness(patience_s=3600.0),
    )  # fmt: skip
    serve_gateway(config, Told(rows), started=pipe.send)


def last_core() -> int:
    return (os.cpu_count() or 1) - 1


@contextmanager
def process(function: Any, *arguments: Any) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=function, args=(theirs, *arguments))
    child.start()
    try:
        yield ours
    finally:
        if child.pid is not None and child.is_alive():
            os.kill(child.pid, signal.SIGTERM)
        child.join(60)


# what is asked


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A trace with its prompts: of exactly so many tokens, since small letters are one each."""

    trace: Trace
    prompts: tuple[str, ...]

    @classmethod
    def drawn(cls, given: argparse.Namespace, seed: int, rate_rps: float) -> Asked:
        """Requests of the workload with its lengths divided, and prompts of random letters."""
        drawn = find_profile(given.workload).generate(seed, given.requests, rate_rps)
        prompt = np.clip(-(-drawn.prompt_tokens // given.scale[0]), 8, BUDGET - SLOTS)
        output = np.clip(-(-drawn.output_tokens // given.scale[1]), 1, CAP // 2)
        random = np.random.default_rng([seed, 21])
        letters = (bytes(random.integers(97, 123, n).tolist()).decode() for n in prompt)
        return cls(Trace(drawn.arrival_s, prompt, output, drawn.name), tuple(letters))

    def elsewhen(self, seed: int) -> Asked:
        """Half of the requests in another order and with other letters: new ones to the engine."""
        half = len(self.prompts) // 2
        order = np.random.default_rng([seed, 22]).permutation(len(self.prompts))[:half]
        trace = self.trace
        shifted = str.maketrans(LETTERS, LETTERS[seed % 26 :] + LETTERS[: seed % 26])
        prompts = tuple(self.prompts[i].translate(shifted)[::-1] for i in order)
        mixed = Trace(
            trace.arrival_s[:half], trace.prompt_tokens[order], trace.output_tokens[order]
        )
        return Asked(mixed, prompts)

    def told(self, rows: Floats) -> Rows:
        """``rows`` of predictions by prompt."""
        return dict(zip(self.prompts, map(tuple, rows.tolist()), strict=True))

    def ask(self, url: str, policy: OrderPolicy, rows: Floats) -> Outcome:
        """Send it through a gateway; raise unless every answer came once, with all its tokens."""
        lengths = self.trace.output_tokens.tolist()
        planned = [
            Planned(due_s, make_body(text, "tiny-random", COMPLETIONS, CAP), len(text),
                    b"x-engine-tokens: %d\r\n" % tokens)
            for due_s, text, tokens in zip(
                self.trace.arrival_s.tolist(), self.prompts, lengths, strict=True
            )
        ]  # fmt: skip
        with process(gateway_process, url, policy, self.told(rows)) as gateway:
            server = Server(f"http://127.0.0.1:{gateway.recv()}/v1", COMPLETIONS)
            outcome = run(lambda: open_loop(server, planned))
        seen = [len(answer.token_s) for answer in outcome.answers]
        counted = [answer.output_tokens for answer in outcome.answers]
        if outcome.problems or not seen == counted == lengths:
            raise SystemExit(f"answers were lost or cut: {outcome.problems}")
        return outcome


# what is told


def simulated_engine(times: FittedStepTime) -> Site:
    """Asynchronous: a place that falls free in one step is filled from outside after the next."""
    engine = Engine(SLOTS, BUDGET, num_kv_blocks=4096, asynchronous=True)
    return Site((Pool(engine, tabulate(times, engine)),))


def of_mean(measurements: tuple[Measurement, ...]) -> FittedStepTime:
    """A fit to the means of trials, disturbances and all: a run meets those as well."""
    usual = [replace(m, trials_s=(float(np.mean(m.trials_s)),)) for m in measurements]
    return fit_measured_passes(usual)


def saturation_rps(trace: Trace, cluster: Site) -> float:
    """Requests per second of the middle of a run in which all are there at once."""
    at_once = Trace(np.zeros(len(trace)), trace.prompt_tokens, trace.output_tokens)
    ends = np.sort(simulate_trace(at_once, cluster).records.last_s)
    low, high = len(ends) // 5, 4 * len(ends) // 5
    return float((high - low) / (ends[high] - ends[low]))


def _value(latency: Latency) -> float:
    return latency.expected if isinstance(latency, Estimate) else latency or 0.0


def live_figures(outcome: Outcome, log: list[Row]) -> dict[str, float]:
    row = summarize(outcome)
    return {
        "e2e_mean_s": _value(row.e2e_mean_s),
        "e2e_p99_s": _value(row.e2e_p99_s),
        "ttft_mean_s": _value(row.ttft_mean_s),
        "late_p99_s": row.late_p99_s or 0.0,
        "steps": len(log),
        "empty_places": float(np.mean([SLOTS - len(parts) for _, parts in log[: len(log) // 2]])),
        "step_s": float(np.mean([seconds for seconds, _ in log])),
    }


def simulated_figures(
    asked: Asked, times: FittedStepTime, policy: OrderPolicy, rows: Floats
) -> dict[str, float]:
    outcome = simulate_trace(
        asked.trace, simulated_engine(times), policy, view_of(asked.trace, rows)
    )
    check_laws(outcome)
    records, engine = outcome.records, outcome.replicas[0]
    return {
        "e2e_mean_s": float(records.e2e_s.mean()),
        "e2e_p99_s": float(np.quantile(records.e2e_s, 0.99)),
        "ttft_mean_s": float(records.ttft_s.mean()),
        "steps": float(engine["steps_done"]),
        "step_s": float(engine["busy_ns"] / engine["steps_done"]) * 1e-9,
    }


Figures = dict[str, float]
WAYS = ("live", "profile", "others", "own")  # what is measured, and what is simulated on
Round = dict[str, dict[str, Figures]]  # by policy, then by way
Cases = dict[str, tuple[OrderPolicy, Floats]]


@dataclass(slots=True)
class Bench:
    """The engine, how it is asked, and its log of the last other requests."""

    engine: Connection
    url: str
    asked: Asked
    profile: FittedStepTime
    before: list[Row]

    def log(self) -> list[Row]:
        """Return what the engine did since the last time."""
        self.engine.send("log")
        rows: list[Row] = self.engine.recv()
        return rows

    def others(self, number: int) -> list[Row]:
        """Send other requests; return the log of them."""
        some = self.asked.elsewhen(number)
        some.ask(self.url, Fcfs(), np.ones((len(some.prompts), len(LEVELS))))
        return self.log()

    def round(self, cases: Cases, number: int) -> Round:
        """Send the trace in every order, with other requests after each."""
        figures: Round = {}
        for place, (name, (policy, rows)) in enumerate(cases.items(), 1):
            outcome = self.asked.ask(self.url, policy, rows)
            steps, after = self.log(), self.others(10 * number + place)
            times = {
                "profile": self.profile,
                "others": fit_step_log(*as_steps(self.before + after)),
                "own": fit_step_log(*as_steps(steps)),
            }
            self.before = after
            figures[name] = {"live": live_figures(outcome, steps)} | {
                way: simulated_figures(self.asked, fit, policy, rows) for way, fit in times.items()
            }
            print_run(name, figures[name])
        return figures


def error(run: dict[str, Figures], way: str) -> float:
    """By how much the simulated mean e2e is off."""
    return run[way]["e2e_mean_s"] / run["live"]["e2e_mean_s"] - 1


def print_run(name: str, run: dict[str, Figures]) -> None:
    live = run["live"]
    off = ", ".join(f"{way} {error(run, way):+.1%}" for way in WAYS[1:])
    steps = " / ".join(f"{1e3 * run[way]['step_s']:.1f}" for way in WAYS)
    print(
        f"  {name:<14} mean e2e {live['e2e_mean_s']:6.3f} s; on {off}; steps of {steps} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workload", default="servegen-chat")
    parser.add_argument("--requests", type=int, default=80)
    parser.add_argument("--load", type=float, default=1.5, help="of what the engine can do")
    parser.add_argument("--tau", type=float, default=0.4, help="skill of the predictions")
    parser.add_argument("--scale", type=int, nargs=2, default=(16, 2), help="prompts, answers")
    parser.add_argument("--rounds", type=int, default=5, help="in all, those of the file included")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, required=True, help="a line a round; gone on with")
    given = parser.parse_args()
    lines = given.results.read_text().splitlines() if given.results.exists() else []
    rounds: list[Round] = [json.loads(line)["round"] for line in lines]
    if len(rounds) < given.rounds:
        measure_rounds(given, rounds, json.loads(lines[0])["rate_rps"] if lines else None)
    show(rounds)


def measure_rounds(given: argparse.Namespace, rounds: list[Round], rate_rps: float | None) -> None:
    """Add the rounds that are missing, and write each down as soon as it is there."""
    go_first()
    os.sched_setaffinity(0, {last_core()})
    one, other = multiprocessing.get_context("spawn").Pipe()
    with process(engine_process, one) as engine, process(socket_process, other) as sockets:
        profile = of_mean(engine.recv())
        cluster = simulated_engine(profile)
        if rate_rps is None:
            saturated = saturation_rps(Asked.drawn(given, given.seed, 1.0).trace, cluster)
            rate_rps = given.load * saturated
        asked = Asked.drawn(given, given.seed, rate_rps)
        service = share_of_work(cluster.pools[0], asked.trace)
        rows = quantiles(asked.trace.output_tokens, given.tau, given.seed)
        shortest = Priced(ShortestJob(), service)
        cases: Cases = {
            "fcfs": (Fcfs(), rows),
            "sjf": (shortest, rows),
            "sjf, shuffled": (shortest, shuffled(rows, given.seed)),
        }
        print(
            f"{given.workload} / {given.scale}: {given.requests} requests, {rate_rps:.2f}/s, mean "
            f"prompt {asked.trace.prompt_tokens.mean():.0f} and answer "
            f"{asked.trace.output_tokens.mean():.0f} tokens, tau {given.tau:g}"
        )

        url = f"http://127.0.0.1:{sockets.recv()}/v1"
        one.close()
        other.close()
        bench = Bench(engine, url, asked, profile, [])
        bench.others(9)  # shapes that the engine has not met yet take it longer
        bench.before = bench.others(0)
        for number in range(len(rounds), given.rounds):
            print(f"round {number + 1}")
            # Each policy is first, second and last in turn.
            turned = list(cases.items())[number % 3 :] + list(cases.items())[: number % 3]
            rounds.append(bench.round(dict(turned), number + 1))
            with given.results.open("a") as file:
                file.write(json.dumps({"rate_rps": rate_rps, "round": rounds[-1]}) + "\n")


def show(rounds: list[Round]) -> None:
    names = sorted(rounds[0])
    result: dict[str, Figures] = {}
    print(f"\n{len(rounds)} rounds: simulated mean e2e against live, mean of runs and worst run")
    for way in WAYS[1:]:
        for name in names:
            live_s = float(np.mean([r[name]["live"]["e2e_mean_s"] for r in rounds]))
            told_s = float(np.mean([r[name][way]["e2e_mean_s"] for r in rounds]))
            worst = max((error(r[name], way) for r in rounds), key=abs)
            result[f"{way}: {name}"] = {
                "live_s": live_s, "simulated_s": told_s, "off": told_s / live_s - 1, "worst": worst,
            }  # fmt: skip
            print(
                f"on {way:<8} {name:<14}{live_s:8.3f} s live{told_s:9.3f} s simulated"
                f"{told_s / live_s - 1:>+8.1%}{worst:>+8.1%}"
            )
    for name in names:
        against = [
            np.mean([r[name][way]["e2e_mean_s"] / r["fcfs"][way]["e2e_mean_s"] for r in rounds]) - 1
            for way in ("live", "others", "own")
        ]
        if name != "fcfs":
            live, others, own = (f"{value:+.1%}" for value in against)
            print(f"{name} against fcfs: {live} live, {others} on others' steps, {own} on its own")
    print(json.dumps({"benchmark": "live_vs_simulated", "rounds": len(rounds), **result}))


if __name__ == "__main__":
    main()
