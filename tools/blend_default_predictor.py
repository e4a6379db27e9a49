"""Give the predictor that ships its second opinions: on the form of a prompt, and on its meaning.

Run, with the extras train and embed: python -m tools.blend_default_predictor

Form: a ridge regression of ln(1 + tokens) on the 141 numbers of a prompt's form. Trees on the same
numbers know the kinds of prompts that they learned from better, and others worse. It counts beside
them in equal shares, and so do the words alone. Meaning, where the extra `embed` is installed: the
same on the 384 numbers of all-MiniLM-L6-v2, in equal shares with all of that.

Both have a column for each model and source, and have learned from the same permissive data as the
trees, and from all of `elicited_lengths.jsonl`. Shares are equal in the spread that each opinion
has on sources that were left out: the plain choice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge  # type: ignore[import-untyped]  # has no types

from headway.predict import Observation, save
from headway.predict.embedding import SentenceEmbedding
from headway.predict.evaluate import kendall_tau
from headway.predict.length_model import NUM_VIEWS, LengthModel, SecondOpinion, prompt_rows
from headway.predict.storage import DEFAULT, load, read_card
from headway.predict.training import train
from tools.length_data import elicited
from tools.train_default_predictor import PARTS, part

Floats = NDArray[np.float64]
FORM_PENALTY, MEANING_PENALTY = 300.0, 10.0
MIN_SCALE = 0.3  # of a number of the form: what hardly ever differs must not count as a standard
ELICITED_WEIGHT = 2.0  # of what was estimated, beside what was measured


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Locations of a source that no opinion had learned from: of trees, words, form, meaning."""

    opinions: tuple[Floats, Floats, Floats, Floats]
    observations: list[Observation]

    def tau(self, num_opinions: int) -> float:
        """Return the mean tau over models, of the first opinions in equal shares."""
        opinions = [one / one.std() for one in self.opinions[:3]]
        location = sum(opinions[: min(num_opinions, 3)], np.zeros(len(self.observations)))
        if num_opinions == 4:
            location = location / location.std() + self.opinions[3] / self.opinions[3].std()

        rows: dict[tuple[str, str], list[int]] = {}
        for i, one in enumerate(self.observations):
            rows.setdefault((one.source, one.model), []).append(i)
        lengths = np.array([one.output_tokens for one in self.observations])
        taus = [kendall_tau(location[own], lengths[own]) or 0.0 for own in rows.values()]
        return float(np.mean(taus))


def ridge(
    observations: list[Observation], rows: Mapping[str, Floats], penalty: float, scale: Floats
) -> Floats:
    """Return the coefficients of a prompt's row, and the mean intercept, [width + 1].

    ``scale`` [width] divides what stands in a row.
    """
    groups = sorted({(one.source, one.model) for one in observations})
    member = np.zeros((len(observations), len(groups)))
    for i, one in enumerate(observations):
        member[i, groups.index((one.source, one.model))] = np.sqrt(penalty)

    # One prompt answered by many models must not count as many prompts.
    prompts = [one.prompt for one in observations]
    counts = Counter(prompts)
    weights = np.array([counts[prompt] ** -0.5 for prompt in prompts])
    weights[[one.model == "elicited" for one in observations]] *= ELICITED_WEIGHT

    inputs = np.hstack([np.array([rows[prompt] for prompt in prompts]) / scale, member])
    goal = np.log1p([one.output_tokens for one in observations])
    fit = Ridge(alpha=penalty).fit(inputs, goal, sample_weight=weights)
    effects = fit.coef_[-len(groups) :] * np.sqrt(penalty)
    coef: Floats = np.append(fit.coef_[: -len(groups)] / scale, fit.intercept_ + effects.mean())
    return coef


@dataclass(frozen=True, slots=True)
class Rows:
    """What the opinions read of each prompt."""

    form: Mapping[str, Floats]
    meaning: Mapping[str, Floats]

    @classmethod
    def of(cls, prompts: Sequence[str]) -> Rows:
        """Read all ``prompts``."""
        dense = prompt_rows(prompts, [None] * len(prompts)).dense.astype(np.float64)
        vectors = SentenceEmbedding().vectors(prompts).astype(np.float64)
        return cls(dict(zip(prompts, dense, strict=True)), dict(zip(prompts, vectors, strict=True)))

    def coefficients(self, observations: list[Observation]) -> tuple[Floats, Floats]:
        """Return those of the form and of the meaning, learned from ``observations``."""
        scale = np.maximum(np.std(list(self.form.values()), axis=0), MIN_SCALE)
        form = ridge(observations, self.form, FORM_PENALTY, scale)
        meaning = ridge(observations, self.meaning, MEANING_PENALTY, np.ones(384))
        return form, meaning


