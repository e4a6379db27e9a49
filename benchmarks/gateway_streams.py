"""Ten thousand streams at once through one gateway: nothing lost, memory per stream, no growth.

Then a soak: many short requests in a row, bounded in count, and the memory before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.gateway_overhead import gateway, plan, prefer_us

from headway.load.answers import Count
from headway.load.clock import known_server
from headway.load.run import Server, closed_loop, run


def memory_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--soak", type=int, default=40_000, help="requests of the soak")
    asked = parser.parse_args()
    prefer_us()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (65_536, max(hard, 65_536)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Each stream is two sockets of the gateway's.
    streams = min(asked.streams, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2)
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        record = os.path.join(folder, "live.db")
        config = Path(folder) / "headway.toml"
        # 4 tokens over 30 s: what is measured is holding them, not the token rate.
        with known_server(20.0, 5.0, 3) as known:
            config.write_text(f'[[backend]]\nurl = "{known.url}"\nmax_inflight = 100000\n')
            options = ["--config", str(config), "--policy", "fcfs", "--mode", "annotate"]
            with gateway(known.url, *options, "--record", record) as (url, pid):
                warm = plan(100)
                run(lambda: closed_loop(Server(url), warm, 100))
                before = memory_bytes(pid)
                most = [before]

                def tick(count: Count) -> None:
                    most.append(memory_bytes(pid))

                outcome = run(
                    lambda: closed_loop(Server(url), plan(streams), streams, tick=tick, ramp_s=15.0)
                )
                failed = [a.problem for a in outcome.answers if a.problem]
                per_stream = (max(most) - before) / streams
                result["streams"] = streams
                result["lost"] = len(failed)
                result["memory_per_stream_bytes"] = per_stream
                print(f"{streams:,} streams: {len(failed)} lost, {per_stream / 1e3:.1f} kB each "
                      f"(bar 50){': ' + failed[0] if failed else ''}")  # fmt: skip
        with known_server(0.002, 0.0005, 4) as known:
            options = ["--policy", "fcfs", "--record", os.path.join(folder, "soak.db")]
            with gateway(known.url, *options) as (url, pid):
                sizes = []
                for _ in range(8):
                    part = plan(asked.soak // 8)
                    outcome = run(lambda p=part: closed_loop(Server(url), p, 64))  # type: ignore[misc]
                    result["lost"] += sum(bool(a.problem) for a in outcome.answers)
                    sizes.append(memory_bytes(pid) / 1e6)
                growth = sizes[-1] - sizes[2]
                result["soak_growth_mb"] = growth
                print(f"soak of {asked.soak:,} requests: memory {[round(s, 1) for s in sizes]} MB, "
                      f"{growth:+.1f} MB over the last five eighths")  # fmt: skip
    print(json.dumps({"benchmark": "gateway_streams", **result}))


if __name__ == "__main__":
    main()
