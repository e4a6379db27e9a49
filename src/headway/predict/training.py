"""Train a predictor on a log of finished requests, and score it on what it did not see."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.errors import InputError, need
from headway.predict.embedding import Embedding
from headway.predict.evaluate import ScoreRow, held_out, predicted, score
from headway.predict.fitting import FOLDS, fit_length_model, out_of_fold
from headway.predict.length_model import LogLengths, SecondOpinion, prompt_rows
from headway.predict.log import Observation, leak_warning
from headway.predict.online import OnlineState
from headway.predict.predictor import Scaling, TextPredictor
from headway.predict.storage import DEFAULT, read_card
from headway.report.column import column
from headway.report.report import Report

Floats = NDArray[np.float64]
Inputs = NDArray[np.float32]
Ints = NDArray[np.intp]
MIN_ROWS = 50
MODEL_VARIANCE = 0.5  # least, of a model's intercept in ln(1 + tokens): a factor of 2
SLOPE_VARIANCE = 0.25
DETAIL_VARIANCE = 0.001


def train(
    observations: Sequence[Observation],
    *,
    seed: int = 0,
    num_trees: int = 500,
    embedding: Embedding | None = None,
    tick: Callable[[], None] | None = None,
) -> TextPredictor:
    """Return a predictor that has learned from finished requests.

    Args:
        observations: at least 50; some thousands are good.
        seed: of folds and trees.
        num_trees: at most; few rows get fewer.
        embedding: ranks other sources better, and costs some ten milliseconds a prompt.
        tick: called `FIT_STEPS` times at most, to show progress.

    Raises:
        InputError: fewer than 50 observations, which is too little to learn words from.
        MissingExtraError: scikit-learn is not installed.
    """
    need("sklearn", "training a predictor", "train")
    if len(observations) < MIN_ROWS:
        raise InputError(
            f"training needs at least {MIN_ROWS} finished requests, not {len(observations)}"
        )

    rows = prompt_rows([o.prompt for o in observations], [o.max_tokens for o in observations])
    log_tokens = np.log1p(np.array([o.output_tokens for o in observations], dtype=np.float64))
    models = sorted({o.model for o in observations})
    groups = np.searchsorted(models, [o.model for o in observations])
    order: dict[str, int] = {}
    prompts = np.array([order.setdefault(o.prompt, len(order)) for o in observations])

    stack = fit_length_model(
        rows, log_tokens, groups=groups, prompts=prompts, seed=seed, num_trees=num_trees, tick=tick
    )
    lengths, blend = stack.out_of_fold, None
    if embedding is not None:
        vectors = embedding.vectors([o.prompt for o in observations])
        blend = _fit_blend(vectors, lengths, log_tokens - stack.group_effects[groups], prompts)
        lengths = blend.blended(lengths, vectors)

    effects = {model: float(stack.group_effects[i]) for i, model in enumerate(models)}
    scaling = Scaling.of(lengths, rows.dense)
    state = OnlineState(_prior(stack.group_effects, len(scaling.centre)))
    predictor = TextPredictor(
        stack.model, effects=effects, scaling=scaling, state=state, blend=blend, embedding=embedding
    )
    _replay(predictor, observations, lengths, rows.dense, np.random.default_rng(seed))
    return predictor


def _prior(group_effects: Floats, num_details: int) -> Floats:
    """Return the variances of the online correction's weights: intercept, location, details."""
    spread = float(group_effects.var(ddof=1)) if len(group_effects) >= 4 else MODEL_VARIANCE
    prior = np.full(num_details + 1, DETAIL_VARIANCE)
    prior[0] = max(spread, MODEL_VARIANCE)
    prior[1] = SLOPE_VARIANCE
    return prior


def _replay(
    predictor: TextPredictor,
    observations: Sequence[Observation],
    lengths: LogLengths,
    dense: Inputs,
    random: np.random.Generator,
) -> None:
    """Let the online part see the training rows, in a random order and as if not learned from."""
    features = predictor.scaling.features(lengths, dense)
    base = lengths.shifted(np.array([predictor.effects[o.model] for o in observations]))
    for i in random.permutation(len(observations)):
        o = observations[i]
        predictor.state.observe(
            o.model,
            o.tenant,
            features=features[i],
            base=base.at(slice(i, i + 1)),
            log_tokens=float(np.log1p(o.output_tokens)),
            cut=o.max_tokens is not None and o.output_tokens >= o.max_tokens,
        )

    # The residual table already holds all rows of the one model; the latest thousand in a random
    # order would only add their noise.
    if len(predictor.effects) == 1:
        predictor.state.forget_levels()


