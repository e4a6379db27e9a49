"""By how much engines grew faster in a month: the figures of steptime/engine_versions.toml.

Pairs are runs of one configuration: chip, model, engine, format, layout, lengths and concurrency.
The older is InferenceMAX's of November 2025, the newer one of aiconfigurator's dated sample of its
dumps, up to April 2026. The pace is the median over pairs of chip and model.

    python benchmarks/engine_pace.py ../shared/data/measured/measured.csv.gz
"""

import csv
import gzip
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median

OLDER, NEWER = "inferencemax_2025_11", "aiconfigurator_silicon_sample"
OLDER_DAY = date(2025, 11, 3)
DAYS_PER_MONTH = 30.44
KEY = (
    "hardware", "model", "engine", "weight_precision", "tp", "ep", "dp_attn", "input_len",
    "output_len", "concurrency",
)  # fmt: skip
Row = dict[str, str]


def rows_of(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            is_loop = row["kind"] == "serving_closed_loop" and row["mode"] == "agg"
            if is_loop and row["spec_decode"] == "none" and row["tpot_ms"]:
                yield row


def key_of(row: Row) -> tuple[str, ...]:
    return tuple(row[name] or ("1.0" if name == "ep" else "0.0") for name in KEY)


def main() -> None:
    older: dict[tuple[str, ...], list[float]] = defaultdict(list)
    newer: list[tuple[tuple[str, ...], float, date]] = []
    for row in rows_of(Path(sys.argv[1])):
        if row["source"] == OLDER:
            older[key_of(row)].append(float(row["tpot_ms"]))
        elif row["source"] == NEWER and row["measured_date"]:
            day = date.fromisoformat(row["measured_date"])
            newer.append((key_of(row), float(row["tpot_ms"]), day))

    # The change per month of every pair, by engine and by chip and model.
    paces: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for key, tpot_ms, day in newer:
        months = (day - OLDER_DAY).days / DAYS_PER_MONTH
        if key in older and months > 0.5:
            change = math.log(tpot_ms / median(older[key]))
            paces[key[2]][key[0], key[1]].append(change / months)

    print("engine        pairs  chips x models  log time per month")
    for engine, cells in sorted(paces.items()):
        pace = median(median(values) for values in cells.values())
        print(f"{engine:<13} {sum(map(len, cells.values())):>5} {len(cells):>15} {pace:>19.4f}")


if __name__ == "__main__":
    main()
