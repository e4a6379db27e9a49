"""What the gateway adds: time to the first token, and CPU per streaming request.

A server with known delays stands behind it; the client and the server stamp the same clock, so
that what is between their stamps is what the network, the kernel and the gateway added. Scheduling
(the default policy and predictor) and recording are on. CPU is the gateway's own, from the kernel's
account of its process, so that other work on the machine does not enter it.

Others can be measured in turn with it: another tree of Headway (`--beside OTHER/src`), and a
gateway of any make by its command, in which the backend has no ``/v1``
(`--router "smg launch --worker-urls {backend} --port {port}"`). A ratio of two in turn means more
than a figure on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headway.load.answer import Outcome
from headway.load.clock import Known, known_server
from headway.load.plan import Planned, make_body
from headway.load.run import Server, closed_loop, run

Floats = npt.NDArray[np.float64]
Gateway = Callable[[str], AbstractContextManager[tuple[str, int]]]  # of a backend's address
TOKENS = 32
PROMPT = "Explain why the sky is blue to a child who has asked three times already, number {}."


@contextmanager
def gateway(backend: str, *options: str, source: str = "") -> Iterator[tuple[str, int]]:
    """Run ``headway serve`` in front of ``backend``; yields its address and process number.

    ``source`` is the folder of another tree's packages.
    """
    start = "from headway.cli.serve import serve; serve()"
    command = [sys.executable, "-c", start, "--backend", backend, "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": source} if source else None
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None  # asked for above
        address = re.search(r"http://[0-9.:]+/v1", process.stdout.readline())
        if address is None:
            raise SystemExit("the gateway did not start")
        yield address.group(), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


@contextmanager
def router(backend: str, command: str) -> Iterator[tuple[str, int]]:
    """Run another gateway's ``command`` in front of ``backend``; yields as `gateway` does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = command.format(backend=backend.removesuffix("/v1"), port=port).split()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/v1"
        for _ in range(150):
            time.sleep(0.2)
            with suppress(OSError), urllib.request.urlopen(url + "/models", timeout=2):
                break
        else:
            raise SystemExit(f"{words[0]} did not start")
        yield url, process.pid
    finally:
        process.terminate()
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


def _ours(
    backend: str, *, options: Sequence[str], source: str
) -> AbstractContextManager[tuple[str, int]]:
    return gateway(backend, *options, source=source)


def added_ttft(gateways: dict[str, Gateway], rounds: int) -> dict[str, float]:
    """Return the added TTFT of one stream through each, minima over rounds."""
    result: dict[str, float] = {}
    with ExitStack() as stack:
        known = stack.enter_context(known_server(0.005, 0.001, 4))
        urls = {name: stack.enter_context(start(known.url))[0] for name, start in gateways.items()}
        p50: dict[str, list[float]] = {name: [] for name in urls}
        p99: dict[str, list[float]] = {name: [] for name in urls}
        for url in urls.values():
            added_ms(url, known, 30)
        for _ in range(rounds):  # in turn, so that noise meets all alike
            direct = added_ms(known.url, known, 200)
            for name, url in urls.items():
                through = added_ms(url, known, 200)
                p50[name].append(float(np.quantile(through, 0.5) - np.quantile(direct, 0.5)))
                p99[name].append(float(np.quantile(through, 0.99) - np.quantile(direct, 0.99)))

    for name in urls:
        result[f"{name}_added_ttft_p50_ms"] = float(min(p50[name]))
        result[f"{name}_added_ttft_p99_ms"] = float(min(p99[name]))
        print(f"{name}: added TTFT, 1 stream: p50 {min(p50[name]):.2f} ms (bar 0.30), "
              f"p99 {min(p99[name]):.2f} ms (bar 0.9); rounds "
              f"{np.round(p50[name], 2).tolist()} / {np.round(p99[name], 2).tolist()}")  # fmt: skip
    return result


def cpu_per_request(gateways: dict[str, Gateway], streams: int, rounds: int) -> dict[str, float]:
    """Return the CPU per request of each at so many streams, minima over rounds."""
    costs: dict[str, list[float]] = {name: [] for name in gateways}
    with ExitStack() as stack:
        known = stack.enter_context(known_server(0.05, max(0.01, streams / 20_000), TOKENS))
        places = {name: stack.enter_context(start(known.url)) for name, start in gateways.items()}
        for url, _ in places.values():
            ask(url, known, streams, streams)
        for _ in range(rounds):
            for name, (url, pid) in places.items():
                count, before = 6 * streams, cpu_s(pid)
                ask(url, known, count, streams)
                costs[name].append(1e3 * (cpu_s(pid) - before) / count)

    for name, values in costs.items():
        print(f"{name}: CPU per request at {streams} streams: {min(values):.2f} ms (bar at 256: "
              f"0.77, annotating 0.7); runs {np.round(values, 2).tolist()}")  # fmt: skip
    return {f"{name}_cpu_ms_per_request_{streams}": min(values) for name, values in costs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--policy", default="headway")
    parser.add_argument("--streams", type=int, action="append", help="instead of 64, 256 and 512")
    parser.add_argument("--predictor", help="folder of a trained predictor, instead of the default")
    parser.add_argument("--beside", help="packages of another tree, measured in turn")
    parser.add_argument("--router", help="command of another gateway, measured in turn")
    asked = parser.parse_args()
    prefer_us()
    more = ["--policy", asked.policy]
    if asked.predictor:
        more += ["--predictor", asked.predictor]

    with tempfile.TemporaryDirectory() as folder:
        gateways: dict[str, Gateway] = {}
        for tree, source in (("ours", ""), ("beside", asked.beside)):
            for mode in ("schedule", "annotate") if source is not None else ():
                name = f"{tree}_{mode}"
                options = [*more, "--mode", mode, "--record", os.path.join(folder, f"{name}.db")]
                gateways[name] = partial(_ours, options=options, source=source)
        if asked.router:
            gateways["router"] = partial(router, command=asked.router)

        result = added_ttft(gateways, asked.rounds) if asked.rounds else {}
        for streams in asked.streams or ((64, 256) if asked.quick else (64, 256, 512)):
            result |= cpu_per_request(gateways, streams, 2 if asked.quick else 3)
    print(json.dumps({"benchmark": "gateway_overhead", **result}))


if __name__ == "__main__":
    main()
