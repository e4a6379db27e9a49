"""Rows that are still mappings, shown as typed rows are: to be deleted with the last of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headway.report.chart import Bars, Chart
from headway.report.column import Cell, Column, Value
from headway.report.estimate import Estimate

_CAPITALS = frozenset(("dp", "ep", "itl", "kv", "mbu", "mfu", "pp", "slo", "tp", "tpot", "ttft"))
_WORDS = {"usd": "$", "mtok": "Mtok", "tok": "tokens"}
_PARTS = ("arithmetic_s", "memory_s", "network_s", "latency_s")


def grid_of_mappings(
    rows: Sequence[Mapping[str, Value]],
) -> tuple[dict[str, Column], tuple[Mapping[str, Cell], ...]]:
    """Return columns by the units in their names, and the cells with their intervals."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    ends = {f"{name}_{end}" for name in names for end in ("lower", "upper")}
    columns = {name: _column(name, rows) for name in names if name not in ends}
    return columns, tuple({name: _cell(row, name) for name in columns} for row in rows)


def charts_of_kind(
    kind: str, question: Mapping[str, Value], columns: Mapping[str, Column]
) -> tuple[Chart | Bars, ...]:
    """Return what reports of a kind showed before their rows brought their own charts."""
    charts: dict[str, tuple[Chart | Bars, ...]] = {
        "frontier": (
            Chart(
                x="tok_per_s_per_user",
                y="usd_per_mtok",
                series="accelerator",
                front="on_front",
                legend="thick line: front over the accelerators shown  ·  ★ preferred: largest "
                "speed³ / price, with its interval",
                x_label="speed, tokens/s per user",
                y_label="price, $ per million tokens",
                details=tuple(n for n in ("num_accelerators", "tp", "batch") if n in columns),
                parts=tuple(name for name in _PARTS if name in columns),
            ),
        ),
        "simulate": (
            Chart(
                x="e2e_mean_s",
                y="e2e_p99_s",
                series="policy",
                legend="a line joins a policy with its predictions and with the same ones shuffled",
            ),
        ),
        "ideal": (
            Chart(
                x="runtime_s",
                y="energy_j",
                series="model",
                legend="low and to the left is better  ·  bars: what the values lie between",
                intervals=True,
            ),
        ),
        "probes": (
            Chart(x="asked_prompt_tokens", y="ttft_s", series="model", intervals=True),
        ),
        "profile": (Chart(x="prompt_tokens", y="duration_s", series="what", intervals=True),),
        "serving": (
            Chart(x="concurrency", y="tpot_s", series="accelerator", intervals=True),
            Chart(
                x="concurrency",
                y="output_tok_per_s_per_accelerator",
                series="accelerator",
                intervals=True,
            ),
        ),
        "tradeoff": (
            Chart(
                x=str(question.get("metric")), y=str(question.get("score")), series="model",
                front="on_front",
            ),
        ),
    }  # fmt: skip
    return tuple(
        chart
        for chart in charts.get(kind, ())
        if {name for name in chart.columns if name != "on_front"} <= set(columns)
    )


def _column(name: str, rows: Sequence[Mapping[str, Value]]) -> Column:
    unit, scale, stem = "", 1.0, name.removeprefix("num_")
    for suffix, own_unit, own_scale in (
        ("_s", "ms", 1e3), ("_bytes", "GB", 1e-9), ("_j", "J", 1.0), ("_w", "W", 1.0),
    ):  # fmt: skip
        if name.endswith(suffix) and not name.endswith(("_per_s", "_per_w")):
            numbers = [v for row in rows if isinstance(v := row.get(name), int | float)]
            is_large = unit == "ms" and max(map(abs, numbers), default=0.0) >= 1
            unit, scale, stem = own_unit, 1.0 if is_large else own_scale, stem.removesuffix(suffix)
    if name in ("mfu", "mbu"):
        unit, scale = "%", 100.0
    parts = [
        " ".join(w.upper() if w in _CAPITALS else _WORDS.get(w, w) for w in part.split("_"))
        for part in stem.split("_per_")
    ]
    return Column("/".join(parts), "", unit=unit, scale=scale)


def _cell(row: Mapping[str, Value], name: str) -> Cell:
    value, lower, upper = (row.get(f"{name}{end}") for end in ("", "_lower", "_upper"))
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in (value, lower, upper)):
        numbers = [float(v) for v in (value, lower, upper) if isinstance(v, int | float)]
        return Estimate(numbers[0], min(numbers[1:]), max(numbers[1:]))
    return value
