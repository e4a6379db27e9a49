"""Measured points of chips, engines and kinds of runs that are in no fit: how far off we are.

Static batches of Argonne on GH200, MI250 and Intel Max and of NVIDIA's own tables, and llama.cpp
with one request on several accelerators, all of ``measured.csv.gz``. Nothing was fitted to them.
Argonne's batches on A100, H100 and MI300X are in the fit and left out here, and so is llama.cpp
on one accelerator, which ``tools/fit_local.py`` scores with each chip left out.

    python benchmarks/serving_unseen.py MEASURED.csv.gz [--csv FILE]
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tools.local_scores import CHIPS as LOCAL_CHIPS
from tools.published_points import MS, Row, find_measured, rows_of

from headway.errors import HeadwayError, InputError
from headway.hardware.catalogue import find_cluster
from headway.model.precision import Precision
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import serve
from headway.steptime.deployment import Deployment

ARGONNE, NVIDIA, CONSUMER = (
    "llm_inference_bench_anl",
    "trtllm_perf_overview",
    "llamacpp_consumer_gpus",
)
FITTED = ("A100-40GB-SXM", "H100-SXM", "MI300X")  # of Argonne's
CHIPS = LOCAL_CHIPS | {
    "A100-80GB-SXM": "a100",
    "H200-SXM": "h200",
    "L40S": "l40s",
}
ENGINES = {
    "vLLM": "vllm",
    "TensorRT-LLM": "tensorrt-llm",
    "llama.cpp": "llama.cpp",
    "llama.cpp (2024-05)": "llama.cpp",
}
FORMATS = {
    "Q4_K_M": "int4/fp16/fp16",
    "F16": "fp16",
    "fp16": "fp16",
    "fp8": "fp8/fp8/fp8",
    "bf16": "bf16",
}


@dataclass(frozen=True, slots=True)
class Score:
    """One point: where it belongs, and seconds per token, ours with its interval and measured."""

    source: str
    chip: str
    engine: str
    expected_s: float
    lower_s: float
    upper_s: float
    measured_s: float


def scores(path: Path) -> tuple[list[Score], Counter[str]]:
    """Return the scores of all usable rows, and why others are not."""
    found: list[Score] = []
    left_out: Counter[str] = Counter()
    for row in rows_of(path):
        if row["source"] not in (ARGONNE, NVIDIA, CONSUMER):
            continue
        try:
            found.append(_score(row))
        except HeadwayError as error:
            left_out[str(error)[:60]] += 1
    return found, left_out


def _score(row: Row) -> Score:
    if row["source"] == ARGONNE and row["hardware"] in FITTED:
        raise InputError("in the fit")
    if row["source"] == ARGONNE and row["quality_flag"]:
        raise InputError(f"flagged: {row['quality_flag'].split('(')[0]}")
    if row["kind"] not in ("offline_static", "single_stream_decode"):
        raise InputError(f"a run of the kind {row['kind']}")
    for table, name in ((CHIPS, "hardware"), (ENGINES, "engine"), (FORMATS, "weight_precision")):
        if row[name] not in table:
            raise InputError(f"no such {name}: {row[name]}")

    local, static = ENGINES[row["engine"]] == "llama.cpp", row["kind"] == "offline_static"
    gpus, tp = float(row["n_gpus"]), float(row["tp"] or row["n_gpus"])
    if local and gpus == 1:
        raise InputError("in the fit of llama.cpp")
    if float(row["pp"] or 1) > 1 or (not local and tp != gpus):
        raise InputError("pipelines and unknown layouts")

    _, model = find_measured(row["model"])
    prompt, output = max(float(row["input_len"]), 1.0), float(row["output_len"])
    batch = float(row["batch"] or 1)
    if local and static:
        # The "batch" of these runs is llama-bench's -b: at 1, the prompt too passes token by token.
        prompt, output = 1.0, prompt + output
    deployment = Deployment(
        model,
        find_cluster(CHIPS[row["hardware"]]),
        tp=int(gpus),
        precision=Precision.parse(FORMATS[row["weight_precision"]]),
        engine=ENGINES[row["engine"]],
    )
    served = serve(deployment, ClosedLoop(prompt, output, batch, static=static))
    if float(served.shape.seats) < batch:
        raise InputError("the batch does not fit at once")

    if local and not static:
        measured_s = float(row["tpot_ms"]) * MS
    elif row["e2e_ms"]:
        measured_s = float(row["e2e_ms"]) * MS / max(output - 1, 1)
    elif not row["tput_output_tok_s_gpu"]:
        raise InputError("no time and no rate")
    else:
        measured_s = batch / (float(row["tput_output_tok_s_gpu"]) * gpus)
    perfect = served.served.perfect
    if perfect is not None and measured_s < float(perfect.tpot_s):
        raise InputError("faster than the data sheet allows")
    ours = served.tpot_s
    return Score(
        source=row["source"],
        chip=CHIPS[row["hardware"]],
        engine=str(deployment.engine),
        expected_s=float(ours.expected),
        lower_s=float(ours.lower),
        upper_s=float(ours.upper),
        measured_s=measured_s,
    )


def lines(found: list[Score]) -> Iterator[str]:
    """Yield the table: all, then each source, chip and engine."""
    yield "| points of | n | MAPE | bias | within 25% | interval holds |"
    yield "|---|---|---|---|---|---|"
    groups: dict[str, list[Score]] = defaultdict(list)
    for score in found:
        groups["all"].append(score)
        groups[score.source].append(score)
        groups[f"{score.source}, {score.chip}, {score.engine}"].append(score)
    for name, own in sorted(groups.items(), key=lambda group: (group[0] != "all", group[0])):
        ratio = np.array([score.expected_s / score.measured_s for score in own])
        holds = np.mean([score.lower_s <= score.measured_s <= score.upper_s for score in own])
        yield (
            f"| {name} | {len(own)} | {np.mean(abs(ratio - 1)):.1%} | "
            f"{np.expm1(np.median(np.log(ratio))):+.1%} | {np.mean(abs(ratio - 1) <= 0.25):.0%} | "
            f"{holds:.0%} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Points of what is in no fit.")
    parser.add_argument("measured", type=Path)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    found, left_out = scores(options.measured)
    print("\n".join(lines(found)))
    for reason, count in left_out.most_common():
        print(f"left out, {reason}: {count}")
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Score.__slots__)
            writer.writerows([getattr(s, name) for name in Score.__slots__] for s in found)


if __name__ == "__main__":
    main()
