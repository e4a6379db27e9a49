"""The columns of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from headway.cli.show import Column, number
from headway.report.report import Row


def columns(tenants: Sequence[str] = (), objectives: bool = True) -> list[Column]:
    """What is printed of every order: goodput, or by tenant how much met its objectives."""
    goodput: Column = (">", "goodput/s", lambda row: number(row.get("goodput_requests_per_s")))
    met = [_tenant(name) for name in tenants] or ([goodput] if objectives else [])
    return [
        ("<", "policy", lambda row: str(row["policy"])),
        ("<", "predictions", lambda row: str(row["predictions"])),
        (">", "TTFT mean s", lambda row: number(row["ttft_mean_s"])),
        (">", "P99 s", lambda row: number(row["ttft_p99_s"])),
        (">", "TPOT mean ms", lambda row: _ms(row, "tpot_mean_s")),
        (">", "ITL P99 ms", lambda row: _ms(row, "itl_p99_s")),
        (">", "e2e mean s", lambda row: number(row["e2e_mean_s"])),
        (">", "vs fcfs", lambda row: _versus(row, "e2e_mean_s")),
        (">", "P99 s", lambda row: number(row["e2e_p99_s"])),
        (">", "vs fcfs", lambda row: _versus(row, "e2e_p99_s")),
        (">", "max s", lambda row: number(row["e2e_max_s"])),
        (">", "slowdown", lambda row: number(row["slowdown_mean"])),
        *met,
        (">", "busy", lambda row: _share(row, "utilisation")),
        (">", "$/Mtok", lambda row: number(row["usd_per_mtok"])),
        (">", "J/tok", lambda row: number(row["joules_per_tok"])),
    ]


def _tenant(name: str) -> Column:
    return (">", f"{name} met", lambda row: _share(row, f"tenant_{name}_slo_attainment"))


def _ms(row: Row, key: str) -> str:
    value = row.get(key)
    return number(1e3 * value) if isinstance(value, float) else "-"


def _share(row: Row, key: str) -> str:
    value = row.get(key)
    return f"{value:.0%}" if isinstance(value, float) else "-"


def _versus(row: Row, key: str) -> str:
    mean = row.get(f"{key}_vs_fcfs")
    if not isinstance(mean, float):
        return "-"
    low, high = row.get(f"{key}_vs_fcfs_lower"), row.get(f"{key}_vs_fcfs_upper")
    if isinstance(low, float) and isinstance(high, float):
        return f"{mean:+.1%} ±{(high - low) / 2:.1%}"
    return f"{mean:+.1%}"
