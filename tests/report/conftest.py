"""A plausible frontier, made here so that looking depends on nothing but the form of a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import pytest

from headway.report.chart import Chart
from headway.report.column import column
from headway.report.estimate import Estimate
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
PARTS = ("arithmetic_s", "memory_s", "network_s", "latency_s")


@dataclass(frozen=True, slots=True)
class FrontierRow:
    accelerator: str = column("accelerator", "what one buys")
    model: str = column("model", "what one runs")
    tok_per_s_per_user: Estimate = column("tok/s/user", "speed that one user sees")
    usd_per_mtok: Estimate | None = column("$/Mtok", "all cost on output tokens")
    num_accelerators: int = column("accelerators", "of one engine")
    layout: str = column("layout", "tensor-parallel ranks")
    batch: int = column("batch", "sequences in flight")
    draft_tokens: int | None = column("draft", "tokens drafted per pass")
    mfu: float = column("MFU", "model flops over peak", unit="%", scale=100, digits=2)
    mbu: float = column("MBU", "bytes that must move over peak", unit="%", scale=100, digits=2)
    binds: str = column("binds", "the component that takes longest")
    step_s: float = column("step", "time of one pass", unit="ms", scale=1e3)
    arithmetic_s: float = column("arithmetic", "alone", unit="ms", scale=1e3, detail=True)
    memory_s: float = column("memory", "alone", unit="ms", scale=1e3, detail=True)
    network_s: float = column("network", "alone", unit="ms", scale=1e3, detail=True)
    latency_s: float = column("latency", "alone", unit="ms", scale=1e3, detail=True)
    basis: str = column("basis", "how the numbers were reached")
    on_front: bool = column("on front", "whether none is faster and cheaper", default=False)


@dataclass(frozen=True, slots=True)
class EstimateRow:
    model: str = column("model", "what one runs")
    step_s: float = column("step", "time of one pass", unit="ms", scale=1e3)
    energy_j: float = column("energy", "of one pass", unit="J")
    kv_bytes: float = column("KV cache", "of one token", unit="kB", scale=1e-3)
    tpot_s: float | None = column("TPOT", "time per token", unit="ms", scale=1e3, default=None)


CHART = Chart(
    x="tok_per_s_per_user",
    y="usd_per_mtok",
    series="accelerator",
    front="on_front",
    legend="thick line: front over the accelerators shown  ·  ★ preferred: largest speed³ / price",
    x_label="speed, tokens/s per user",
    y_label="price, $ per million output tokens",
    details=("num_accelerators", "layout", "batch"),
    parts=PARTS,
)


def _row(accelerator: str, tp: int, batch: int, draft_tokens: int) -> FrontierRow | None:
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
    return FrontierRow(
        accelerator=accelerator,
        model="llama-3.1-70b",
        tok_per_s_per_user=Estimate(speed, speed * 0.62, speed * 1.18),
        usd_per_mtok=Estimate(price, price / 1.18, price / 0.62),
        num_accelerators=tp,
        layout=f"tp{tp}",
        batch=batch,
        draft_tokens=draft_tokens or None,
        mfu=parts["arithmetic"] * 0.75 / step_s,
        mbu=parts["memory"] * 0.8 / step_s,
        binds=max(parts, key=lambda name: parts[name]),
        step_s=step_s,
        arithmetic_s=parts["arithmetic"],
        memory_s=parts["memory"],
        network_s=parts["network"],
        latency_s=parts["latency"],
        basis="analytic",
    )


def speed_of(row: FrontierRow) -> float:
    return row.tok_per_s_per_user.expected


def price_of(row: FrontierRow) -> float:
    assert row.usd_per_mtok is not None
    return row.usd_per_mtok.expected


def _front(rows: list[FrontierRow]) -> list[FrontierRow]:
    front: list[FrontierRow] = []
    for row in sorted(rows, key=lambda row: (-speed_of(row), price_of(row))):
        if not front or price_of(row) < price_of(front[-1]):
            front.append(row)
    return front[::-1]


@pytest.fixture(scope="session")
def frontier() -> Report[FrontierRow]:
    """Five accelerators, a few dozen layouts, everything that a frontier report may say."""
    rows: list[FrontierRow] = []
    for name in ACCELERATORS:
        tried = (_row(name, *at) for at in product((1, 2, 4, 8), BATCHES, (0, 3)))
        rows += _front([row for row in tried if row])
    best = _front(rows)
    rows = [replace(row, on_front=row in best) for row in rows]

    def worth(n: int) -> float:
        return speed_of(rows[n]) ** 3 / price_of(rows[n])

    own = {}
    for name in ACCELERATORS:
        of_one = (n for n, row in enumerate(rows) if row.accelerator == name)
        own[f"preferred:{name}"] = max(of_one, key=worth)
    return Report(
        kind="frontier",
        title="What does llama-3.1-70b cost at each speed, 4096 tokens of context, FP8?",
        question={
            "model": "llama-3.1-70b",
            "context_tokens": 4096,
            "dtype": "fp8",
            "max_accelerators": 8,
            "draft_model": None,
            "accelerators": ", ".join(ACCELERATORS),
        },
        rows=tuple(rows),
        marks={
            "preferred": max(range(len(rows)), key=worth),
            "cheapest": min(range(len(rows)), key=lambda n: price_of(rows[n])),
            "fastest": max(range(len(rows)), key=lambda n: speed_of(rows[n])),
            **own,
        },
        notes=(
            "Decode only: the prompt's cost is not part of the price.",
            "Prices are on demand, per hour, for whole accelerators that are always busy.",
            "a100-80gb has no native FP8: its INT8 rate, see https://example.org/notes?a=1&b=2.",
            "Intervals: from what no such machine can beat to what poor kernels reach.",
        ),
        sources={
            "h200-sxm": "https://example.org/h200-datasheet (2026-05-01)",
            "price h200-sxm": "https://example.org/pricing (2026-05-02)",
            "llama-3.1-70b": "config.json of the model",
        },
        charts=(CHART,),
    )


@pytest.fixture
def estimate() -> Report[EstimateRow]:
    """A report without a chart, and of one row."""
    row = EstimateRow(model="llama-3.1-8b", step_s=0.0123, energy_j=0.32, kv_bytes=131072.0)
    return Report(
        kind="estimate", title="One step of llama-3.1-8b", question={"batch": 64}, rows=(row,)
    )
