"""What the gateway adds: time to the first token, and CPU per streaming request.

A server with known delays stands behind it; the client and the server stamp the same clock, so
that what is between their stamps is what the network, the kernel and the gateway added. Scheduling
(the default policy and predictor) and recording are on. CPU is the gateway's own, from the kernel's
account of its process, so that other work on the machine does not enter it.

Peers, on their own machine (docs/gateway.md): a Rust router 0.77 CPU ms per request at 256 streams,
a bare Starlette proxy 0.80, vLLM's production-stack router 1.73, LiteLLM 34.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headway.load.answer import Outcome
from headway.load.clock import Known, known_server
from headway.load.plan import Planned, make_body
from headway.load.run import Server, closed_loop, run

Floats = npt.NDArray[np.float64]
TOKENS = 32
PROMPT = "Explain why the sky is blue to a child who has asked three times already, number {}."


@contextmanager
def gateway(backend: str, *options: str) -> Iterator[tuple[str, int]]:
    """Run ``headway serve`` in front of ``backend``; yields its address and process number."""
    start = "from headway.cli.serve import serve; serve()"
    command = [sys.executable, "-c", start, "--backend", backend, "--port", "0"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # asked for above
        found = re.search(r"http://[0-9.:]+/v1", process.stdout.readline())
        if found is None:
            raise SystemExit("the gateway did not start")
        yield found.group(), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process so far."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total * 1e-9


def prefer_us() -> None:
    """Ask the kernel to let this run before other work, so that only this is measured."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    with suppress(OSError):  # where each session is a group of its own
        Path("/proc/self/autogroup").write_text("-15")


def plan(count: int) -> list[Planned]:
    return [
        Planned(0.0, make_body(PROMPT.format(i), "known", "chat", TOKENS), 20) for i in range(count)
    ]


def ask(url: str, known: Known, count: int, streams: int) -> tuple[Outcome, Floats]:
    known.ttfts_s()
    outcome = run(lambda: closed_loop(Server(url), plan(count), streams))
    failed = [a.problem for a in outcome.answers if a.problem]
    if failed:
        raise SystemExit(f"{len(failed)} requests failed: {failed[0]}")
    return outcome, np.array(known.ttfts_s())


def added_ms(url: str, known: Known, count: int) -> Floats:
    """Client's TTFT less the server's own, request by request, one at a time."""
    outcome, truth = ask(url, known, count, 1)
    ours = np.array([a.token_s[0] - a.sent_s for a in outcome.answers])
    return np.asarray(1e3 * (ours - truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--policy", default="headway")
    parser.add_argument("--mode", choices=["schedule", "annotate"], default="schedule")
    parser.add_argument("--predictor", help="folder of a trained predictor, instead of the default")
    asked = parser.parse_args()
    prefer_us()
    result: dict[str, float] = {}
    more = ["--policy", asked.policy, "--mode", asked.mode]
    if asked.predictor:
        more += ["--predictor", asked.predictor]
    with tempfile.TemporaryDirectory() as folder, known_server(0.005, 0.001, 4) as known:
        options = [*more, "--record", os.path.join(folder, "live.db")]
        with gateway(known.url, *options) as (url, _):
            added_ms(url, known, 30)
            p50, p99 = [], []
            for _ in range(asked.rounds):  # alternating, so that noise meets both alike
                direct, through = added_ms(known.url, known, 200), added_ms(url, known, 200)
                p50.append(np.quantile(through, 0.5) - np.quantile(direct, 0.5))
                p99.append(np.quantile(through, 0.99) - np.quantile(direct, 0.99))
            result["added_ttft_p50_ms"] = float(min(p50))
            result["added_ttft_p99_ms"] = float(min(p99))
            print(f"added TTFT, 1 stream: p50 {min(p50):.2f} ms (bar 0.6), "
                  f"p99 {min(p99):.2f} ms (bar 1.5); "
                  f"rounds {np.round(p50, 2).tolist()} / {np.round(p99, 2).tolist()}")  # fmt: skip
    for streams in (64, 256) if asked.quick else (64, 256, 512):
        itl_s = max(0.01, streams / 20_000)
        with tempfile.TemporaryDirectory() as folder, known_server(0.05, itl_s, TOKENS) as known:
            options = [*more, "--record", os.path.join(folder, "live.db")]
            with gateway(known.url, *options) as (url, pid):
                ask(url, known, streams, streams)
                costs = []
                for _ in range(2 if asked.quick else 3):
                    count, before = 6 * streams, cpu_s(pid)
                    ask(url, known, count, streams)
                    costs.append(1e3 * (cpu_s(pid) - before) / count)
                result[f"cpu_ms_per_request_{streams}"] = min(costs)
                print(f"CPU per request at {streams} streams: {min(costs):.2f} ms "
                      "(bar 1.0 at 256); "
                      f"runs {np.round(costs, 2).tolist()}")  # fmt: skip
    result["cpu_ratio_to_rust_router"] = result["cpu_ms_per_request_256"] / 0.77
    print(json.dumps({"benchmark": "gateway_overhead", **result}))


if __name__ == "__main__":
    main()
