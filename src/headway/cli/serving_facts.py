"""How answers to loads read: one in full, line by line, and several as a table."""

from __future__ import annotations

from headway.cli.show import Column, number
from headway.report.report import Row, Value

LEVELS: tuple[Column, ...] = (
    (">", "at once", lambda row: number(row["concurrency"])),
    (">", "TTFT ms", lambda row: number(milliseconds(row["ttft_s"]))),
    (">", "10-90%", lambda row: _spread_ms(row, "ttft_s")),
    (">", "TPOT ms", lambda row: number(milliseconds(row["tpot_s"]))),
    (">", "10-90%", lambda row: _spread_ms(row, "tpot_s")),
    (">", "tok/s/acc.", lambda row: number(row["output_tok_per_s_per_accelerator"])),
    (">", "10-90%", lambda row: span_of(row, "output_tok_per_s_per_accelerator")),
    (">", "$/Mtok", lambda row: number(row["usd_per_mtok_blended"])),
    (">", "J/tok", lambda row: number(row["joules_per_output_token"])),
    ("<", "basis", lambda row: str(row["basis"])),
)


def serving_facts(row: Row) -> list[tuple[str, str, str]]:
    """Label, value and remark of every line."""

    def ms(name: str, remark: str = "") -> tuple[str, str]:
        low, high = row[f"{name}_lower"], row[f"{name}_upper"]
        shown = f"{number(milliseconds(low), 2)}..{number(milliseconds(high), 2)} ms"
        return f"{number(milliseconds(row[name]))} ms", f"{shown}{remark}"

    per_chip = "output_tok_per_s_per_accelerator"
    lines = [
        (
            "accelerators",
            f"{number(row['num_accelerators'])} {row['accelerator']}",
            f"tp{row['tp']} pp{row['pp']} dp{row['dp']} ep{row['ep']}",
        ),
        ("running", number(row["running"]), "requests at once"),
        (
            "TTFT",
            *ms("ttft_s", f", mean {number(milliseconds(row['mean_ttft_s']))} ms with the start"),
        ),
        ("TPOT", *ms("tpot_s")),
        ("e2e", *ms("e2e_s")),
        ("speed", f"{number(row['tok_per_s_per_user'])} tok/s/user", ""),
        (
            "throughput",
            f"{number(row[per_chip])} output tok/s/accelerator",
            f"{span_of(row, per_chip)}, {number(row['total_tok_per_s_per_accelerator'])} with "
            "prompts",
        ),
        (
            "cost",
            f"${number(row['usd_per_mtok_blended'])}/Mtok blended",
            f"{span_of(row, 'usd_per_mtok_blended')}; input ${number(row['usd_per_mtok_input'])}, "
            f"cached ${number(row['usd_per_mtok_cached_input'])}, "
            f"output ${number(row['usd_per_mtok_output'])}",
        ),
        ("power", f"{number(row['power_w'])} W/accelerator", ""),
        (
            "energy",
            f"{number(row['joules_per_output_token'])} J/output token",
            span_of(row, "joules_per_output_token"),
        ),
    ]
    if row["break_even_load"] is not None:
        lines.append(
            ("break-even", f"{number(row['break_even_load'])} of this load", "pays as the API does")
        )
    if row["draft_tokens"]:
        drafts = f"{row['draft_tokens']} drafted tokens"
        lines.insert(2, ("per step", f"{number(row['tokens_per_pass'])} tokens", f"of {drafts}"))
    lines.append(("basis", str(row["basis"]), distance_of(row)))
    return lines


def milliseconds(value: Value) -> float:
    """Milliseconds of a value in seconds, 0 where it is not known."""
    return float(value or 0.0) * 1e3


def span_of(row: Row, name: str, digits: int = 2) -> str:
    """The interval of a quantity."""
    return f"{number(row[f'{name}_lower'], digits)}..{number(row[f'{name}_upper'], digits)}"


def distance_of(row: Row) -> str:
    """What of the question was measured, and how far outside the measured range it lies."""
    said = {
        "cell": "hardware and model were measured",
        "hardware": "this hardware was never measured",
        "model": "this model was never measured",
        "both": "neither this hardware nor this model was measured",
    }[str(row["novelty"])]
    far = float(row["outside_octaves"] or 0)
    return said if far == 0 else f"{said}; {number(far)} doublings outside the measured range"


def _spread_ms(row: Row, name: str) -> str:
    low, high = (number(milliseconds(row[f"{name}_{end}"]), 2) for end in ("lower", "upper"))
    return f"{low}..{high}"
