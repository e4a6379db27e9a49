"""Published serving measurements, row by row, become points: what each row ran, in our terms.

Left out are rows whose accelerators, layout, model or drafting is not known, disaggregated ones,
and those that the collection flags as doubtful; the count of every reason is kept.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np

from headway.errors import InputError
from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model, find_precision
from headway.model.precision import Precision
from headway.serving.closed_loop import ClosedLoop
from headway.serving.load_steps import seats
from headway.serving.serving_point import ServingPoint
from headway.steptime.deployment import Deployment, EngineLimits
from headway.steptime.forward import useful_flops
from headway.steptime.parallelism import Parallelism
from headway.workload.step import Step
from tools.published_runs import limits_of_run

HARDWARE = {
    "A100-40GB-SXM": "a100-40g",
    "A100-80GB-SXM": "a100",
    "B200-SXM": "b200",
    "B300-SXM": "b300",
    "GB200-NVL72": "gb200-nvl72",
    "GB300-NVL72": "gb300-nvl72",
    "H100-SXM": "h100",
    "H200-SXM": "h200",
    "L40S": "l40s",
    "MI300X": "mi300x",
    "MI325X": "mi325x",
    "MI355X": "mi355x",
    "RTX PRO 6000 Blackwell SE": "rtx-pro-6000",
}
# The same layers under another name; the vision parts of multimodal models idle on text.
MODELS = {
    "DeepSeek-R1-NVFP4": "deepseek-r1",
    "DeepSeek-V3.1": "deepseek-v3",
    "DeepSeek-V3.1-NVFP4": "deepseek-v3",
    "GLM-5-FP8": "glm-5",
    "Kimi-K2.5": "kimi-k2",
    "Llama-3.1-405B-Instruct": "llama-3.1-405b",
    "Llama-3.1-405B-Instruct-FP8": "llama-3.1-405b",
    "Llama-3.1-70B-Instruct": "llama-3.1-70b",
    "Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
    "Llama-3.3-70B-Instruct": "llama-3.3-70b",
    "Llama-4-Maverick-17B-128E-Instruct-FP8": "llama-4-maverick",
    "Llama-4-Scout-17B-16E-Instruct": "llama-4-scout",
    "Meta-Llama-3-70B": "llama-3.1-70b",
    "Meta-Llama-3-8B": "llama-3.1-8b",
    "Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
    "Qwen3-235B-A22B-Instruct-2507-FP8": "qwen3-235b-a22b",
    "Qwen3-235B-A22B-Thinking-2507-FP8": "qwen3-235b-a22b",
    "Qwen3-32B-NVFP4": "qwen3-32b",
    "Llama-2-70b-hf": "llama-2-70b",
    "Llama-2-7b-hf": "llama-2-7b",
    "Mistral-7B-v0.1": "mistral-7b",
    "Mixtral-8x7B-v0.1": "mixtral-8x7b",
    "Qwen2-72B": "qwen2.5-72b",
    "Qwen2-7B": "qwen2.5-7b",
    "bloom": "bloom-176b",
    "gemma-3-12b-it": "gemma-3-12b",
    "gemma-3-27b-it": "gemma-3-27b",
}
# The latest first: where they overlap, it says how fast a configuration is.
SERVING_SOURCES = (
    "inferencex_2026_07_20",
    "inferencex_dashboard_2026_06",
    "aiconfigurator_silicon_sample",
    "inferencemax_2025_11",
)
ML_ENERGY = "mlenergy_v3"
# NVIDIA's own runs in aiconfigurator's sample, beside copies of InferenceX's. Their client names no
# way to sample, so that vLLM follows the model's own settings: top-p and top-k. At 128 requests its
# steps are longer than InferenceX's by 0.26 to 0.3 ns a number of the vocabulary, as ML.ENERGY's.
NVIDIA_OWN = "aiconfigurator_own_runs"
# Prompts of the two text tasks in tokens; the collection does not publish them. A turn of a chat is
# sent with the turns before it: 600 is what time the points of dense models on the H100 leave for
# prompts, beyond steps and sorting (non-negative least squares, three unknowns, 73 points).
PROMPT_TOKENS = {"gpqa": 250.0, "lm-arena-chat": 600.0}
# NVIDIA's own runs in aiconfigurator's sample that cover a grid; the others hold 1 to 15 rows.
LARGE_SETS = (
    "h100_sxm/trtllm/1.0.0rc3",
    "h100_sxm/vllm/0.12.0",
    "h100_sxm/sglang/0.5.1.post1",
    "h200_sxm/vllm/0.12.0",
    "h200_sxm/sglang/0.5.6.post2",
)
MAX_QUEUEING, MAX_UTILISATION, MAX_POWER = 0.5, 0.6, 1.05
MAX_OVERDRAWN = 0.25  # of a deployment's rows
MAX_LACKING = 0.1  # of a set's rows
MAX_PROMPTS_PER_STEP, MAX_UNEVENNESS = 0.05, 1.25  # of servers that stall
MAX_CHANGE = 1.25  # of the time per token, between two measurements of one configuration
MS = 1e-3
HARMLESS = ("gpus_corrected(tp*ep double count in source)",)
Row = Mapping[str, str]
Server = tuple[str, ...]


def read_points(path: Path) -> tuple[list[ServingPoint], Counter[str]]:
    """Return the usable closed-loop points of a ``measured.csv.gz``, and why others are not."""
    points: list[ServingPoint] = []
    left_out: Counter[str] = Counter()
    rows = [row for row in rows_of(path) if row["source"] in (*SERVING_SOURCES, ML_ENERGY)]
    stalling, overdrawn, misplaced = (
        stalling_servers(rows),
        overdrawn_servers(rows),
        misplaced_sets(rows),
    )
    for row in rows:
        reason = _doubt(row)
        if reason is None and row["source"] == ML_ENERGY and _server(row) in stalling:
            reason = "the server stalls between steps"
        if reason is None and _own_set(row) in misplaced:
            reason = "a set whose layouts do not hold the model"
        if reason is None:
            try:
                point = _saturated(row) if row["source"] == ML_ENERGY else _point(row)
                if _server(row) in overdrawn:
                    point = replace(point, energy_j=None)
                reason = impossible(point)
            except InputError as error:
                reason = f"not ours: {str(error)[:60]}"

        if reason is None:
            points.append(point)
        else:
            left_out[reason] += 1

    current = not_superseded(points)
    left_out["measured again later, with another time"] += len(points) - len(current)
    return current, left_out


def stalling_servers(rows: Iterable[Row]) -> set[Server]:
    """Return the servers of ML.ENERGY whose steps are uneven where all of them are alike.

    Long answers in a small batch are decode steps and nothing else: of a steady server, the 90th
    percentile of their gaps is 1.01 to 1.2 of the median; of one that stalls, 1.3 to 2.5.
    """
    ratios: dict[Server, list[float]] = {}
    for row in rows:
        if row["source"] == ML_ENERGY and _task(row) in PROMPT_TOKENS and row["itl_ms"]:
            prompts_per_step = float(row["batch"]) / max(float(row["output_len_actual"]), 1.0)
            p90_ms = float(row["notes"].partition("p90_itl=")[2].partition(";")[0])
            if prompts_per_step < MAX_PROMPTS_PER_STEP:
                ratios.setdefault(_server(row), []).append(p90_ms / float(row["itl_ms"]))
    return {server for server, own in ratios.items() if median(own) > MAX_UNEVENNESS}


def overdrawn_servers(rows: Iterable[Row]) -> set[Server]:
    """Return the deployments many of whose joules per token mean more than the TDP.

    Whoever counts those counts more than the accelerators named, and the rest are no better.
    """
    over: dict[Server, list[bool]] = {}
    for row in rows:
        share = _tdp_share(row)
        if share is not None:
            over.setdefault(_server(row), []).append(share > MAX_POWER)
    return {server for server, own in over.items() if sum(own) > MAX_OVERDRAWN * len(own)}


def misplaced_sets(rows: Iterable[Row]) -> set[str]:
    """Return NVIDIA's own sets some of whose rows name too few accelerators for the model.

    What is written there as the layout is not all of it (235 GB of weights on one H200).
    """
    lacking: dict[str, list[bool]] = {}
    for row in rows:
        name = _own_set(row)
        if name and _doubt(row) is None:
            point = _point(row)
            is_lacking = float(np.min(seats(point.deployment, point.load))) < 1
            lacking.setdefault(name, []).append(is_lacking)
    return {name for name, own in lacking.items() if sum(own) > MAX_LACKING * len(own)}


def not_superseded(points: Sequence[ServingPoint]) -> list[ServingPoint]:
    """Return ``points`` without those whose configuration ran at another speed later.

    Collections of InferenceX's runs overlap. Where two of them differ by a quarter and more in the
    time per token, an engine was mended in between; a copy of the same run differs by 5% at most.
    """
    latest: dict[tuple[object, ...], float] = {}
    for source in SERVING_SOURCES:
        for point in points:
            if point.source == source and point.tpot_s is not None:
                latest.setdefault(configuration(point), point.tpot_s)

    def is_current(point: ServingPoint) -> bool:
        if point.source not in SERVING_SOURCES or point.tpot_s is None:
            return True
        return abs(math.log(point.tpot_s / latest[configuration(point)])) <= math.log(MAX_CHANGE)

    return [point for point in points if is_current(point)]


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a collection; raise `InputError` where it cannot be read."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            yield from csv.DictReader(lines)
    except OSError as error:
        raise InputError(f"{path.name!r} cannot be read: {error.strerror or error}") from None


def _doubt(row: Row) -> str | None:
    if row["kind"] not in ("serving_closed_loop", "serving_saturated(max_num_seqs)"):
        return "concurrency unknown"
    if row["quality_flag"] and row["quality_flag"] not in HARMLESS:
        return "flagged: " + row["quality_flag"].split("(")[0].split(";")[0]
    if row["mode"] != "agg":
        return "disaggregated"
    if row["spec_decode"] != "none":
        return "tokens drafted, how many is not published"
    if row["source"] == ML_ENERGY and _task(row) not in PROMPT_TOKENS:
        return "images, video or code of unknown prompt length"
    if "nvidia-internal" in row["source_detail"] and not _large_set(row["source_detail"]):
        return "a handful of runs under unknown conditions"
    if row["hardware"] not in HARDWARE:
        return "hardware not in the catalogue"
    if not (row["tp"] and row["concurrency"] and row["n_gpus"]):
        return "layout or concurrency not published"
    return None


@cache
def cell(point: ServingPoint) -> tuple[str, ...]:
    """Return what a sweep of loads was measured of."""
    return point.hardware, point.engine, point.model, point.weights


@cache
def configuration(point: ServingPoint) -> tuple[object, ...]:
    """Return what points have in common that measured the same; who measured is not in it."""
    load = point.load
    return (
        *cell(point),
        str(point.deployment.parallelism),
        float(load.prompt_tokens),
        float(load.output_tokens),
        round(float(load.concurrency)),
    )


@cache
def find_measured(name: str) -> tuple[str, ModelArchitecture]:
    """The catalogue's name and the architecture of a measured model."""
    short = name.rpartition("/")[2]
    model = find_model(MODELS.get(short, short))
    return model.name, model


