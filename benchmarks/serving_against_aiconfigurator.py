"""Side by side with NVIDIA's aiconfigurator 0.12 on the same 200 measured points.

The points are picked once, by seed: every combination of engine, hardware, model and format in
turn, until 200 are found that both can answer. aiconfigurator has measured the kernels of the very
hardware, and its own product was checked on many of these rows. We are shown beside it as
`tools.fit_serving` scores us: fitted to all points, as what ships is ("in sample"), and held out,
without a twelfth of the pairs of accelerator and model, without the accelerator, without the model.

aiconfigurator needs an environment of its own (850 MB, Linux x86-64):

    python3 -m venv aic && aic/bin/pip install aiconfigurator==0.12.0
    python benchmarks/serving_against_aiconfigurator.py MEASURED.csv.gz --peer-python aic/bin/python

Its answers are kept in --answers, so that a second run only asks what is new.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tools.held_out import CELL, HARDWARE, IN_SAMPLE, MODEL, Scored, score_all
from tools.measured_table import read_measured
from tools.published_points import ML_ENERGY
from tools.serving_coefficients import OLD

from headway.model.ffn import MoeFfn
from headway.serving.serving_point import ServingPoint

WANTED, SEED = 200, 20261120
DRIVER = Path(__file__).with_name("aiconfigurator_driver.py")
INSTALL = (
    "aiconfigurator is not in that interpreter; make one with "
    "'python3 -m venv aic && aic/bin/pip install aiconfigurator==0.12.0' "
    "and give --peer-python aic/bin/python"
)
SYSTEMS = {
    "a100": "a100_sxm",
    "b200": "b200_sxm",
    "b300": "b300_sxm",
    "gb200-nvl72": "gb200",
    "gb300-nvl72": "gb300",
    "h100": "h100_sxm",
    "h200": "h200_sxm",
    "l40s": "l40s",
    "rtx-pro-6000": "rtx_pro_6000_server",
}
ENGINES = {"tensorrt-llm": "trtllm"}
# Our model and weights: the checkpoint of that format that it knows, else the nearest in layers.
CHECKPOINTS = {
    "deepseek-r1": "deepseek-ai/DeepSeek-R1",
    "deepseek-r1 nvfp4": "nvidia/DeepSeek-V3.1-NVFP4",
    "deepseek-v3": "deepseek-ai/DeepSeek-V3",
    "deepseek-v3 nvfp4": "nvidia/DeepSeek-V3.1-NVFP4",
    "glm-5": "zai-org/GLM-5",
    "glm-5 fp8": "zai-org/GLM-5-FP8",
    "glm-5 nvfp4": "nvidia/GLM-5-NVFP4",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "kimi-k2": "moonshotai/Kimi-K2.5",
    "kimi-k2 nvfp4": "nvidia/Kimi-K2.5-NVFP4",
    "llama-3.1-405b": "meta-llama/Meta-Llama-3.1-405B",
    "llama-3.1-70b": "meta-llama/Meta-Llama-3.1-70B",
    "llama-3.1-70b fp8": "nvidia/Llama-3.1-70B-Instruct-FP8",
    "llama-3.1-8b": "meta-llama/Meta-Llama-3.1-8B",
    "llama-3.3-70b": "meta-llama/Meta-Llama-3.1-70B",
    "llama-3.3-70b fp8": "nvidia/Llama-3.1-70B-Instruct-FP8",
    "minimax-m2.5": "MiniMaxAI/MiniMax-M2.5",
    "minimax-m2.5 nvfp4": "nvidia/MiniMax-M2.5-NVFP4",
    "qwen3-235b-a22b": "Qwen/Qwen3-235B-A22B",
    "qwen3-235b-a22b fp8": "Qwen/Qwen3-235B-A22B-FP8",
    "qwen3-235b-a22b nvfp4": "nvidia/Qwen3-235B-A22B-NVFP4",
    "qwen3-30b-a3b": "Qwen/Qwen3-30B-A3B",
    "qwen3-30b-a3b fp8": "Qwen/Qwen3-30B-A3B-FP8",
    "qwen3-32b": "Qwen/Qwen3-32B",
    "qwen3-32b fp8": "Qwen/Qwen3-32B-FP8",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3.5-397b-a17b": "Qwen/Qwen3.5-397B-A17B",
    "qwen3.5-397b-a17b nvfp4": "nvidia/Qwen3.5-397B-A17B-NVFP4",
}
# What is published in one format and must be asked for in another, by quantization of its products.
FORMATS = {"fp8": "fp8", "nvfp4": "nvfp4"}
BLOCKWISE = ("glm-5", "minimax-m2.5", "qwen3.5-397b-a17b")  # fp8 in blocks, as DeepSeek's
Floats = npt.NDArray[np.float64]
GROUPS: Mapping[str, Callable[[ServingPoint], str]] = {
    "all": lambda p: "",
    "engine": lambda p: p.engine,
    "hardware": lambda p: p.hardware,
    "model": lambda p: p.model,
}
TITLES = {IN_SAMPLE: "in sample", CELL: "pair out", HARDWARE: "hardware out", MODEL: "model out"}
QUANTITIES = ("tpot", "throughput", "ttft", "mean_ttft")


@dataclass(frozen=True)
class Asked:
    """A point, and what the peer said of it."""

    point: ServingPoint
    ttft_s: float
    tpot_s: float
    total_tok_per_s: float
    over_capacity: bool


def stratum(point: ServingPoint) -> tuple[str, ...]:
    return point.engine, point.hardware, point.model, point.weights


def in_turn(points: Sequence[ServingPoint]) -> list[ServingPoint]:
    """All points in the order in which they are asked: one of every stratum, then the next."""
    random = np.random.default_rng(SEED)
    strata: dict[tuple[str, ...], list[ServingPoint]] = {}
    for i in random.permutation(len(points)):
        strata.setdefault(stratum(points[i]), []).append(points[i])
    turns = [strata[name] for name in sorted(strata)]
    return [turn[i] for i in range(max(map(len, turns))) for turn in turns if i < len(turn)]


def question(point: ServingPoint) -> dict[str, Any] | None:
    """The point in the peer's words; ``None`` where it has no words for it."""
    d, load = point.deployment, point.load
    system = SYSTEMS.get(point.hardware)
    path = CHECKPOINTS.get(f"{point.model} {point.weights}", CHECKPOINTS.get(point.model))
    if system is None or path is None:
        return None
    tp, dp, ep = (int(getattr(d.parallelism, name)) for name in ("tp", "dp", "ep"))
    words: dict[str, Any] = {
        "model_path": path,
        "system_name": system,
        "backend_name": ENGINES.get(point.engine, point.engine),
        "isl": round(float(load.prompt_tokens)),
        "osl": round(float(load.output_tokens)),
        "batch_size": math.ceil(float(load.concurrency) / dp),
        "tp_size": tp,
        "pp_size": int(d.parallelism.pp),
        "attention_dp_size": dp,
        "moe_tp_size": tp * dp // ep,
        "moe_ep_size": ep,
    }
    own = f"{point.model} {point.weights}" in CHECKPOINTS
    if not own and point.weights in FORMATS and not point.model.startswith("deepseek"):
        products = "fp8_block" if point.model in BLOCKWISE else FORMATS[point.weights]
        words |= {"gemm_quant_mode": products, "moe_quant_mode": products}
    eight = {"kvcache_quant_mode": "fp8"} if d.precision.kv_cache.bits == 8 else {}
    variants = [words | eight, words] if eight else [words]
    if tp > 1 and ep == 1 and any(isinstance(g.ffn, MoeFfn) for g in d.model.layers):
        variants.append(words | {"moe_tp_size": 1, "moe_ep_size": tp})
    return {"id": repr((stratum(point), sorted(words.items()))), "variants": variants}


