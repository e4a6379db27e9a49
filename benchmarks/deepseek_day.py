"""DeepSeek's published serving day, from the model, the chip's data sheet and the day's tokens.

    python -m benchmarks.deepseek_day

Published (DeepSeek, open-infra-index, day 6, 28 February 2025, CC0-1.0): 608 billion prompt
tokens, 56.3% of them found in a cache, and 168 billion answer tokens in 24 hours; 20 to 22 tokens/s
of a user; 4,989 tokens of cache per answer token; prefill over 32 ranks, decode over 144; in the
mean 73,700 prompt tokens/s (hits included) and 14,800 answer tokens/s of a node of 8 H800; 226.75
nodes, $2 per accelerator-hour, $87,072 a day.

Nothing is fitted: rates follow from the data sheet, with all exchanges behind the other half of
the batch, as they say (two micro-batches). Decode runs over 128 ranks here, as ours deal out 256
experts without copies, and holds as many sequences as leave a user 21 tokens/s. The interval is
from software that reaches all of the data sheet to software that reaches half (`PERFECT`, `POOR`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model, find_precision
from headway.serving.closed_loop import ClosedLoop
from headway.serving.served_load import serve_loop
from headway.steptime.deployment import Deployment, EngineLimits
from headway.steptime.roofline import EXPECTED, PERFECT, POOR, Efficiency

PROMPT_TOKENS_DAY, ANSWER_TOKENS_DAY = 608e9, 168e9
HIT_SHARE, CONTEXT_TOKENS, TOKENS_PER_S_USER = 0.563, 4989.0, 21.0
USD_PER_ACCELERATOR_HOUR, NODE = 2.0, 8
PREFILL_RANKS, DECODE_RANKS = 32, 128
BATCH_TOKENS = 16_384  # of prompts, of one accelerator
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class ServingDay:
    """Tokens per second of a node, nodes, and dollars of a day."""

    prefill: float
    decode: float

    @property
    def nodes(self) -> float:
        """Of both stages, in the mean of the day."""
        prefill = PROMPT_TOKENS_DAY / DAY_S / self.prefill
        return prefill + ANSWER_TOKENS_DAY / DAY_S / self.decode

    @property
    def usd(self) -> float:
        """Of all nodes for a day."""
        return self.nodes * NODE * 24 * USD_PER_ACCELERATOR_HOUR


PUBLISHED = ServingDay(73_700.0, 14_800.0)


def lengths() -> tuple[float, float]:
    """Return prompt and answer tokens of a request that agree with what was published.

    The mean context of a decoding sequence is the prompt and half the answer.
    """
    ratio = PROMPT_TOKENS_DAY / ANSWER_TOKENS_DAY
    answer = CONTEXT_TOKENS / (ratio + 0.5)
    return ratio * answer, answer


def serving_day(efficiency: Efficiency) -> ServingDay:
    """Return the day as the model has it, with software of this efficiency."""
    prompt, answer = lengths()

    def deployment(ranks: int, max_num_seqs: int) -> Deployment:
        return Deployment(
            find_model("deepseek-v3"),
            find_cluster("h800"),
            dp=ranks,
            ep=ranks,
            precision=find_precision("deepseek-v3"),
            limits=EngineLimits(max_num_seqs, BATCH_TOKENS),
            efficiency=replace(efficiency, overlap=1.0),
        )

    # Prefill: as many prompts as a step takes.
    computed = prompt * (1 - HIT_SHARE)
    prompts = PREFILL_RANKS * np.ceil(BATCH_TOKENS / computed)
    burst = ClosedLoop(prompt, 1, float(prompts), HIT_SHARE)
    prefill = serve_loop(deployment(PREFILL_RANKS, 512), burst).times.requests_per_s
    prefill_node = float(prefill) * prompt * NODE / PREFILL_RANKS

    # Decode: as many sequences as leave every user the published speed.
    sequences = DECODE_RANKS * np.arange(1.0, 257.0)
    loop = ClosedLoop(prompt, answer, sequences, prefilled=True)
    times = serve_loop(deployment(DECODE_RANKS, 512), loop).times
    fast = np.flatnonzero(times.tpot_s <= 1 / TOKENS_PER_S_USER)
    decode_node = float(times.requests_per_s[fast[-1]]) * answer * NODE / DECODE_RANKS
    return ServingDay(prefill_node, decode_node)


def main() -> None:
    names = {"published": PUBLISHED} | {
        name: serving_day(efficiency)
        for name, efficiency in (("ours", EXPECTED), ("at best", PERFECT), ("at worst", POOR))
    }
    print("day        prefill tok/s/node  decode tok/s/node   nodes    $/day")
    for name, day in names.items():
        print(
            f"{name:9}  {day.prefill:18,.0f}  {day.decode:17,.0f}  "
            f"{day.nodes:6.1f}  {day.usd:7,.0f}"
        )


if __name__ == "__main__":
    main()