@cache
def _cluster(hardware: str) -> Cluster:
    return find_cluster(HARDWARE[hardware])


@cache
def _precision(model: str, written: str, hardware: str, engine: str) -> Precision:
    """What ``written`` stands for: the published checkpoint of that width on that hardware."""
    blackwell = hardware[:2] in ("B2", "B3", "GB")
    name, _ = find_measured(model)
    if written == "model default":
        return find_precision(MODELS.get(model.rpartition("/")[2], model))
    if written in ("bf16", "bfloat16", "fp16"):
        return Precision.parse("bf16")
    if name.startswith("gpt-oss"):
        # Both engines' scripts cache in 8 bits on Blackwell, and as published elsewhere.
        return Precision.parse(f"mxfp4+bf16/bf16/{'fp8' if blackwell else 'bf16'}")
    mixture = not name.startswith(("llama-3", "qwen3-32b", "qwen3-8b", "qwen3-14b"))
    cache_format = "fp8" if blackwell or engine == "TensorRT-LLM" else "bf16"
    if written == "fp8":
        return Precision.parse(f"fp8/fp8/{cache_format}")
    if written == "fp4":
        four = "mxfp4" if hardware.startswith("MI") else "nvfp4"
        # NVIDIA's and AMD's checkpoints of mixtures leave the attention of these in 16 bits.
        attention = "+bf16" if mixture else ""
        return Precision.parse(f"{four}{attention}/{four}/{cache_format}")
    if written == "int4":
        return Precision.parse("int4+bf16/bf16/bf16")
    if written == "mxfp4":
        return Precision.parse("mxfp4+bf16/bf16/bf16")
    raise InputError(f"precision {written!r} is not one of ours")


