"""llama.cpp's public scoreboards beside our answers: the data sheet alone, nothing fitted.

One user of Llama-2-7B: tokens/s of generating 128 (decode reads all weights for each) and of a
prompt of 512 (prefill multiplies them). llama.cpp stores Q4_0 in 4.5 bits a weight and Q8_0 in
8.5, which are priced here as int4 and int8. Prints a row per chip and one per family, then JSON.

Measured: github.com/ggml-org/llama.cpp discussions 4167 (Metal, 2023 to 2025), 15013 (CUDA, 2025
to 2026) and 10879 (Vulkan, 2025 to 2026), as collected by a public repository on 2026-09-30.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.steptime.deployment import Deployment
from headway.workload.step import Step

MODEL = "llama-2-7b"
CONTEXT_TOKENS = 64  # in the mean over 128 generated tokens


@dataclass(frozen=True, slots=True)
class Score:
    """What was measured: tokens per second of a prompt of 512, and of generating 128."""

    chip: str
    backend: str
    weights: str
    prompt_tok_per_s: float
    decode_tok_per_s: float


SCORES = (
    Score("M1", "metal", "int4", 117.96, 14.15),
    Score("M1", "metal", "int8", 117.25, 7.91),
    Score("M1 Pro", "metal", "int4", 266.25, 36.41),
    Score("M1 Pro", "metal", "int8", 270.37, 22.34),
    Score("M1 Max", "metal", "int4", 530.06, 61.19),
    Score("M1 Max", "metal", "int8", 537.37, 40.2),
    Score("M1 Ultra", "metal", "int4", 1030.04, 83.73),
    Score("M1 Ultra", "metal", "int8", 1042.95, 59.87),
    Score("M2", "metal", "int4", 179.57, 21.91),
    Score("M2", "metal", "int8", 181.4, 12.21),
    Score("M2 Pro", "metal", "int4", 341.19, 38.86),
    Score("M2 Pro", "metal", "int8", 344.5, 23.01),
    Score("M2 Max", "metal", "int4", 671.31, 65.95),
    Score("M2 Max", "metal", "int8", 677.91, 41.83),
    Score("M2 Ultra", "metal", "int4", 1238.48, 94.27),
    Score("M2 Ultra", "metal", "int8", 1248.59, 66.64),
    Score("M3", "metal", "int4", 186.75, 21.34),
    Score("M3", "metal", "int8", 187.52, 12.27),
    Score("M3 Pro", "metal", "int4", 341.67, 30.74),
    Score("M3 Pro", "metal", "int8", 344.66, 17.53),
    Score("M3 Max 30-core", "metal", "int4", 567.59, 56.58),
    Score("M3 Max 30-core", "metal", "int8", 566.4, 34.3),
    Score("M3 Max", "metal", "int4", 759.7, 66.31),
    Score("M3 Max", "metal", "int8", 757.64, 42.75),
    Score("M3 Ultra", "metal", "int4", 1471.24, 92.14),
    Score("M3 Ultra", "metal", "int8", 1487.51, 63.93),
    Score("M4", "metal", "int4", 221.29, 24.11),
    Score("M4", "metal", "int8", 223.64, 13.54),
    Score("M4 Pro", "metal", "int4", 439.78, 50.74),
    Score("M4 Pro", "metal", "int8", 449.62, 30.69),
    Score("M4 Max 32-core", "metal", "int4", 713.93, 69.95),
    Score("M4 Max 32-core", "metal", "int8", 718.56, 43.87),
    Score("M4 Max", "metal", "int4", 885.68, 83.06),
    Score("M4 Max", "metal", "int8", 891.94, 54.05),
    Score("RTX PRO 6000 Workstation", "cuda", "int4", 14854.63, 274.2),
    Score("RTX 5090", "cuda", "int4", 14073.41, 290.02),
    Score("RTX 4090", "cuda", "int4", 11992.7, 186.21),
    Score("RTX 5080", "cuda", "int4", 8297.36, 181.99),
    Score("RTX 5070 Ti", "cuda", "int4", 6952.38, 176.85),
    Score("RTX 3090", "cuda", "int4", 5174.69, 158.16),
    Score("RTX 5060 Ti 16GB", "cuda", "int4", 3737.25, 90.94),
    Score("DGX Spark", "cuda", "int4", 3062.31, 57.21),
    Score("Radeon AI PRO R9700", "vulkan", "int4", 5609.82, 145.67),
    Score("RX 9070 XT", "vulkan", "int4", 5036.04, 137.11),
    Score("RX 7900 XTX", "vulkan", "int4", 3726.99, 182.63),
    Score("Arc B580", "vulkan", "int4", 620.94, 70.14),
    Score("Strix Halo", "vulkan", "int4", 881.71, 52.22),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One score beside ours: ratios are ours over the measured, of times."""

    score: Score
    family: str
    decode_ms: float
    decode_range_ms: tuple[float, float]
    decode_ratio: float
    prompt_ratio: float
    decode_holds: bool
    prompt_holds: bool


