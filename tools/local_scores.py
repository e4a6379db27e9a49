"""Public scores of one request in llama.cpp, as counted work beside seconds.

``llama_cpp_scores.csv`` holds, by board: llama.cpp's own for CUDA, ROCm, Vulkan and Metal
(github.com/ggml-org/llama.cpp discussions 15013, 15021, 10879 and 4167, read on 2026-11-29 in
collections of 2026; Llama-2-7B, a prompt of 512, 128 generated, flash attention where published)
and LocalScore's (localscore.ai, llamafile, March to July 2025, as collected by
github.com/d893a/localscore-insights; the median of machines with Linux or macOS, hosts with
AVX-512 of Zen 4 left out, where llamafile takes another path and a third of the speed).
The measured collection adds XiongjieDai's (2024-05, MIT) and Argonne's (2024-09, BSD-3-Clause).

Argonne's "batch" is llama-bench's ``-b``, the tokens of one prompt that are computed at once, not
a number of sequences: at 1 the prompt is computed token by token. Only these rows are read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headway.errors import HeadwayError
from headway.hardware.accelerator import Accelerator
from headway.hardware.catalogue import find_cluster
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model
from headway.steptime.deployment import Deployment
from headway.workload.step import Step
from tools.published_points import MS, Row, find_measured, rows_of

SCORES = Path(__file__).with_name("llama_cpp_scores.csv")
# What a board measures: tokens of its prompts, and the mean context of its answers.
CONTEXTS = {"localscore": 1200.0}
BOARD_PROMPT, BOARD_CONTEXT = 512.0, 64.0
AVERAGED = "localscore"  # its rate of prompts is a mean over 16 to 4,096 tokens, of no prompt
PRECISIONS = {"int4": "int4/fp16/fp16", "int8": "int8/fp16/fp16", "fp16": "fp16"}
CHIPS = {
    "3070 8GB": "rtx-3070",
    "3080 10GB": "rtx-3080",
    "3080 Ti 12GB": "rtx-3080-ti",
    "3090 24GB": "rtx-3090",
    "4070 Ti 12GB": "rtx-4070-ti",
    "4080 16GB": "rtx-4080",
    "4090 24GB": "rtx-4090",
    "A100 PCIe 80GB": "a100-pcie",
    "A100 SXM 80GB": "a100",
    "A100-40GB-SXM": "a100-40g",
    "A40 48GB": "a40",
    "GH200-96GB(1 GPU)": "gh200",
    "H100 PCIe 80GB": "h100-pcie",
    "H100-SXM": "h100",
    "Intel Max 1550": "max-1550",
    "L40S 48GB": "l40s",
    "M1 7‑Core GPU 8GB": "apple-m1-7",
    "M1 Max 32‑Core GPU 64GB": "apple-m1-max",
    "M2 Ultra 76-Core GPU 192GB": "apple-m2-ultra",
    "M3 Max 40‑Core GPU 64GB": "apple-m3-max",
    "MI250": "mi250x",
    "MI300X": "mi300x",
    "RTX 4000 Ada 20GB": "rtx-4000-ada",
    "RTX 5000 Ada 32GB": "rtx-5000-ada",
    "RTX 6000 Ada 48GB": "rtx-6000-ada",
    "RTX A6000 48GB": "rtx-a6000",
}
FORMATS = {"Q4_K_M": "int4", "F16": "fp16", "fp16": "fp16"}
CONSUMER, ARGONNE = "llamacpp_consumer_gpus", "llm_inference_bench_anl"


@dataclass(frozen=True, slots=True)
class LocalScore:
    """One score: what ran, its work, and the seconds of one pass (a token, or a whole prompt)."""

    board: str
    accelerator: Accelerator
    model: str
    weights: str
    is_prompt: bool
    weight_bytes: float
    kv_bytes: float
    flops: float
    layers: int
    seconds: float

    @property
    def groups(self) -> dict[str, str]:
        """The group of every level."""
        return {
            "all": "all",
            "format": self.weights,
            "vendor": self.accelerator.vendor,
            "family": self.accelerator.family,
            "board": f"{self.board}, {self.accelerator.vendor}",
        }

    @property
    def setup(self) -> tuple[str, ...]:
        """What is measured; scores of one setup at several contexts say nearly the same."""
        return (self.accelerator.name, self.board, self.model, self.weights, str(self.is_prompt))


def read_scores(measured: Path) -> list[LocalScore]:
    """Return all scores, those of a ``measured.csv.gz`` included."""
    scores = list(_boards())
    for row in rows_of(measured):
        try:
            score = _measured(row)
        except HeadwayError:
            continue
        if score is not None:
            scores.append(score)
    return scores


def _boards() -> Iterator[LocalScore]:
    with SCORES.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            model, board = find_model(row["model"]), row["board"]
            context = CONTEXTS.get(board, BOARD_CONTEXT)
            prompt_s = BOARD_PROMPT / float(row["prompt_tok_per_s"])
            decode_s = 1 / float(row["decode_tok_per_s"])
            if board != AVERAGED:
                yield _score(
                    board, row["chip"], model, row["weights"], prompt_s, prompt=BOARD_PROMPT
                )
            yield _score(board, row["chip"], model, row["weights"], decode_s, context=context)


def _measured(row: Row) -> LocalScore | None:
    is_alone = row["source"] == CONSUMER
    is_argonne = row["source"] == ARGONNE and row["engine"] == "llama.cpp"
    if not (is_alone or is_argonne) or float(row["n_gpus"]) > 1 or float(row["batch"] or 1) > 1:
        return None

    chip, weights = CHIPS[row["hardware"]], FORMATS[row["weight_precision"]]
    _, model = find_measured(row["model"])
    if is_argonne:
        # Prompt and answer pass token by token.
        tokens = float(row["input_len"]) + float(row["output_len"])
        seconds = float(row["e2e_ms"]) * MS / tokens
        return _score("argonne", chip, model, weights, seconds, context=tokens / 2)
    if row["kind"] == "single_stream_decode":
        context = float(row["output_len"]) / 2
        seconds = float(row["tpot_ms"]) * MS
        return _score("consumer", chip, model, weights, seconds, context=context)
    seconds = float(row["ttft_ms"]) * MS
    return _score("consumer", chip, model, weights, seconds, prompt=float(row["input_len"]))


def _score(
    board: str,
    chip: str,
    model: ModelArchitecture,
    weights: str,
    seconds: float,
    *,
    prompt: float = 0.0,
    context: float = 0.0,
) -> LocalScore:
    cluster = find_cluster(chip)
    deployment = Deployment(model, cluster, precision=PRECISIONS[weights], memory_utilization=1.0)
    one = np.asarray(1.0)
    step = Step.prefill(one, prompt) if prompt else Step.decode(one, np.asarray(context))
    work = deployment.forward(step).total
    return LocalScore(
        board=board,
        accelerator=cluster.accelerator,
        model=model.name,
        weights=weights,
        is_prompt=prompt > 0,
        weight_bytes=float(work.weight_bytes),
        kv_bytes=float(work.kv_bytes),
        flops=float(work.flops),
        layers=model.num_layers,
        seconds=seconds,
    )
