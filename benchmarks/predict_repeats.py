"""What one model wrote tells of another: tau with and without the memory of prompts.

Run: python -m benchmarks.predict_repeats        (a minute; needs ../shared and pyarrow)

ZeroEval's prompts, each answered by seven models or more that the default predictor is told to be
new, 300 prompts of each kind, all requests in a random order. Every request is predicted, then
observed. Scored are the last two thirds, per model, and the mean over models is printed.
"""

from __future__ import annotations

import json

import numpy as np
from tools.length_data import zeroeval

from headway.predict import Observation, TextPredictor, default_predictor
from headway.predict.evaluate import kendall_tau
from headway.predict.repeats import PromptMemory

PROMPTS = 300


class NoMemory(PromptMemory):
    """Forgets every prompt at once."""

    __slots__ = ()

    def shift(self, prompt: int) -> tuple[float, float]:
        """Return no move."""
        return 0.0, 1.0

    def observe(self, prompt: int, error: float, words: float = 0.0) -> None:
        """Keep nothing."""


def requests(kind: str) -> list[Observation]:
    """Return the requests of one kind of prompt in a random order."""
    random = np.random.default_rng(0)
    own = [o for o in zeroeval() if o.source == kind]
    prompts = list(dict.fromkeys(o.prompt for o in own))
    chosen = {prompts[i] for i in random.permutation(len(prompts))[:PROMPTS]}
    own = [o for o in own if o.prompt in chosen]
    return [
        Observation(own[i].prompt, own[i].output_tokens, f"new {own[i].model}")
        for i in random.permutation(len(own))
    ]


def scores(predictor: TextPredictor, observations: list[Observation]) -> dict[str, float]:
    """Return tau and coverage of what is predicted while it learns, means over models."""
    by_model: dict[str, list[tuple[float, ...]]] = {}
    for number, o in enumerate(observations):
        request = o.request(number)
        (prediction,) = predictor.predict([request])
        quantiles = [prediction.at(level) for level in (0.1, 0.5, 0.9)]
        by_model.setdefault(o.model, []).append((*quantiles, o.output_tokens))
        predictor.observe(request, o.output_tokens)

    late = [np.array(rows)[len(rows) // 3 :] for rows in by_model.values()]
    return {
        "tau": float(np.mean([kendall_tau(rows[:, 1], rows[:, 3]) or 0.0 for rows in late])),
        "covered_10": float(np.mean([(rows[:, 3] <= rows[:, 0]).mean() for rows in late])),
        "covered_90": float(np.mean([(rows[:, 3] <= rows[:, 2]).mean() for rows in late])),
    }


def main() -> None:
    result: dict[str, dict[str, dict[str, float]]] = {}
    for kind in dict.fromkeys(o.source for o in zeroeval()):
        observations = requests(kind)
        without, remembering = default_predictor(), default_predictor()
        without.state.prompts = NoMemory()
        own = {
            "without": scores(without, observations),
            "with": scores(remembering, observations),
        }
        result[kind] = {
            name: {key: round(value, 3) for key, value in row.items()} for name, row in own.items()
        }
        print(kind, len(observations), result[kind], flush=True)
    print(json.dumps({"benchmark": "predict_repeats", "by_kind": result}))


if __name__ == "__main__":
    main()
