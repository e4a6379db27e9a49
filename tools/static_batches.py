"""Published static batches, older than the serving points: other chips, models and engine versions.

All requests of a batch start together and nobody follows them, so the same steps explain them:
prompts first, then decode steps. Engines of 2023 and 2024 were slower; the fit learns how much.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from headway.errors import InputError
from headway.hardware.catalogue import find_cluster
from headway.model.precision import Precision
from headway.serving.closed_loop import ClosedLoop
from headway.serving.serving_point import ServingPoint
from headway.steptime.deployment import Deployment
from tools.published_points import HARDWARE, MS, Row, find_measured, impossible, rows_of
from tools.serving_coefficients import OLD

ARGONNE, SPLITWISE = OLD
ENGINES = {"vLLM": "vllm", "vLLM (2023 fork)": "vllm", "TensorRT-LLM": "tensorrt-llm"}
# Every other size of a sweep says nearly the same: of Argonne's 3,000 rows every fourth is kept.
STRIDE = 4


def read_static(path: Path) -> tuple[list[ServingPoint], Counter[str]]:
    """Return the usable static batches of a ``measured.csv.gz``, and why others were left out."""
    points: list[ServingPoint] = []
    left_out: Counter[str] = Counter()
    num_argonne = 0
    for row in rows_of(path):
        if row["source"] not in OLD:
            continue
        reason = _doubt(row)
        if reason is None:
            num_argonne += row["source"] == ARGONNE
            if row["source"] == ARGONNE and num_argonne % STRIDE:
                reason = "thinned out"
        if reason is None:
            try:
                point = _point(row)
                reason = impossible(point)
            except InputError as error:
                reason = f"not ours: {str(error)[:60]}"

        if reason is None:
            points.append(point)
        else:
            left_out[reason] += 1
    return points, left_out


def _doubt(row: Row) -> str | None:
    if row["quality_flag"]:
        return "flagged: " + row["quality_flag"].split("(")[0].split(";")[0]
    if row["engine"] not in ENGINES:
        return "engine without serving points"
    if row["hardware"] not in HARDWARE:
        return "hardware not in the catalogue"
    if row["source"] == SPLITWISE and float(row["batch"]) > 1:
        return "prompts of a batch of unknown order"
    if not (row["ttft_ms"] or row["e2e_ms"]):
        return "no time published"
    if float(row["pp"] or 1) > 1 or float(row["tp"]) != float(row["n_gpus"]):
        return "layout not published"
    return None


def _point(row: Row) -> ServingPoint:
    _, model = find_measured(row["model"])
    written = row["weight_precision"]
    precision = Precision.parse("fp16" if written == "fp16" else "fp8/fp8/fp8")
    prompt, output = float(row["input_len"]), float(row["output_len"])
    batch = float(row["batch"])
    engine = ENGINES[row["engine"]]
    gaps = output - 1

    # A batch's time is that of its steps; a first token is only its own where it was alone.
    ttft = float(row["ttft_ms"]) * MS if row["ttft_ms"] and batch == 1 else None
    tpot = None
    if row["source"] == ARGONNE and row["e2e_ms"] and gaps > 0:
        tpot = float(row["e2e_ms"]) * MS / gaps
    elif row["tpot_ms"] and row["source"] == SPLITWISE:
        tpot = float(row["tpot_ms"]) * MS
    if ttft is None and tpot is None:
        raise InputError("nothing of a single request is published")

    return ServingPoint(
        source=row["source"],
        deployment=Deployment(
            model,
            find_cluster(HARDWARE[row["hardware"]]),
            tp=int(float(row["tp"])),
            precision=precision,
            engine=engine,
        ),
        load=ClosedLoop(prompt, output, batch, static=row["source"] == ARGONNE),
        mixes=False,
        tpot_s=tpot,
        ttft_s=ttft,
    )
