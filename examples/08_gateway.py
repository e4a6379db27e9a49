"""A gateway in front of an engine that takes as long as an H100 would; no GPU is needed.

The three commands that a person would type, each in a process of its own: an engine, a gateway
that orders requests by predicted length, and a load that measures them.
"""

import re
import subprocess
import sys

import headway as hw

HEADWAY = (sys.executable, "-m", "headway.cli.main")


def start(*arguments: str) -> tuple["subprocess.Popen[str]", str]:
    """Start a server of ours; return it and its address."""
    process = subprocess.Popen(
        [*HEADWAY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        address = re.search(r"http://127\.0\.0\.1:[1-9]\d*", line)
        if address:
            return process, f"{address[0]}/v1"
    raise SystemExit(f"{arguments[0]} did not start")


engine, engine_url = start(
    "engine", "--runtime", "timed", "--on", "llama-3.1-8b@h100", "--port", "0"
)
gateway, gateway_url = start("serve", "--backend", engine_url, "--policy", "sjf", "--port", "0")
plan = hw.LoadPlan(prompt=200, output=40, concurrency=(8,), num_requests=40)
row = hw.load_test(gateway_url, plan).rows[0]
for process in (gateway, engine):
    process.terminate()
    process.wait()

print(f"{row.requests} requests, {row.unfinished} unfinished")
assert isinstance(row.tpot_p50_s, hw.Estimate)
# A lone sequence decodes no faster than the weights can be read: 16 GB at 3.35 TB/s.
print(f"no token came faster than an H100 reads the weights: {row.tpot_p50_s.lower > 0.0047}")
