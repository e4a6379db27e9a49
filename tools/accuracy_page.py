"""Writes the bars and tables of `docs/accuracy.md` from the scores that ship.

    python -m tools.accuracy_page

What stands between the tables and around them stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from headway.measure.accuracy import AccuracyRow, shipped_accuracy
from tools.held_out import BY_HARNESS, CELL, HARDWARE, IN_SAMPLE, MODEL

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
LATEST = "inferencex_2026_07_20"
TITLES = {
    IN_SAMPLE: "In sample (what the fit saw)",
    CELL: "Left out: pairs of hardware and model",
    HARDWARE: "Left out: one accelerator",
    MODEL: "Left out: one model",
}
QUANTITIES = {
    "tpot": "TPOT",
    BY_HARNESS: "TPOT, as its harness measures",
    "ttft": "TTFT, median",
    "throughput": "throughput",
    "energy": "J/token",
    "mean_ttft": "TTFT, mean of a run",
    "power": "W",
}
CLASSES = ("vendor", "engine", "format", "kind")
SLICES = {
    IN_SAMPLE: (),
    CELL: ("source", *CLASSES),
    HARDWARE: ("source", *CLASSES, "hardware"),
    MODEL: ("source", *CLASSES, "model"),
}
# Of all rows, and of InferenceX's latest: what is asked of times per token.
TPOT_BARS = {HARDWARE: (0.145, 0.11), CELL: (0.15, 0.125), MODEL: (0.16, 0.14)}
WHO = {HARDWARE: "accelerator", CELL: "pair", MODEL: "model"}
MIN_CLASS, HOLDS, MAX_WIDTH, MAX_VENDORS, MAX_ENERGY = 30, (0.72, 0.88), 1.6, 1.3, 0.15
TTFT_BARS = {HARDWARE: 0.15, MODEL: 0.22}
Rows = Mapping[tuple[str, str, str, str], AccuracyRow]


def main() -> None:
    ordered = shipped_accuracy().rows
    rows = {(row.split, row.quantity, row.by, row.group): row for row in ordered}
    text = PAGE.read_text(encoding="utf-8")
    bars = "\n".join(["| bar | asked | measured | |", "|---|---|---|---|", *_bars(rows)])
    text = _between(text, "| bar | asked |", "\nThe peers,", bars + "\n")
    text = _between(text, "### In sample", "## Own points", "\n".join(_tables(ordered)) + "\n")
    PAGE.write_text(text, encoding="utf-8")


def _between(text: str, start: str, end: str, new: str) -> str:
    """Return ``text`` with what lies from ``start`` to ``end`` replaced."""
    before, _, rest = text.partition(start)
    return before + new + end + rest.partition(end)[2]


def _bars(rows: Rows) -> Iterator[str]:
    def bar(name: str, asked: str, measured: str, *, is_met: bool) -> str:
        return f"| {name} | {asked} | {measured} | {'met' if is_met else '**missed**'} |"

    def mape(name: str, row: AccuracyRow, most: float) -> str:
        return bar(f"{name}, MAPE", f"{100 * most:g}%", f"{row.mape:.1%}", is_met=row.mape <= most)

    for split, (most, most_of_latest) in TPOT_BARS.items():
        left_out = f"{WHO[split]} left out"
        latest = rows[split, "tpot", "source", LATEST]
        yield mape(f"TPOT, {left_out}, all rows", rows[split, "tpot", "all", ""], most)
        yield mape(f"TPOT, {left_out}, InferenceX", latest, most_of_latest)
        yield mape(f"throughput, {left_out}, all rows", rows[split, "throughput", "all", ""], most)

    amd, nvidia = (rows[HARDWARE, "tpot", "vendor", name].mape for name in ("amd", "nvidia"))
    yield bar(
        "TPOT of AMD over that of NVIDIA, accelerator left out",
        f"{MAX_VENDORS}",
        f"{amd / nvidia:.2f} ({amd:.1%} / {nvidia:.1%})",
        is_met=amd <= MAX_VENDORS * nvidia,
    )
    for split, most in TTFT_BARS.items():
        median = rows[split, "ttft", "all", ""].median
        name = f"median TTFT, {WHO[split]} left out, median error"
        yield bar(name, f"{most:.0%}", f"{median:.1%}", is_met=median <= most)
    for split in TTFT_BARS:
        yield mape(f"J/token, {WHO[split]} left out", rows[split, "energy", "all", ""], MAX_ENERGY)

    # Intervals, within every class that has enough points.
    for split, scored in ((split, one) for split in TPOT_BARS for one in (BY_HARNESS, "tpot")):
        classes = [
            row
            for (own, quantity, by, _), row in rows.items()
            if (own, quantity) == (split, scored) and by in CLASSES and row.points >= MIN_CLASS
        ]
        missed = [f"{r.group} {r.coverage:.0%}" for r in classes if not _holds(r)]
        measured = f"{len(classes) - len(missed)} of {len(classes)}"
        yield bar(
            f"80% interval of {QUANTITIES[scored]} holds in every class of 30 points and more, "
            f"{WHO[split]} left out",
            "72 to 88%",
            measured + (f"; not: {', '.join(missed)}" if missed else ""),
            is_met=not missed,
        )
    width = rows[CELL, "tpot", "all", ""].width
    yield bar(
        "its median width, pair left out",
        f"x{MAX_WIDTH}",
        f"x{width:.2f}",
        is_met=width <= MAX_WIDTH,
    )


def _holds(row: AccuracyRow) -> bool:
    return HOLDS[0] <= row.coverage <= HOLDS[1]


def _tables(rows: Sequence[AccuracyRow]) -> Iterator[str]:
    for split, title in TITLES.items():
        own = [row for row in rows if row.split == split]
        yield f"### {title}\n"
        yield from _table(
            "quantity",
            [
                *((QUANTITIES[row.quantity], row) for row in own if row.by == "all"),
                *(
                    (f"TPOT, {by}: {row.group}", row)
                    for by in SLICES[split]
                    for row in own
                    if (row.by, row.quantity) == (by, "tpot")
                ),
            ],
        )

    yield "### Old static batches\n"
    yield from _table(
        "what",
        [
            (f"{row.split} out, {row.quantity.upper()}, {row.by}: {row.group}", row)
            for row in rows
            if (row.by, row.split) in (("old hardware", HARDWARE), ("old model", MODEL))
        ],
    )


def _table(first: str, named: Sequence[tuple[str, AccuracyRow]]) -> Iterator[str]:
    yield f"| {first} | points | MAPE | median | within 25% | bias | 80% interval holds | width |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, row in named:
        yield (
            f"| {name} | {row.points:,} | {row.mape:.1%} | {row.median:.1%} "
            f"| {row.within_25:.1%} | {row.bias:+.1%} | {row.coverage:.1%} | x{row.width:.2f} |"
        )
    yield ""


if __name__ == "__main__":
    main()
