"""Fits the calibration that ships, scores it held out, and writes both beside the code.

Needs the measured points, which are not part of the repository: give their path.

    python benchmarks/serving_fit.py ../shared/data/measured/measured.csv.gz
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from headway.measure.fit_points import stack_points
from headway.measure.fit_serving import assemble, pooled
from headway.measure.validate import centers, quantiles, report, score_all, serving_rows
from headway.measure.validate_data import read_points
from headway.measure.validate_static import read_static
from headway.steptime.calibration import to_json

SHIPPED = Path(__file__).parents[1] / "src" / "headway" / "cost" / "coefficients"
SOURCES = {
    "InferenceX / InferenceMAX": "SemiAnalysis, 2025-11 to 2026-07, Apache-2.0, with attribution",
    "aiconfigurator silicon sample": "NVIDIA, wheel aiconfigurator-core 0.12.0, Apache-2.0",
    "ML.ENERGY leaderboard v3": "2025/2026, ml-energy/benchmark is Apache-2.0",
    "Argonne LLM-Inference-Bench": "2024, BSD-3-Clause; static batches, every fourth",
    "Splitwise": "2023, MIT; one request at a time",
}


def main() -> None:
    began = time.process_time()
    points, left_out = read_points(Path(sys.argv[1]))
    older, older_left_out = read_static(Path(sys.argv[1]))
    points, left_out = points + older, left_out + older_left_out
    table = stack_points(points)
    print(f"{len(points)} points, {len(older)} of them old static batches; left out:")
    for reason, count in left_out.most_common():
        print(f"  {count:5d} {reason}")
    scored = list(score_all(points))
    provenance = {
        "fitted_by": "benchmarks/serving_fit.py",
        "fitted_on": "2026-11-20",
        "points": len(points),
        "sources": SOURCES,
    }
    serving = serving_rows(points)
    intervals = quantiles([found.take(serving) for found in scored])
    fit = pooled(points, table)
    calibration = assemble(fit, points, table, intervals, centers(scored), provenance)
    made = report(points, scored)
    SHIPPED.mkdir(exist_ok=True)
    (SHIPPED / "serving.json").write_text(to_json(calibration))
    (SHIPPED / "accuracy.json").write_text(made.to_json())
    for row in made.rows:
        if row["by"] == "all":
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})
    print(f"{time.process_time() - began:.0f} CPU seconds; power {calibration.power}")


if __name__ == "__main__":
    main()
