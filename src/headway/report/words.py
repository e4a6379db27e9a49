"""How columns and values read to people: units from the names, three digits, never a made-up 0."""

from __future__ import annotations

from collections.abc import Iterable

from headway.report.report import Row, Value

UNKNOWN = "–"
_CAPITALS = frozenset(("dp", "ep", "itl", "kv", "mbu", "mfu", "pp", "slo", "tp", "tpot", "ttft"))
_WORDS = {"usd": "$", "mtok": "Mtok", "tok": "tokens"}
_SUFFIXES = {"_s": "s", "_bytes": "bytes", "_j": "J", "_w": "W"}


def digits(value: float) -> str:
    """Three significant digits, whole from 1000 on: ``0.0123``, ``1.20``, ``12,345``."""
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 999.5 or value == 0:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.2e}"
    return f"{value:#.3g}".rstrip(".")


def seconds(value: float) -> str:
    """A time in the unit that keeps it readable: ``12.3 ms``."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value == 0 or abs(value) >= 0.9995 * scale:
            return f"{digits(value / scale)} {unit}"
    return f"{digits(value / 1e-6)} µs"


def unit_of(key: str) -> str | None:
    """The unit that ends ``key``, if a cell should carry it: "s", "bytes", "J", "W" or "$"."""
    stem = key.removesuffix("_lower").removesuffix("_upper")
    if stem.startswith("usd_") or stem.endswith("_usd"):
        return "$"
    if stem in ("mfu", "mbu"):
        return "%"
    ends = (unit for end, unit in _SUFFIXES.items() if stem.endswith(end))
    return None if stem.endswith(("_per_s", "_per_w")) else next(ends, None)


def shown(key: str, value: Value) -> str:
    """The value of column ``key`` for people; `UNKNOWN` for ``None``."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    match unit_of(key):
        case "s":
            return seconds(value)
        case "$":
            return f"${digits(value)}"
        case "%":
            return f"{digits(100.0 * value)}%"
        case "bytes" if abs(value) >= 1e6:
            return f"{digits(value / 1e9)} GB"
        case None:
            return digits(value)
        case unit:
            return f"{digits(value)} {unit}"


def columns(rows: Iterable[Row]) -> list[str]:
    """The columns of ``rows`` in order, but for the ends of intervals around other columns."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    ends = {f"{key}_{end}" for key in keys for end in ("lower", "upper")}
    return [key for key in keys if key not in ends]


def with_interval(row: Row, key: str) -> str:
    """The value of column ``key`` in ``row`` for people, and what it lies between if known."""
    ends = [row.get(f"{key}_{end}") for end in ("lower", "upper")]
    between = "–".join(shown(f"{key}_lower", end) for end in ends)
    return shown(key, row.get(key)) + (f" ({between})" if ends != [None, None] else "")


def heading(key: str) -> str:
    """The column ``key`` for people: ``tok_per_s_per_user`` reads "tokens/s/user"."""
    stem = key.removeprefix("num_")
    if unit_of(key) not in (None, "$", "%"):
        stem = stem.rpartition("_")[0] or stem
    parts = [
        " ".join(w.upper() if w in _CAPITALS else _WORDS.get(w, w) for w in part.split("_"))
        for part in stem.split("_per_")
    ]
    return "/".join(parts)


def printable(text: str) -> str:
    """``text`` on one line, without what cannot be drawn."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