def second(coef: Floats, observations: list[Observation], rows: Mapping[str, Floats]) -> Floats:
    """Return the location that ``coef`` gives ``observations``."""
    location: Floats = np.array([rows[one.prompt] for one in observations]) @ coef[:-1] + coef[-1]
    return location


def locations(model: LengthModel, observations: list[Observation]) -> tuple[Floats, Floats]:
    """Return those of the trees, and of the words alone."""
    prompts = [one.prompt for one in observations]
    rows = model.weighted(prompt_rows(prompts, [None] * len(prompts)))
    trees = replace(model, form=None).predict(rows).location
    return trees, model.views.predict(rows.grams)[:, 0].astype(np.float64)


def opinions(left_out: list[LeftOut], form: Floats, meaning: Floats) -> list[SecondOpinion]:
    """Return the opinions on form and meaning, in equal shares of their mean spread.

    A blend has the trees' spread and mean, so that what was learned of their size still holds.
    """
    spreads = np.mean([[one.std() for one in source.opinions] for source in left_out], axis=0)
    means = np.mean([[one.mean() for one in source.opinions] for source in left_out], axis=0)
    shares, totals = spreads[0] / spreads, []
    for source in left_out:
        parts = np.array(source.opinions) / spreads[:, None]
        three = parts[:3].sum(axis=0)
        totals.append([three.std(), (three / three.std() + parts[3]).std()])
    three_sd, all_sd = np.mean(totals, axis=0)

    # Form: the words' location is the first of the numbers that the trees read.
    own = shares / three_sd
    coef = np.zeros(NUM_VIEWS + len(form))
    coef[0], coef[NUM_VIEWS:] = own[1], own[2] * form
    constant = means[0] - own[:3] @ means[:3]
    on_form = SecondOpinion(coef, np.array([own[0], 1.0, constant]))

    own = np.array([1.0, shares[3]]) / all_sd
    constant = means[0] - own @ means[[0, 3]]
    return [on_form, SecondOpinion(meaning, np.array([*own, constant]))]


def main() -> None:
    parts = {name: elicited() if name == "elicited" else part(name) for name in PARTS}
    rows = Rows.of(list({one.prompt for own in parts.values() for one in own}))

    # Each source in turn as one that nobody has seen.
    left_out: list[LeftOut] = []
    for name in PARTS:
        others = [other for other in PARTS if other != name]
        trial = train([one for other in others for one in part(other)], num_trees=250).model
        form, meaning = rows.coefficients([one for other in others for one in parts[other]])
        test = parts[name]
        trees, words = locations(trial, test)
        seconds = second(form, test, rows.form), second(meaning, test, rows.meaning)
        left_out.append(LeftOut((trees, words, *seconds), test))

    scores = {
        name: {"trees": one.tau(1), "with form": one.tau(3), "with meaning": one.tau(4)}
        for name, one in zip(PARTS, left_out, strict=True)
    }
    print(json.dumps(scores, indent=1), flush=True)

    predictor = load(DEFAULT, embed=False)
    coefficients = rows.coefficients([one for own in parts.values() for one in own])
    form_opinion, predictor.blend = opinions(left_out, *coefficients)
    predictor.model = replace(predictor.model, form=form_opinion)
    card = read_card(DEFAULT)["card"]
    card["second_opinion"] = (
        "a ridge regression on the form of a prompt, and where the extra `embed` is installed one "
        "on all-MiniLM-L6-v2, learned from the same sources and from 1,057 prompts with lengths "
        "estimated by hand"
    )
    card["scores"]["kendall_tau_second_opinion_source_left_out"] = scores
    save(predictor, DEFAULT, card)
    print(json.dumps({"shares": [one.shares.tolist() for one in (form_opinion, predictor.blend)]}))


if __name__ == "__main__":
    main()