def ask(
    python: str, points: Sequence[ServingPoint], kept: Path
) -> tuple[list[Asked], Counter[str]]:
    """The first `WANTED` points that the peer answers, and how often it did not, by reason."""
    known: dict[str, dict[str, Any]] = {}
    if kept.exists():
        known = {found["id"]: found for found in map(json.loads, kept.read_text().splitlines())}
    answered: list[Asked] = []
    silent: Counter[str] = Counter()
    with Peer(python) as peer, kept.open("a") as file:
        for point in points:
            if len(answered) == WANTED:
                break
            asked = question(point)
            if asked is None:
                silent["no such accelerator or model in it"] += 1
                continue
            if asked["id"] not in known:
                known[asked["id"]] = peer.answer(asked)
                file.write(json.dumps(known[asked["id"]]) + "\n")
            found = known[asked["id"]]
            if "refused" in found:
                silent[found["refused"].split(":")[0]] += 1
            else:
                tokens = float(point.load.prompt_tokens + point.load.output_tokens)
                answered.append(
                    Asked(
                        point,
                        found["ttft_s"],
                        found["tpot_s"],
                        found["requests_per_s"] * tokens,
                        found["over_capacity"],
                    )
                )
    return answered, silent


class Peer:
    """A process of the peer's interpreter, started when first asked."""

    def __init__(self, python: str) -> None:
        self.python = python
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process is not None:
            self.process.communicate()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Ask one question; leave the benchmark where the interpreter lacks the peer."""
        if self.process is None:
            self.process = subprocess.Popen(
                [self.python, str(DRIVER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SystemExit(INSTALL)
        found: dict[str, Any] = json.loads(line)
        return found


def off(said: Floats, measured: Floats) -> Floats:
    return np.asarray(np.abs(said / measured - 1))


def scores(errors: Floats) -> str:
    within = np.mean(errors <= 0.25) * 100
    return f"{errors.mean() * 100:.1f} / {np.median(errors) * 100:.1f} / {within:.0f}%"


def main() -> None:
    parser = argparse.ArgumentParser(description="Side by side with aiconfigurator.")
    parser.add_argument("measured", type=Path)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--answers", type=Path, default=Path("aiconfigurator-answers.jsonl"))
    options = parser.parse_args()

    points, points_table, _ = read_measured(options.measured)
    # ML.ENERGY publishes neither prompts nor times per token: nothing to ask the peer about.
    askable = [p for p in points if p.source != ML_ENERGY and p.source not in OLD]
    order = in_turn(askable)
    answered, silent = ask(options.peer_python, order, options.answers)
    chosen = [found.point for found in answered]
    tried = len(answered) + sum(silent.values())
    print(f"{tried} points asked for {len(answered)} that both answer; Headway left out 0,")
    print(f"aiconfigurator {sum(silent.values())}: {dict(silent.most_common())}")
    print(
        f"of its answers, {sum(a.over_capacity for a in answered)} with a warning of its own "
        "that the KV cache is too small"
    )

    place = {id(point): i for i, point in enumerate(points)}
    rows = np.array([place[id(point)] for point in chosen], np.int64)
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as executor:
        scored = [scores.take(rows) for scores in score_all(points, points_table, executor)]
    compare(answered, scored, tried)


def compare(answered: Sequence[Asked], scored: Sequence[Scored], tried: int) -> None:
    """Print its errors beside ours by quantity and group, and in how many groups ours are lower."""
    chosen = [found.point for found in answered]
    said = {
        "tpot": np.array([a.tpot_s for a in answered]),
        "ttft": np.array([a.ttft_s for a in answered]),
        "mean_ttft": np.array([a.ttft_s for a in answered]),
        "throughput": np.array([a.total_tok_per_s for a in answered]),
    }
    measured = {
        "tpot": values(chosen, lambda p: p.tpot_s),
        "throughput": values(chosen, lambda p: p.total_tok_per_s),
        "ttft": values(chosen, lambda p: p.ttft_s),
        "mean_ttft": values(chosen, lambda p: p.mean_ttft_s),
    }
    ours = {
        TITLES[scores.split]: {
            name: measured[name] / np.exp(scores.errors[name]) for name in QUANTITIES
        }
        for scores in scored
    }
    rows = table(chosen, said, ours, measured)
    lower = {k: sum(row[k] < row["aiconfigurator"] for row in rows) for k in ours}
    print("\ngroups with a lower mean error than its, of all:")
    print(json.dumps({"points": len(chosen), "asked": tried, "groups": len(rows), **lower}))


def values(points: Sequence[ServingPoint], of: Callable[[ServingPoint], float | None]) -> Floats:
    return np.array([np.nan if of(p) is None else of(p) for p in points], dtype=np.float64)


def table(
    chosen: Sequence[ServingPoint],
    said: Mapping[str, Floats],
    ours: Mapping[str, Mapping[str, Floats]],
    measured: Mapping[str, Floats],
) -> list[dict[str, Any]]:
    """Print errors by quantity and group as Markdown, and return them."""
    rows: list[dict[str, Any]] = []
    for quantity, truth in measured.items():
        print(f"\n### {quantity}: mean / median error / within 25%\n")
        print("| group | points | aiconfigurator | " + " | ".join(ours) + " |")
        print("|---|---|---|" + "---|" * len(ours))
        for grouping, group in GROUPS.items():
            names = np.array([group(point) for point in chosen])
            for name in sorted(set(names)):
                here = (names == name) & np.isfinite(truth)
                if not here.any():
                    continue
                peer = off(said[quantity][here], truth[here])
                own = {k: off(v[quantity][here], truth[here]) for k, v in ours.items()}
                label = f"{grouping} {name}".strip()
                print(
                    f"| {label} | {here.sum()} | {scores(peer)} | "
                    + " | ".join(map(scores, own.values()))
                    + " |"
                )
                rows.append(
                    {
                        "quantity": quantity,
                        "group": label,
                        "points": int(here.sum()),
                        "aiconfigurator": float(peer.mean()),
                        **{k: float(v.mean()) for k, v in own.items()},
                    }
                )
    return rows


if __name__ == "__main__":
    main()
