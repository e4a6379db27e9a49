"""Fits the calibration that ships, scores it held out, and writes both beside the code.

Needs the measured points, which are not part of the repository: give their path.

    python -m tools.fit_serving ../shared/data/measured/measured.csv.gz [--no-scores]

The scores take some ten minutes of CPU time on all cores, the fit that ships half a minute.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

from headway.steptime.calibration import to_json
from tools.held_out import fit_shipped, report, score_all
from tools.measured_table import read_measured
from tools.serving_coefficients import OLD
from tools.serving_errors import assemble

SHIPPED = Path(__file__).parents[1] / "src" / "headway" / "steptime" / "coefficients"
SOURCES = {
    "InferenceX / InferenceMAX": "SemiAnalysis, 2025-11 to 2026-07, Apache-2.0, with attribution",
    "aiconfigurator silicon sample": "NVIDIA, wheel aiconfigurator-core 0.12.0, Apache-2.0",
    "ML.ENERGY leaderboard v3": "2025/2026, ml-energy/benchmark is Apache-2.0",
    "Argonne LLM-Inference-Bench": "2024, BSD-3-Clause; static batches, every fourth",
    "Splitwise": "2023, MIT; one request at a time",
}


def main() -> None:
    began = time.process_time()
    points, table, left_out = read_measured(Path(sys.argv[1]))
    older = sum(point.source in OLD for point in points)
    print(f"{len(points)} points, {older} of them old static batches; left out:")
    for reason, count in left_out.most_common():
        print(f"  {count:5d} {reason}")

    # The fit that ships has seen all points.
    calibration = assemble(
        fit_shipped(points, table),
        points,
        table,
        provenance={
            "fitted_by": "tools/fit_serving.py",
            "fitted_on": date.today().isoformat(),
            "points": len(points),
            "sources": SOURCES,
        },
    )
    SHIPPED.mkdir(exist_ok=True)
    (SHIPPED / "serving.json").write_text(to_json(calibration))
    if "--no-scores" in sys.argv:
        return

    with ProcessPoolExecutor(max_workers=os.cpu_count()) as executor:
        scored = list(score_all(points, table, executor))
    accuracy = report(points, scored)

    (SHIPPED / "accuracy.json").write_text(accuracy.to_json())
    print(accuracy.text([i for i, row in enumerate(accuracy.rows) if row.by == "all"]))
    print(f"{time.process_time() - began:.0f} CPU seconds; power {calibration.power}")


if __name__ == "__main__":
    main()
