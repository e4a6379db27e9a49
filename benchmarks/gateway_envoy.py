"""What a decision costs where Envoy carries the bytes: CPU of the picker, and of Envoy.

256 streams of a server with known delays, through `headway serve --through envoy` with the default
policy, predictor and record, at answers of 4 and of 1,000 tokens: the picker's cost must not grow
with them. Then the same picker in full duplex, as a cluster's gateway dictates it, at 200 tokens.
CPU is the processes' own, from the kernel's account, so that other work on the machine enters it
only by its effect on caches and batches; less what each takes in that time without requests (health
checks, sweeps), which has nothing to do with how many there are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.gateway_overhead import added_ms, cpu_s, gateway, prefer_us

from headway.gateway.config import GatewayConfig
from headway.gateway.envoy import configuration
from headway.gateway.envoy.gateway import resolve
from headway.gateway.envoy.messages import ENDPOINT
from headway.gateway.envoy.process import EnvoyProcess
from headway.gateway.pools import Endpoint
from headway.load.clock import Known, known_server
from headway.load.plan import Planned, make_body
from headway.load.run import Server, closed_loop, run

PROMPT = "Explain why the sky is blue to a child who has asked three times already, number {}."
STREAMS = 256
IDLE_S = 4.0
TOKENS_PER_S = 12_000  # of the known server, beside other work


def plan(count: int, tokens: int) -> list[Planned]:
    return [
        Planned(0.0, make_body(PROMPT.format(i), "known", "chat", tokens), 20) for i in range(count)
    ]


def write_cluster_gateway(
    envoy: EnvoyProcess, config: GatewayConfig, address: tuple[str, int]
) -> None:
    """Write an Envoy as a cluster's gateway configures it: everything streams both ways.

    It asks the picker at ``address`` about all requests, and goes where a header says.
    """
    listener = configuration.listener(config, 0)
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["access_log"], manager["local_reply_config"]
    everything = manager["route_config"]["virtual_hosts"][0]["routes"][-1]
    everything["route"]["cluster"] = "engines"
    del everything["typed_per_filter_config"]

    asks = next(f for f in manager["http_filters"] if f["name"] == "ext_proc")["typed_config"]
    asks["failure_mode_allow"] = False
    asks["processing_mode"] = {
        f"{side}_{part}_mode": "FULL_DUPLEX_STREAMED" if part == "body" else "SEND"
        for side in ("request", "response")
        for part in ("header", "body", "trailer")
    }
    envoy.write("listeners", configuration.resources("Listener", [listener]))

    start = configuration.bootstrap(envoy.folder, max_connections=10_000)
    (asked,) = start["static_resources"]["clusters"]
    socket_address = {"address": address[0], "port_value": address[1]}
    asked["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = {
        "socket_address": socket_address
    }
    envoy.write("bootstrap", start)

    clusters = configuration.clusters(config, resolve(config), own_port=9)
    policy = clusters[1]["load_balancing_policy"]["policies"][0]["typed_extension_config"]
    policy["typed_config"]["override_host_sources"] = [{"header": ENDPOINT}]
    envoy.write("clusters", configuration.resources("Cluster", clusters))


def envoy_of(pid: int) -> int:
    """Return the process number of the Envoy that ``pid`` has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        if re.search(r"envoy", Path(f"/proc/{child}/comm").read_text()):
            return int(child)
    raise SystemExit("there is no Envoy")


def costs_ms(url: str, pids: list[int], *, streams: int, count: int, tokens: int) -> list[float]:
    """CPU milliseconds per request of each process, beyond what it takes doing nothing."""
    idle, began_s = idle_ms_per_s(pids), monotonic()
    before = [cpu_s(pid) for pid in pids]
    outcome = run(lambda: closed_loop(Server(url), plan(count, tokens), streams))
    failed = [answer.problem for answer in outcome.answers if answer.problem]
    if failed:
        raise SystemExit(f"{len(failed)} requests failed: {failed[0]}")
    wall_s = monotonic() - began_s
    rows = zip(pids, before, idle, strict=True)
    return [(1e3 * (cpu_s(pid) - then) - wall_s * own) / count for pid, then, own in rows]


