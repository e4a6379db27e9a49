"""A plausible frontier, made here so that looking depends on nothing but the form of a report."""

from itertools import product
from typing import Any

import pytest

from headway.report.report import Report

# Peak FLOP/s, bytes/s, bytes and $/h in round numbers: for drawing only.
ACCELERATORS = {
    "h100-sxm": (1.98e15, 3.35e12, 80e9, 2.50),
    "h200-sxm": (1.98e15, 4.8e12, 141e9, 3.10),
    "b200": (4.5e15, 8.0e12, 180e9, 4.60),
    "mi300x": (2.6e15, 5.3e12, 192e9, 2.40),
    "a100-80gb": (0.62e15, 2.04e12, 80e9, 1.40),
}
BATCHES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
PARAMETERS, KV_BYTES = 70e9, 4096 * 0.16e6


def _row(accelerator: str, tp: int, batch: int, draft_tokens: int) -> dict[str, Any] | None:
    flops, bandwidth, memory, usd_per_hour = ACCELERATORS[accelerator]
    memory_bytes = (PARAMETERS + batch * KV_BYTES) / tp
    if memory_bytes > 0.9 * memory:
        return None
    parts = {
        "arithmetic": 2 * PARAMETERS * batch * (1 + draft_tokens) / (0.75 * flops * tp),
        "memory": memory_bytes / (0.8 * bandwidth),
        "network": 160 * batch * 16384 * (tp - 1) / tp / 3.6e11,
        "latency": 2.4e-3 + 1.2e-3 * (tp > 1) + 0.4e-3 * draft_tokens,
    }
    step_s = max(parts["arithmetic"], parts["memory"]) + parts["network"] + parts["latency"]
    speed = (1 + 0.6 * draft_tokens) / step_s
    price = usd_per_hour * tp / 3600 / (speed * batch) * 1e6
    return {
        "accelerator": accelerator,
        "model": "llama-3.1-70b",
        "tok_per_s_per_user": speed,
        "tok_per_s_per_user_lower": speed * 0.62,
        "tok_per_s_per_user_upper": speed * 1.18,
        "usd_per_mtok": price,
        "usd_per_mtok_lower": price / 1.18,
        "usd_per_mtok_upper": price / 0.62,
        "num_accelerators": tp,
        "tp": tp,
        "pp": 1,
        "dp": 1,
        "ep": 1,
        "rows": batch * (1 + draft_tokens),
        "batch": batch,
        "draft_tokens": draft_tokens,
        "draft_tp": tp if draft_tokens else None,
        "draft_placement": "beside" if draft_tokens else None,
        "mfu": parts["arithmetic"] * 0.75 / step_s,
        "mbu": parts["memory"] * 0.8 / step_s,
        "binds": max(parts, key=lambda name: parts[name]),
        "step_s": step_s,
        **{f"{name}_s": seconds for name, seconds in parts.items()},
        "basis": "analytic",
    }


def _front(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (-row["tok_per_s_per_user"], row["usd_per_mtok"])):
        if not front or row["usd_per_mtok"] < front[-1]["usd_per_mtok"]:
            front.append(row)
    return front[::-1]


@pytest.fixture(scope="session")
def frontier() -> Report:
    """Five accelerators, a few dozen layouts, everything that a frontier report may say."""
    rows: list[dict[str, Any]] = []
    for name in ACCELERATORS:
        tried = (_row(name, *at) for at in product((1, 2, 4, 8), BATCHES, (0, 3)))
        rows += _front([row for row in tried if row])
    best = [id(row) for row in _front(rows)]
    rows = [{**row, "on_front": id(row) in best} for row in rows]

    def worth(n: int) -> float:
        return float(rows[n]["tok_per_s_per_user"] ** 3 / rows[n]["usd_per_mtok"])

    own = {}
    for name in ACCELERATORS:
        of_one = (n for n, row in enumerate(rows) if row["accelerator"] == name)
        own[f"preferred:{name}"] = max(of_one, key=worth)
    return Report(
        "frontier",
        "What does llama-3.1-70b cost at each speed, 4096 tokens of context, FP8?",
        {
            "model": "llama-3.1-70b",
            "context_tokens": 4096,
            "dtype": "fp8",
            "max_accelerators": 8,
            "draft_model": None,
            "accelerators": ", ".join(ACCELERATORS),
        },
        tuple(rows),
        {
            "preferred": max(range(len(rows)), key=worth),
            "cheapest": min(range(len(rows)), key=lambda n: float(rows[n]["usd_per_mtok"])),
            "fastest": max(range(len(rows)), key=lambda n: float(rows[n]["tok_per_s_per_user"])),
            **own,
        },
        (
            "Decode only: the prompt's cost is not part of the price.",
            "Prices are on demand, per hour, for whole accelerators that are always busy.",
            "a100-80gb has no native FP8: its INT8 rate, see https://example.org/notes?a=1&b=2.",
            "Intervals: from what no such machine can beat to what poor kernels reach.",
        ),
        {
            "h200-sxm": "https://example.org/h200-datasheet (2026-05-01)",
            "price h200-sxm": "https://example.org/pricing (2026-05-02)",
            "llama-3.1-70b": "config.json of the model",
        },
    )


@pytest.fixture
def estimate() -> Report:
    """A report of a kind that has no chart, and of one row."""
    row: dict[str, Any] = {
        "model": "llama-3.1-8b",
        "step_s": 0.0123,
        "energy_j": 0.32,
        "kv_bytes": 131072.0,
    }
    return Report("estimate", "One step of llama-3.1-8b", {"batch": 64}, (row | {"tpot_s": None},))
