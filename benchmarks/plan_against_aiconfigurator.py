"""The peer on the same question: aiconfigurator's `recommend` beside `headway plan`.

200 users of Llama-3.3-70B who ask without a pause, 2,000 tokens in and 400 out, first token within
2 s, 40 ms per token: how many accelerators of one kind, with vLLM? The peer answers in the mean
of a steady state, we with 90% certainty of the 95th percentiles, and with even odds beside it.

    python3 -m venv aic && aic/bin/pip install aiconfigurator==0.12.0
    python benchmarks/plan_against_aiconfigurator.py --peer aic/bin/aiconfigurator
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import time
from dataclasses import dataclass

from headway.plan.ask import plan

USERS, PROMPT, OUTPUT, TTFT_S, TPOT_S = 200, 2000, 400, 2.0, 0.040
MODEL, CHECKPOINT = "llama-3.3-70b", "meta-llama/Meta-Llama-3.1-70B"  # the same layers
SYSTEMS = {"h100": "h100_sxm", "h200": "h200_sxm", "b200": "b200_sxm"}


@dataclass(frozen=True)
class Answer:
    """A fleet in words, its accelerators, and how long the answer took."""

    fleet: str
    accelerators: int
    seconds: float


def peer_answer(command: str, system: str) -> Answer:
    """Return the smallest fleet of the peer whose engines prefill and decode."""
    words = [
        command, "cli", "recommend", "--no-color", "--backend", "vllm",
        "--model-path", CHECKPOINT, "--system", system, "--isl", str(PROMPT),
        "--osl", str(OUTPUT), "--ttft", str(1e3 * TTFT_S), "--tpot", str(1e3 * TPOT_S),
        "--target-concurrency", str(USERS),
    ]  # fmt: skip
    began = time.perf_counter()
    ran = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    seconds = time.perf_counter() - began

    _, _, tables = ran.stdout.partition("agg Top Configurations")
    row = re.search(r"^\|\s+1\s+\|.*$", tables, re.MULTILINE)
    if row is None:
        raise SystemExit(f"no answer of {command} for {system}: {ran.stderr[-300:]}")
    cells = [cell.strip() for cell in row[0].strip("|").split("|")]
    total, replicas, layout = cells[8].split()[0], cells[9], cells[12]
    return Answer(f"{replicas} x {layout}", int(total), seconds)


def our_answer(system: str, sure: float) -> Answer:
    """Return the cheapest fleet of ours that is ``sure`` to meet both at their 95th percentile."""
    began = time.perf_counter()
    answer = plan(
        MODEL,
        users=USERS,
        think=0.0,
        prompt=PROMPT,
        output=OUTPUT,
        on=system,
        engine="vllm",
        precision="bf16",
        sure=sure,
        slo=f"ttft p95 < {TTFT_S}s, tpot p95 < {TPOT_S}s",
    )
    seconds = time.perf_counter() - began
    best = answer.best
    if best is None:
        raise SystemExit(f"nothing of {system} meets the objectives")
    return Answer(f"{best.replicas} x {best.layout}", best.num_accelerators, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description="The same question to aiconfigurator and to us.")
    parser.add_argument("--peer", default="aiconfigurator", help="its command")
    options = parser.parse_args()

    our_answer("h100", 0.9)  # compiled code and coefficients are loaded once
    print("| accelerator | aiconfigurator | s | ours, even odds | s | ours, 90% sure | s |")
    print("|---|---|---|---|---|---|---|")
    for name, system in SYSTEMS.items():
        answers = [peer_answer(options.peer, system), our_answer(name, 0.5), our_answer(name, 0.9)]
        cells = [f"{a.accelerators} ({a.fleet}) | {a.seconds:.1f}" for a in answers]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
