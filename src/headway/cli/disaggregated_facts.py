"""How answers to disaggregated loads read: one in full, line by line, and all splits as a table."""

from __future__ import annotations

from headway.cli.serving_facts import distance_of, milliseconds, span_of
from headway.cli.show import Column, number
from headway.report.report import Row, Value

COLUMNS: tuple[Column, ...] = (
    ("<", "prefill x decode", lambda row: str(row["engines"])),
    (">", "accelerators", lambda row: number(row["num_accelerators"])),
    (">", "TTFT ms", lambda row: number(milliseconds(row["ttft_s"]))),
    (">", "TPOT ms", lambda row: number(milliseconds(row["tpot_s"]))),
    (">", "tok/s/user", lambda row: number(row["tok_per_s_per_user"])),
    (">", "output tok/s/acc.", lambda row: number(row["output_tok_per_s_per_accelerator"])),
    (">", "$/Mtok", lambda row: number(row["usd_per_mtok_blended"])),
    ("<", "full", lambda row: str(row["binds"])),
)

EXPLAINED: tuple[Column, ...] = (
    ("<", "part", lambda row: str(row["part"])),
    (">", "ms", lambda row: number(milliseconds(row["seconds"])) if "seconds" in row else ""),
    (">", "share", lambda row: _percent(row["share"]) if "share" in row else ""),
    (">", "TTFT", lambda row: _change(row, "ttft_change")),
    (">", "TPOT", lambda row: _change(row, "tpot_change")),
    (">", "throughput", lambda row: _change(row, "throughput_change")),
)


def disaggregated_facts(row: Row) -> list[tuple[str, str, str]]:
    """Label, value and remark of every line."""

    def ms(name: str) -> tuple[str, str]:
        low, high = (number(milliseconds(row[f"{name}_{end}"]), 2) for end in ("lower", "upper"))
        return f"{number(milliseconds(row[name]))} ms", f"{low}..{high} ms"

    per_chip = "output_tok_per_s_per_accelerator"
    prefill = number(row["prefill_accelerators"])
    value, remark = ms("ttft_s")
    waiting, prefill_ms, exposed, sent, handling = (
        number(milliseconds(row[f"{name}_s"]))
        for name in ("queue", "prefill", "transfer_exposed", "transfer", "handling")
    )
    return [
        (
            "accelerators",
            f"{number(row['num_accelerators'])}: {prefill} {row['prefill_accelerator']} prefill",
            f"engines {row['engines']}, {row['prefill_layout']} and {row['decode_layout']}",
        ),
        (
            "TTFT",
            value,
            f"{remark}; waiting {waiting}, prefill {prefill_ms}, cache {exposed} of {sent}, "
            f"handling {handling}",
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
            "in use",
            f"prefill {_percent(row['prefill_use'])}, link {_percent(row['transfer_use'])}, "
            f"decode {_percent(row['decode_use'])}",
            "nothing is full" if row["binds"] == "users" else f"binds: {row['binds']}",
        ),
        (
            "cost",
            f"${number(row['usd_per_mtok_blended'])}/Mtok blended",
            f"{span_of(row, 'usd_per_mtok_blended')}; input ${number(row['usd_per_mtok_input'])}, "
            f"output ${number(row['usd_per_mtok_output'])}",
        ),
        ("power", f"{number(row['power_w'])} W/accelerator", ""),
        (
            "energy",
            f"{number(row['joules_per_output_token'])} J/output token",
            span_of(row, "joules_per_output_token"),
        ),
        ("basis", str(row["basis"]), distance_of(row)),
    ]


def _percent(value: Value) -> str:
    return f"{number(float(value or 0.0) * 100, 2)}%"


def _change(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if value is None else f"{float(value) * 100:+.1f}%"