def _fit_blend(
    vectors: NDArray[np.float32], lengths: LogLengths, goal: Floats, prompts: Ints
) -> SecondOpinion:
    """Fit ``goal`` [rows] on vectors, and the shares of both opinions beside ``lengths``."""
    linear_model = import_module("sklearn.linear_model")

    def fit(rows: Ints) -> Any:
        return linear_model.Ridge(alpha=1.0).fit(vectors[rows].astype(np.float64), goal[rows])

    second = out_of_fold(
        prompts % FOLDS,
        np.full(len(goal), goal.mean()),
        lambda train, test: fit(train).predict(vectors[test].astype(np.float64)),
    )
    both = np.column_stack([lengths.location, second, np.ones(len(goal))])
    whole = fit(np.arange(len(goal)))
    return SecondOpinion(
        coef=np.append(whole.coef_, whole.intercept_),
        shares=np.linalg.lstsq(both, goal)[0].astype(np.float64),
    )


def training_scores(
    observations: Sequence[Observation],
    *,
    hold_out: float = 0.2,
    seed: int = 0,
    embedding: Embedding | None = None,
    tick: Callable[[], None] | None = None,
) -> list[ScoreRow]:
    """Return how good a predictor is that learned without ``hold_out`` of the prompts.

    The first row is on what was left out, the second on what it learned from.

    Raises:
        InputError: too few requests are left to learn from.
    """
    if not 0 <= hold_out <= 0.5:
        raise InputError(f"a hold-out is a fraction from 0 to 0.5, not {hold_out:g}")
    if hold_out == 0:
        return []

    rest, test = held_out(observations, hold_out, seed)
    if len(rest) < MIN_ROWS <= len(observations):
        raise InputError(
            f"a hold-out of {hold_out:g} leaves {len(rest)} of {len(observations)} requests to "
            f"learn from, and {MIN_ROWS} are needed; give more, or hold out 0"
        )
    trial = train(rest, seed=seed, embedding=embedding, tick=tick)
    return [
        score(predicted(trial, part), [o.output_tokens for o in part], name)
        for name, part in (("held out", test), ("in sample", rest))
    ]


def training_report(
    observations: Sequence[Observation], scores: Sequence[ScoreRow], output: Path
) -> Report[ScoreRow]:
    """Return what was learned from, and the ``scores`` of `training_scores`."""
    notes = [leak_warning(observations)]
    if scores:
        notes.append("what is written has learned from all requests, the held-out ones too")
    return Report(
        kind="predict-train",
        title=f"{output}: learned from {len(observations)} requests",
        question={"requests": len(observations), "predictor": str(output)},
        rows=tuple(scores),
        notes=tuple(note for note in notes if note is not None),
    )


@dataclass(frozen=True, slots=True)
class CardRow:
    """What a predictor was trained on, and where it is weak."""

    purpose: str = column("purpose", "what it predicts")
    data: str = column("data", "what it has learned from")
    licence_of_the_data: str = column("licence", "of the data")
    requests: int = column("requests", "finished requests it has learned from")
    prompts: int = column("prompts", "different prompts among them")
    models: str = column("models", "who answered, the most frequent first")
    sources: str = column("sources", "where prompts come from, the most frequent first")
    scores: str = column("scores", "how good it was when it was trained", detail=True)
    trained_on: str = column("trained", "on which day")
    weakness: str = column("weakness", "where not to trust it")


def card_for(
    observations: Sequence[Observation], data: str, licence: str, scores: Any
) -> dict[str, Any]:
    """Return the model card of a predictor that learned from ``observations``, as it is stored."""
    models = Counter(o.model for o in observations)
    sources = Counter(o.source for o in observations)
    return {
        "purpose": "output tokens of an answer, from the text of its prompt",
        "data": data,
        "licence_of_the_data": licence,
        "requests": len(observations),
        "prompts": len({o.prompt for o in observations}),
        "models": dict(models.most_common(50)),
        "sources": dict(sources.most_common(50)),
        "scores": [asdict(row) for row in scores] if isinstance(scores, list) else scores,
        "trained_on": datetime.now(UTC).date().isoformat(),
        "weakness": (
            "Knows the kinds of prompts and the models it was trained on. Elsewhere its order of "
            "requests is weak and its lengths are off until it has observed finished requests."
        ),
    }


def card_report(folder: Path | None = None) -> Report[CardRow]:
    """Return the model card of the predictor in ``folder``, or of the default one."""
    card = read_card(folder or DEFAULT)["card"]
    texts = {name: card.get(name, "") for name in CardRow.__dataclass_fields__}
    for name in ("models", "sources"):
        texts[name] = ", ".join(f"{key or '?'} ({count})" for key, count in card[name].items())
    return Report(
        kind="predict-card",
        title=f"The predictor in {folder}" if folder else "The default predictor",
        question={"predictor": str(folder or "default")},
        rows=(CardRow(**texts | {"scores": json.dumps(card["scores"])}),),
    )
