"""The default predictor with its words alone, and with the sentence embedding beside them.

On two sources that it never learns from, answers of a model that it does not know: tau zero shot,
tau once it has observed some answers, and the shares of the others below three quantiles.

    python -m benchmarks.predict_second_opinion        # needs the extra embed, and ../shared
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from tools.length_data import alpaca, mixed

from headway.predict import Observation, default_predictor
from headway.predict.evaluate import kendall_tau

LEVELS = (0.1, 0.5, 0.9)


def scored(observations: list[Observation], num_labels: int, *, embed: bool) -> dict[str, float]:
    """Return tau before and after ``num_labels`` answers, and the shares below `LEVELS` after."""
    predictor = default_predictor(embed=embed)
    lengths = [one.output_tokens for one in observations]
    requests = [Observation(one.prompt, 0, "new").request(i) for i, one in enumerate(observations)]

    medians = [prediction.at(0.5) for prediction in predictor.predict(requests)]
    zero_shot = kendall_tau(medians, lengths)
    for request, tokens in zip(requests[:num_labels], lengths, strict=False):
        predictor.observe(request, tokens)

    rest = lengths[num_labels:]
    after = predictor.predict(requests[num_labels:])
    tau = kendall_tau([prediction.at(0.5) for prediction in after], rest)
    shares = {
        f"below_{level:.0%}": float(
            np.mean([n <= p.at(level) for n, p in zip(rest, after, strict=True)])
        )
        for level in LEVELS
    }
    return {"zero_shot": zero_shot or 0.0, "after_labels": tau or 0.0, **shares}


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
        for kind, embed in (("words", False), ("words and embedding", True)):
            row = result[f"{name}, {kind}"] = scored(observations, num_labels, embed=embed)
            print(f"{name:<12}{kind:<22}" + "  ".join(f"{k} {v:.3f}" for k, v in row.items()))
    print(json.dumps({"benchmark": "predict_second_opinion", **result}))


if __name__ == "__main__":
    main()
