"""Models that nobody profiled, against the A100 profiles of 2022: what a configuration alone tells.

Every model of Narayanan et al. 2023 (arXiv 2305.02440) from its shape, on as many A100s as they
used: once as today's engines run it (the shipped calibration, which has seen no A100 and none of
these models), once from the data sheet. Their software, Megatron-LM of 2022, is slower than either;
what is left once that one factor is taken from the twelve other models is the error of the method.
Data: ../shared/data/idealized (not in the repository).

    python benchmarks/ideal_unprofiled.py [folder of profile_a100.csv]
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

from headway.dtypes import DType
from headway.hardware.catalogue import find_cluster
from headway.ideal.idealized import IdealizedRuntime
from headway.ideal.reference import CALIBRATED_CONFIDENCE
from headway.ideal.request_profile import FloatArray
from headway.model.architecture import LayerGroup, ModelArchitecture
from headway.model.attention import GroupedQueryAttention
from headway.model.ffn import DenseFfn
from headway.model.precision import Precision
from headway.steptime.analytic import AnalyticStepTime
from headway.steptime.calibrated import CalibratedStepTime
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism
from headway.steptime.step_time import StepTimeModel

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "idealized"
FP16 = Precision(DType.FP16, DType.FP16, DType.FP16)


def deployments(folder: Path) -> dict[str, Deployment]:
    """The thirteen models as they were profiled (a third of MT-NLG's layers)."""
    cluster, by_model = find_cluster("a100"), {}
    with (folder / "model_configs_from_logs.csv").open() as lines:
        for row in csv.DictReader(lines):
            if row["hw"] != "a100":
                continue
            hidden, heads = int(row["h"]), int(row["heads"])
            vocab = int(row["vocab"].strip("()").split(",")[-1].strip(" '"))
            attention = GroupedQueryAttention(heads, heads, hidden // heads)
            layers = LayerGroup(int(row["L"]), attention, DenseFfn(int(row["ffn"]), gated=False))
            model = ModelArchitecture(row["model"], hidden, vocab, (layers,), True)
            split = Parallelism(tp=int(row["tp"]))
            by_model[row["model"]] = Deployment(model, cluster, parallelism=split, precision=FP16)
    return by_model


def measured(folder: Path) -> dict[str, tuple[FloatArray, FloatArray, FloatArray]]:
    """Prompt tokens, output tokens and seconds of every model."""
    rows: dict[str, list[list[float]]] = {}
    with (folder / "profile_a100.csv").open() as lines:
        for row in csv.DictReader(lines):
            point = [float(row[name]) for name in ("p", "o", "runtime_s")]
            rows.setdefault(row["model"], []).append(point)
    arrays = {model: np.asarray(table).T for model, table in rows.items()}
    return {model: (table[0], table[1], table[2]) for model, table in arrays.items()}


def ranks(values: list[float]) -> FloatArray:
    return np.argsort(np.argsort(values)).astype(np.float64)


def compare(kind: str, folder: Path) -> dict[str, object]:
    """Measured over told, by model; then the error once the others' mean factor is known."""
    points, logs, coverage = measured(folder), {}, []
    for model, deployment in deployments(folder).items():
        prompts, outputs, seconds = points[model]
        steps: StepTimeModel = (
            AnalyticStepTime(deployment)
            if kind == "data sheet"
            else CalibratedStepTime(deployment, kind)
        )
        calibrated = None if kind == "data sheet" else CALIBRATED_CONFIDENCE
        runtime = IdealizedRuntime(steps, confidence=calibrated, with_overhead=False)
        logs[model] = np.log(seconds / runtime.predict(prompts, outputs))
        low, high = runtime.interval(prompts, outputs)
        coverage.append(float(np.mean((seconds >= low) & (seconds <= high))))
    print(f"\n{kind}: measured over predicted\n{'model':16} median   least    most   error left")
    rest = []
    for model, ratio in logs.items():
        others = float(np.mean([np.median(other) for name, other in logs.items() if name != model]))
        rest.append(float(np.mean(np.abs(np.exp(others - ratio) - 1))))
        ends = np.exp(np.quantile(ratio, [0.5, 0.0, 1.0]))
        print(f"{model:16} {ends[0]:6.2f}  {ends[1]:6.2f}  {ends[2]:6.2f}  {100 * rest[-1]:8.0f}%")

    # What is left to say of all models together.
    whole = [float(points[m][2].mean()) for m in logs]
    predicted_s = [float((points[m][2] / np.exp(logs[m])).mean()) for m in logs]
    order = float(np.corrcoef(ranks(whole), ranks(predicted_s))[0, 1])
    off = [float(np.mean(np.abs(np.exp(-ratio) - 1))) for ratio in logs.values()]
    return {
        "median_factor": float(np.exp(np.median([np.median(ratio) for ratio in logs.values()]))),
        "mean_error_pct": 100 * float(np.mean(off)),
        "mean_error_with_the_others_factor_pct": 100 * float(np.mean(rest)),
        "rank_correlation": order,
        "interval_holds_pct": 100 * float(np.mean(coverage)),
    }


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    kinds = ("vllm", "sglang", "tensorrt-llm", "data sheet")
    print(json.dumps({kind: compare(kind, folder) for kind in kinds}))


if __name__ == "__main__":
    main()