def _point(row: Row) -> ServingPoint:
    _, model = find_measured(row["model"])
    gpus, tp = int(float(row["n_gpus"])), int(float(row["tp"]))
    pp = int(float(row["pp"] or 1))
    ep = int(float(row["ep"] or 1))
    is_attention_dp = row["dp_attn"] in ("1.0", "1") and tp > 1
    layout = Parallelism(1, pp, tp, tp) if is_attention_dp else Parallelism(tp, pp, 1, ep)
    if float(layout.num_accelerators) != gpus:
        raise InputError("layout does not multiply to the accelerators")

    precision = _precision(row["model"], row["weight_precision"], row["hardware"], row["engine"])
    engine = row["engine"].lower().split(" ")[0]
    cluster = _cluster(row["hardware"])

    # What was measured: a time to first token is a median or a mean.
    tpot, ttft = _number(row["tpot_ms"]), _number(row["ttft_ms"])
    mean = row["ttft_stat"].startswith("mean")
    total = _number(row["tput_total_tok_s_gpu"])
    notes = dict(n.split("=", 1) for n in row["notes"].split(";") if "=" in n)
    mean_ttft = ttft if mean else _number(notes.get("mean_ttft_ms", ""))

    is_own = "nvidia-internal" in row["source_detail"]
    users = float(row["concurrency"])
    limits = None if is_own else limits_of_run(engine, model.name, cluster.name, users)
    return ServingPoint(
        source=NVIDIA_OWN if is_own else row["source"],
        deployment=Deployment(
            model,
            cluster,
            parallelism=layout,
            precision=precision,
            engine=engine,
            limits=limits,
            top_p=is_own,
        ),
        load=ClosedLoop(
            float(row["input_len_actual"] or row["input_len"]),
            float(row["output_len_actual"] or row["output_len"]),
            users,
        ),
        tpot_s=None if tpot is None else tpot * MS,
        ttft_s=None if ttft is None or mean else ttft * MS,
        mean_ttft_s=None if mean_ttft is None else mean_ttft * MS,
        total_tok_per_s=None if total is None else total * gpus,
        energy_j=_sane_energy(row),
        power_w=_number(row["power_w_gpu"]),
    )


