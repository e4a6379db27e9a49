"""How many configurations of the default model a CPU second prices, and what a cold start costs.

A configuration is one layout with one batch: counted, priced, checked for memory, turned into speed
and cost. The limit beside it is NumPy's own: one fused multiply-add over as many numbers.

Run: python benchmarks/frontier_speed.py
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from headway.frontier.question import Question
from headway.frontier.search import search
from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model, find_precision
from headway.money.tariff import usd_per_mtok
from headway.steptime.deployment import Deployment
from headway.steptime.forward import forward
from headway.steptime.layouts import layouts
from headway.steptime.roofline import EXPECTED, time_of
from headway.steptime.speculative import Speculation
from headway.workload.step import Step

REPEATS = 5
TARGET_PER_S = 1e6


def least_cpu_s(work: Callable[[], object]) -> float:
    """The least CPU time of several runs."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def configurations(name: str) -> dict[str, float | str]:
    """Price many batches on every layout of up to 1,024 H200."""
    model, cluster = find_model(name), find_cluster("h200")
    layout = layouts(model, cluster)
    sizes = np.unique(np.round(np.geomspace(1, 2**18, 2000)))
    deployment = Deployment(model, cluster, parallelism=layout, precision=find_precision(name))
    step = Step.decode(sizes, 4096)

    def run() -> None:
        work = forward(model, deployment.precision, layout, step)
        seconds = time_of(work, cluster, EXPECTED).total_s
        deployment.fits(sizes, 4097)
        usd_per_mtok(cluster, layout.num_accelerators, sizes / seconds)

    count = layout.tp.size * sizes.size
    one, two = np.random.default_rng(0).random((2, count))
    seconds, limit = least_cpu_s(run), least_cpu_s(lambda: one * two + one)
    return {
        "what": f"configurations of {name}",
        "count": count,
        "per_cpu_s": count / seconds,
        "ratio_to_target": count / seconds / TARGET_PER_S,
        "times_one_multiply_add": seconds / limit,
    }


def whole_search(name: str, draft: str | None, engine: str | None = None) -> dict[str, float | str]:
    """One frontier as the command line asks for it."""
    speculation = Speculation(find_model(draft), 0.8) if draft else None
    question = Question(
        model=find_model(name),
        prompt_tokens=4096,
        output_tokens=1,
        prefilled=draft is not None or engine is None,
        engine=engine,
        speculation=speculation,
    )
    cluster = find_cluster("h200")
    return {
        "what": f"search of {name}"
        + (f" drafted by {draft}" if draft else "")
        + (f" under {engine}" if engine else ""),
        "points": search(question, cluster).concurrency.size,
        "cpu_s": least_cpu_s(lambda: search(question, cluster)),
    }


def cold_start(*command: str) -> dict[str, float | str]:
    """CPU time of a fresh process."""
    times = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return {"what": " ".join(command), "cpu_s": min(times)}


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    estimate = ["-m", "headway.cli.main", "estimate", "llama-3.1-70b", "--on", "h100", "--tp", "8"]
    rows = [
        configurations("llama-3.1-70b"),
        configurations("deepseek-v3"),
        configurations("gemma-3-27b"),
        whole_search("llama-3.1-70b", None),
        whole_search("llama-3.1-70b", "llama-3.1-8b"),
        whole_search("deepseek-v3", None),
        whole_search("llama-3.1-70b", None, "vllm"),
        whole_search("deepseek-v3", None, "sglang"),
        cold_start(*estimate),
        cold_start("-c", "import headway"),
    ]
    for row in rows:
        facts = (f"{k} {v:,.3g}" for k, v in row.items() if isinstance(v, int | float))
        print(f"{row['what']:<60} {', '.join(facts)}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
