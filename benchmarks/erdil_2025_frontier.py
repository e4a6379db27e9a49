"""CPU seconds of the published frontier, curve by curve, and against brute force.

Run with one thread: ``OMP_NUM_THREADS=1 python benchmarks/erdil_2025_frontier.py``. Every curve is
the published 400 x 400 grid with pipelines, both layouts and the scale-down of attention; the
smallest of three runs counts. Two brute forces are measured in the same run on one curve: the
published program's way, which finishes every variant at every point, and this evaluator without
budgets, which prunes variants but no points. The published program's own times, 22 to 98 s a
curve and 90 to 385 s with a draft, were wall seconds on a machine like the one this was written on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from headway.papers.erdil_2025.accelerators import ACCELERATORS
from headway.papers.erdil_2025.forward import Choices, explain, fastest
from headway.papers.erdil_2025.frontier import frontier, grid, select
from headway.papers.erdil_2025.models import MODELS
from headway.papers.erdil_2025.passes import ForwardPass

REPEATS = 3
H100 = ACCELERATORS["h100"]


def cpu_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the least CPU seconds of several runs."""
    least = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        work()
        least = min(least, time.process_time() - start)
    return least


def curves() -> dict[str, Callable[[], object]]:
    """Return what the paper's figures draw, by name."""
    m = MODELS
    small, m70, m405 = m["llama-3-8b"], m["llama-3-70b"], m["llama-3.1-405b"]
    long = m["mistral-large-2"]
    return {
        "gpt-4": lambda: frontier(m["gpt-4"], H100),
        "llama-3.1-405b": lambda: frontier(m405, H100),
        "llama-3-70b": lambda: frontier(m70, H100),
        "llama-3-70b, 8-bit": lambda: frontier(m70.with_weights(8), H100),
        "llama-3-70b, 4-bit": lambda: frontier(m70.with_weights(4), H100),
        "llama-3-70b, 8-bit, a100": lambda: frontier(m70.with_weights(8), ACCELERATORS["a100"]),
        "llama-3-70b, 8-bit, v100": lambda: frontier(m70.with_weights(8), ACCELERATORS["v100"]),
        "mixtral-8x22b": lambda: frontier(m["mixtral-8x22b"], H100),
        "deepseek-v3": lambda: frontier(m["deepseek-v3"], H100),
        "deepseek-v3, 100K": lambda: frontier(m["deepseek-v3"], H100, context_tokens=1e5),
        "mistral-large-2, 100K": lambda: frontier(long, H100, context_tokens=1e5),
        "llama-3-70b, draft": lambda: frontier(m70, H100, draft=small),
        "llama-3-70b, 8-bit, draft": lambda: frontier(m70.with_weights(8), H100, draft=small),
        "llama-3.1-405b, draft": lambda: frontier(m405, H100, draft=small),
        "llama-3.1-405b, 8-bit, draft": lambda: frontier(m405.with_weights(8), H100, draft=small),
        "mixtral-8x22b, draft": lambda: frontier(m["mixtral-8x22b"], H100, draft=small),
        "gpt-4, draft": lambda: frontier(m["gpt-4"], H100, draft=small),
        "deepseek-v3, draft": lambda: frontier(m["deepseek-v3"], H100, draft=small),
    }


def every_variant() -> None:
    """Finish all 120 variants at all 160,000 points, a block of points at a time."""
    model, choices = MODELS["llama-3-70b"], Choices()
    forward = ForwardPass(model, H100)
    n, b = (axis.ravel() for axis in np.meshgrid(*grid(model, H100)))
    best = np.full(n.size, np.inf)
    for start in range(0, n.size, 8192):
        rows = slice(start, start + 8192)
        for code in range(120):
            codes = np.full(n[rows].shape, code, dtype=np.int16)
            depth = choices.depth(model.num_layers, b[rows], code // 12)
            codes[~(forward.fits(n[rows], b[rows] / depth) & (depth <= n[rows]))] = -1
            total = explain(forward, choices, n[rows], b[rows], codes).total_s
            best[rows] = np.minimum(best[rows], total)
    select(best, best * n / b)


def every_point() -> None:
    """Find the best variant at all 160,000 points, without a budget."""
    model = MODELS["llama-3-70b"]
    n, b = (axis.ravel() for axis in np.meshgrid(*grid(model, H100)))
    best, _ = fastest(ForwardPass(model, H100), Choices(), n, b)
    select(best, best * n / b)


def main() -> None:
    print(f"{'curve':32}{'CPU s':>8}")
    seconds = {}
    for name, work in curves().items():
        seconds[name] = cpu_s(work)
        print(f"{name:32}{seconds[name]:8.3f}", flush=True)
    print("\nbrute force on llama-3-70b")
    brute = {"every variant": cpu_s(every_variant, 1), "every point": cpu_s(every_point)}
    for name, cost in brute.items():
        print(f"{name:32}{cost:8.3f}{cost / seconds['llama-3-70b']:8.1f}x the frontier above")
    print(json.dumps({"benchmark": "erdil_2025_frontier", "cpu_s": seconds, "brute_cpu_s": brute}))


if __name__ == "__main__":
    main()