def row_of(score: Score) -> Row:
    """Return ``score`` beside what the data sheet says of the same."""
    model, cluster = find_model(MODEL), find_cluster(score.chip)
    deployment = Deployment(model, cluster, precision=score.weights, engine="llama.cpp")
    decode = deployment.step_time(1, CONTEXT_TOKENS)
    prompt = deployment.step_time_model.step_time(Step.prefill(np.asarray(1.0), 512.0))
    decode_s, prompt_s = 1 / score.decode_tok_per_s, 512 / score.prompt_tok_per_s
    return Row(
        score=score,
        family=f"{cluster.accelerator.vendor}, {cluster.accelerator.family}",
        decode_ms=float(decode.expected_s) * 1e3,
        decode_range_ms=(float(decode.lower_s) * 1e3, float(decode.upper_s) * 1e3),
        decode_ratio=float(decode.expected_s) / decode_s,
        prompt_ratio=float(prompt.expected_s) / prompt_s,
        decode_holds=bool(decode.lower_s <= decode_s <= decode.upper_s),
        prompt_holds=bool(prompt.lower_s <= prompt_s <= prompt.upper_s),
    )


def family_line(family: str, rows: Sequence[Row]) -> str:
    """Return a line of the second table."""
    decode = [row.decode_ratio for row in rows]
    prompt = [row.prompt_ratio for row in rows]
    return (
        f"{family:22} {len(rows):3}  {statistics.median(decode):5.2f} "
        f"({min(decode):.2f} to {max(decode):.2f}) {sum(r.decode_holds for r in rows):3}   "
        f"{statistics.median(prompt):5.2f} ({min(prompt):.2f} to {max(prompt):.2f}) "
        f"{sum(r.prompt_holds for r in rows):3}"
    )


def main() -> None:
    """Print every score beside ours, then each family."""
    rows = [row_of(score) for score in SCORES]
    print(f"{'chip':24} format  measured ms  ours (range)        ratio  prompt's ratio")
    for row in rows:
        low, high = row.decode_range_ms
        print(
            f"{row.score.chip:24} {row.score.weights}   {1e3 / row.score.decode_tok_per_s:9.2f}   "
            f"{row.decode_ms:6.2f} ({low:.1f}..{high:.1f})   {row.decode_ratio:5.2f}  "
            f"{row.prompt_ratio:5.2f}"
        )

    print("\nfamily                   n  time per token, ours/measured, inside   prompt, inside")
    for family in dict.fromkeys(row.family for row in rows):
        print(family_line(family, [row for row in rows if row.family == family]))
    print(family_line("all", rows))
    print(
        json.dumps({r.score.chip + " " + r.score.weights: round(r.decode_ratio, 3) for r in rows})
    )


if __name__ == "__main__":
    main()