def idle_ms_per_s(pids: list[int]) -> list[float]:
    """CPU milliseconds that each process takes in a second without a request."""
    before = [cpu_s(pid) for pid in pids]
    sleep(IDLE_S)
    return [1e3 * (cpu_s(pid) - then) / IDLE_S for pid, then in zip(pids, before, strict=True)]


@contextmanager
def through_envoy(tokens: int, *, streams: int) -> Iterator[tuple[str, list[int], Known]]:
    """Yield address, processes (picker, Envoy) and the known server behind them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        known_server(0.05, streams / TOKENS_PER_S, tokens) as known,
    ):
        options = ["--through", "envoy", "--record", os.path.join(folder, "live.db")]
        with gateway(known.url, *options) as (url, pid):
            yield url, [pid, envoy_of(pid)], known


async def full_duplex_ms(folder: Path, *, tokens: int, count: int) -> list[float]:
    """CPU milliseconds per request of the picker and of Envoy where all bytes cross both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with known_server(0.05, STREAMS / TOKENS_PER_S, tokens) as known:
        options = ["--as", "picker", "--picker-address", f"127.0.0.1:{port}"]
        with gateway(known.url, *options, "--record", str(folder / "duplex.db")) as (_, pid):
            envoy = EnvoyProcess(folder / "envoy", print)
            envoy.folder.mkdir()
            config = GatewayConfig((Endpoint(known.url, max_inflight=10_000),))
            write_cluster_gateway(envoy, config, ("127.0.0.1", port))
            url = f"http://127.0.0.1:{await envoy.start()}/v1"
            pids = [pid, envoy_of(os.getpid())]

            def ask(number: int, length: int) -> list[float]:
                return costs_ms(url, pids, streams=STREAMS, count=number, tokens=length)

            await asyncio.to_thread(ask, STREAMS, 4)
            costs = await asyncio.to_thread(ask, count, tokens)
            await envoy.stop()
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=768, help="of each round")
    parser.add_argument("--tokens", default="4,32,1000", help="of an answer")
    asked = parser.parse_args()
    prefer_us()
    result: dict[str, float] = {}

    # In turn, through one and the same gateway: what else the machine does meets all alike.
    lengths = [int(text) for text in asked.tokens.split(",")]
    rounds: dict[int, list[list[float]]] = {tokens: [] for tokens in lengths}
    with through_envoy(max(lengths), streams=STREAMS) as (url, pids, _):
        costs_ms(url, pids, streams=STREAMS, count=2 * STREAMS, tokens=4)
        for _ in range(asked.rounds):
            for tokens in lengths:
                count = asked.requests if tokens < 500 else STREAMS
                cost = costs_ms(url, pids, streams=STREAMS, count=count, tokens=tokens)
                rounds[tokens].append(cost)
    for tokens, costs in rounds.items():
        picker, envoy = np.median(costs, axis=0)
        result[f"picker_ms_{tokens}"], result[f"envoy_ms_{tokens}"] = float(picker), float(envoy)
        each = ", ".join(f"{cost[0]:.3f}" for cost in costs)
        print(f"{tokens:>5} tokens, {STREAMS} streams: picker {picker:.3f} ms of CPU a request "
              f"(bar 0.8; rounds {each}), Envoy {envoy:.2f} ms")  # fmt: skip

    with through_envoy(4, streams=1) as (url, _, known):
        added_ms(url, known, 30)
        ours = np.quantile(added_ms(url, known, 200), [0.5, 0.99])
        direct = np.quantile(added_ms(known.url, known, 200), [0.5, 0.99])
    result["added_ttft_p50_ms"], result["added_ttft_p99_ms"] = (ours - direct).tolist()
    print(f"added TTFT, 1 stream: p50 {ours[0] - direct[0]:.2f} ms, p99 {ours[1] - direct[1]:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        picker, envoy = asyncio.run(full_duplex_ms(Path(folder), tokens=200, count=2 * STREAMS))
    result["full_duplex_picker_ms_200"], result["full_duplex_envoy_ms_200"] = picker, envoy
    print(f"full duplex, 200 tokens: picker {picker:.2f} ms of CPU a request (bar 10), "
          f"Envoy {envoy:.2f} ms")  # fmt: skip
    print(json.dumps({"benchmark": "gateway_envoy", **result}))


if __name__ == "__main__":
    main()
