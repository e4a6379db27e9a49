"""Give the predictor that ships a second opinion, from a sentence embedding.

Run, with the extras train and embed: python -m tools.blend_default_predictor

A ridge regression of ln(1 + tokens) on the 384 numbers of all-MiniLM-L6-v2, with a column for each
model and source. It has learned from the same permissive data as the words, and from all of
`elicited_lengths.jsonl`. Words and embedding count in equal shares of the spread that their
locations have on sources that were left out, where least squares on the training rows would trust
the words, which know those rows' kinds. Equal shares are the plain choice: 0.3 and 0.7 were looked
at on the same sources and are worse on one of them each.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge  # type: ignore[import-untyped]  # has no types

from headway.predict import Observation, save
from headway.predict.embedding import EmbeddingBlend, SentenceEmbedding
from headway.predict.evaluate import kendall_tau
from headway.predict.length_model import prompt_rows
from headway.predict.storage import DEFAULT, load, read_card
from headway.predict.training import train
from tools.length_data import elicited
from tools.train_default_predictor import PARTS, part

Floats = NDArray[np.float64]
PENALTY = 10.0
ELICITED_WEIGHT = 2.0  # of what was estimated, beside what was measured


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Locations of a source that neither words nor embedding had learned from."""

    words: Floats
    embedding: Floats
    observations: list[Observation]

    def tau(self, location: Floats) -> float:
        """Return the mean rank correlation over models of ``location`` [rows] with lengths."""
        rows: dict[tuple[str, str], list[int]] = {}
        for i, one in enumerate(self.observations):
            rows.setdefault((one.source, one.model), []).append(i)
        lengths = np.array([one.output_tokens for one in self.observations])
        taus = [kendall_tau(location[own], lengths[own]) or 0.0 for own in rows.values()]
        return float(np.mean(taus))


def ridge(observations: list[Observation], vectors: dict[str, Floats]) -> Floats:
    """Return the coefficients of a prompt's vector, and the mean intercept, [width + 1]."""
    groups = sorted({(one.source, one.model) for one in observations})
    member = np.zeros((len(observations), len(groups)))
    for i, one in enumerate(observations):
        member[i, groups.index((one.source, one.model))] = 1.0

    # One prompt answered by many models must not count as many prompts.
    prompts = [one.prompt for one in observations]
    counts = Counter(prompts)
    weights = np.array([counts[prompt] ** -0.5 for prompt in prompts])
    weights[[one.model == "elicited" for one in observations]] *= ELICITED_WEIGHT

    inputs = np.hstack([np.array([vectors[prompt] for prompt in prompts]), member])
    goal = np.log1p([one.output_tokens for one in observations])
    fit = Ridge(alpha=PENALTY).fit(inputs, goal, sample_weight=weights)
    intercept = fit.intercept_ + float(np.mean(fit.coef_[-len(groups) :]))
    coef: Floats = np.append(fit.coef_[: -len(groups)], intercept)
    return coef


def second(coef: Floats, observations: list[Observation], vectors: dict[str, Floats]) -> Floats:
    """Return the embedding's location of ``observations``."""
    inputs = np.array([vectors[one.prompt] for one in observations])
    location: Floats = inputs @ coef[:-1] + coef[-1]
    return location


def equal_shares(left_out: list[LeftOut]) -> Floats:
    """Return the shares of words, embedding and a constant, mean over sources left out.

    The blend has the words' spread and mean, so that what was learned of their size still holds.
    """
    shares = []
    for one in left_out:
        words_sd, embedding_sd = one.words.std(), one.embedding.std()
        total_sd = (one.words / words_sd + one.embedding / embedding_sd).std()
        own = np.array([1.0, words_sd / embedding_sd]) / total_sd
        shift = one.words.mean() - own @ [one.words.mean(), one.embedding.mean()]
        shares.append([*own, shift])
    mean_shares: Floats = np.mean(shares, axis=0)
    return mean_shares


def main() -> None:
    parts = {name: elicited() if name == "elicited" else part(name) for name in PARTS}
    prompts = list({one.prompt for own in parts.values() for one in own})
    rows = SentenceEmbedding().vectors(prompts).astype(np.float64)
    vectors = dict(zip(prompts, rows, strict=True))

    # Each source in turn as one that nobody has seen.
    left_out: list[LeftOut] = []
    for name in PARTS:
        others = [other for other in PARTS if other != name]
        rest = [one for other in others for one in parts[other] * (1 + (other == "elicited"))]
        trial = train(rest, num_trees=250).model
        test = parts[name]
        location = trial.predict(prompt_rows([one.prompt for one in test], [None] * len(test)))
        coef = ridge([one for other in others for one in parts[other]], vectors)
        left_out.append(LeftOut(location.location, second(coef, test, vectors), test))

    shares = equal_shares(left_out)
    scores = {
        name: {
            "words": one.tau(one.words),
            "words and embedding": one.tau(shares[0] * one.words + shares[1] * one.embedding),
        }
        for name, one in zip(PARTS, left_out, strict=True)
    }

    predictor = load(DEFAULT, embed=False)
    coef = ridge([one for own in parts.values() for one in own], vectors)
    predictor.blend = EmbeddingBlend(coef=coef, shares=shares)
    card = read_card(DEFAULT)["card"]
    card["second_opinion"] = (
        "where the extra `embed` is installed: a ridge regression on all-MiniLM-L6-v2, learned "
        "from the same sources and from 922 prompts with lengths estimated by hand"
    )
    card["scores"]["kendall_tau_second_opinion_source_left_out"] = scores
    save(predictor, DEFAULT, card)
    print(json.dumps({"shares": shares.tolist(), "tau": scores}, indent=1))


if __name__ == "__main__":
    main()
