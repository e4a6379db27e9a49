"""The default predictor without the sentence embedding, and with it.

On two sources that it never learns from, answers of a model that it does not know: tau zero shot,
tau once it has observed some answers, and the shares of the others below three quantiles.

    python -m benchmarks.predict_second_opinion        # needs ../shared; uses the extra embed
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from numpy.typing import NDArray
from tools.length_data import alpaca, mixed

from headway.predict import Observation, TextPredictor, default_predictor
from headway.predict.embedding import is_packaged
from headway.predict.evaluate import kendall_tau
from headway.workload.request import Request

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEVELS = (0.1, 0.5, 0.9)


def scored(observations: list[Observation], num_labels: int, *, embed: bool) -> dict[str, float]:
    """Return tau before and after ``num_labels`` answers, and the shares below `LEVELS` after.

    Beside them the half width of tau's 90% interval (prompts drawn again), and tau after as many
    answers whose lengths were shuffled.
    """
    lengths = np.array([one.output_tokens for one in observations])
    requests = [Observation(one.prompt, 0, "new").request(i) for i, one in enumerate(observations)]
    labels = np.random.default_rng(1).permutation(lengths[:num_labels])

    shuffled = default_predictor(embed=embed)
    zero_shot = np.array([one.at(0.5) for one in shuffled.predict(requests)])
    observe(shuffled, requests, labels)
    wrong = [one.at(0.5) for one in shuffled.predict(requests[num_labels:])]

    predictor = default_predictor(embed=embed)
    predictor.predict(requests[:num_labels])
    observe(predictor, requests, lengths[:num_labels])
    after, rest = predictor.predict(requests[num_labels:]), lengths[num_labels:]
    medians = np.array([one.at(0.5) for one in after])
    shares = {
        f"below_{level:.0%}": float(np.mean(rest <= np.array([one.at(level) for one in after])))
        for level in LEVELS
    }
    return {
        "zero_shot": kendall_tau(zero_shot, lengths) or 0.0,
        "zero_shot_half_width": half_width(zero_shot, lengths),
        "after_labels": kendall_tau(medians, rest) or 0.0,
        "after_labels_half_width": half_width(medians, rest),
        "after_shuffled_labels": kendall_tau(wrong, rest) or 0.0,
        **shares,
    }


def observe(predictor: TextPredictor, requests: list[Request], lengths: Ints) -> None:
    """Let ``predictor`` learn the first requests."""
    for request, tokens in zip(requests, lengths.tolist(), strict=False):
        predictor.observe(request, tokens)


def half_width(medians: Floats, lengths: Ints) -> float:
    """Return half of what lies between the 5 and 95% quantiles of tau, prompts drawn again."""
    rng, n = np.random.default_rng(0), len(lengths)
    draws = [rng.integers(0, n, n) for _ in range(100)]
    taus = [kendall_tau(medians[own], lengths[own]) or 0.0 for own in draws]
    return float(np.diff(np.quantile(taus, [0.05, 0.95]))[0] / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--alpaca", type=int, default=1200, help="prompts, 650 of them labels")
    parser.add_argument("--codealpaca", type=int, default=500, help="prompts, 300 of them labels")
    given = parser.parse_args()

    everything = alpaca()
    order = np.random.default_rng(0).permutation(len(everything))[: given.alpaca]
    sources = {
        "alpaca": ([everything[i] for i in order], 650 * given.alpaca // 1200),
        "codealpaca": (
            mixed("codealpaca")[: given.codealpaca],
            300 * given.codealpaca // 500,
        ),
    }
    result: dict[str, dict[str, float]] = {}
    for name, (observations, num_labels) in sources.items():
        kinds = [("words", False)]
        if is_packaged():
            kinds.append(("words and embedding", True))
        for kind, embed in kinds:
            row = result[f"{name}, {kind}"] = scored(observations, num_labels, embed=embed)
            print(f"{name:<12}{kind:<22}" + "  ".join(f"{k} {v:.3f}" for k, v in row.items()))
    print(json.dumps({"benchmark": "predict_second_opinion", **result}))


if __name__ == "__main__":
    main()