def _saturated(row: Row) -> ServingPoint:
    """A point of ML.ENERGY: full batches, from which the time per token follows by Little's law."""
    _, model = find_measured(row["model"])
    gpus, cluster = int(float(row["n_gpus"])), _cluster(row["hardware"])
    tp, ep = int(float(row["tp"])), int(float(row["ep"] or 1))
    if tp != gpus:
        raise InputError("data-parallel degrees are not told apart")

    precision = _precision(row["model"], row["weight_precision"], row["hardware"], "vllm")
    out = float(row["tput_output_tok_s_gpu"]) * gpus
    batch = float(row["batch"])
    prompt, output = PROMPT_TOKENS[_task(row)], max(float(row["output_len_actual"]), 2.0)

    return ServingPoint(
        source=row["source"],
        deployment=Deployment(
            model,
            cluster,
            tp=tp,
            ep=ep,
            precision=precision,
            engine="vllm",
            limits=EngineLimits(max_num_seqs=65536),
            top_p=True,
        ),
        load=ClosedLoop(prompt, output, max(batch, 1.0)),
        tpot_s=batch / out,
        power_w=float(row["power_w_gpu"]),
        energy_j=float(row["energy_j_per_out_tok"]),
    )


def _task(row: Row) -> str:
    return row["notes"].partition("task=")[2].partition(";")[0]


def _large_set(detail: str) -> bool:
    return any(name in detail for name in LARGE_SETS)


def impossible(point: ServingPoint) -> str | None:
    """Why a row cannot be the steady state of what it says it ran, by its own numbers."""
    d, load = point.deployment, point.load
    prompt, output = float(load.prompt_tokens), float(load.output_tokens)
    if float(np.min(seats(d, load))) < 1:
        return "the model does not fit the accelerators named"
    waited = point.mean_ttft_s or point.ttft_s or 0.0
    took = waited + (point.tpot_s or 0.0) * output
    if waited > MAX_QUEUEING * took:
        return "flagged: queueing_dominates (time to first token above half of all)"
    flops = useful_flops(d.model, d.precision, Step.prefill(1, prompt)) + output * useful_flops(
        d.model, d.precision, Step.decode(1, prompt + output / 2)
    )
    peak = d.cluster.accelerator.flops_per_s(d.precision.activations)
    rate = float(load.concurrency) / took * float(flops)
    if rate > MAX_UTILISATION * peak * float(d.parallelism.num_accelerators):
        return "more arithmetic than 0.6 of the peak"
    return None


def _sane_energy(row: Row) -> float | None:
    """Joules per output token, unless they mean more than the TDP: then the count is doubtful."""
    share = _tdp_share(row)
    return _number(row["energy_j_per_out_tok"]) if share is None or share <= MAX_POWER else None


def _tdp_share(row: Row) -> float | None:
    """Watts over TDP that joules per output token mean; ``None`` where that cannot be told."""
    joules, total = _number(row["energy_j_per_out_tok"]), _number(row["tput_total_tok_s_gpu"])
    if joules is None or total is None or row["hardware"] not in HARDWARE:
        return None
    tdp_w = _cluster(row["hardware"]).accelerator.tdp_w
    output = float(row["output_len_actual"] or row["output_len"])
    share = output / (output + float(row["input_len_actual"] or row["input_len"]))
    return None if tdp_w is None else joules * total * share / tdp_w


def _server(row: Row) -> Server:
    """Return what ran: model, format and engine on so many accelerators of a kind."""
    is_own = row["source"] == ML_ENERGY
    layout = (row["n_gpus"], row["tp"], row["ep"]) if is_own else ()
    return (row["model"], row["weight_precision"], row["hardware"], row["engine"], *layout)


def _own_set(row: Row) -> str:
    """Return the file of NVIDIA's own runs that a row is from, empty for any other row."""
    return row["source_detail"].partition("nvidia-internal:")[2]


def _number(text: str) -> float | None:
    return float(text) if text else None
