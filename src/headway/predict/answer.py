"""How long an answer will be, and why: what a person asks of a predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from headway.predict.length_model import HASH_BITS
from headway.predict.log import Observation
from headway.predict.ngrams import hashed, weighted
from headway.predict.prediction import LengthPrediction
from headway.predict.predictor import TextPredictor
from headway.predict.storage import default_predictor, load
from headway.predict.text import chat_text, considered
from headway.predict.tokens import WORD, tokenized
from headway.predict.traits import requested_tokens
from headway.predict.uncertainty import uncertainty_scores
from headway.report.column import column
from headway.report.report import Report

Chat = Sequence[Mapping[str, object]]
_MIN_EFFECT = 0.01  # in ln(1 + tokens)


def predict_length(
    text: str | Chat,
    *,
    model: str = "",
    tenant: str = "",
    max_tokens: int | None = None,
    written_tokens: float = 0.0,
    predictor: TextPredictor | Path | str | None = None,
) -> LengthPrediction:
    """Return how many output tokens the answer to ``text`` will have, as a distribution.

    Args:
        text: a prompt, or the messages of a chat, each with a ``role`` and a ``content``.
        model: who answers, as the training log names it.
        tenant: on whose behalf, likewise.
        max_tokens: the request's limit on the answer.
        written_tokens: how many tokens of the answer are there already.
        predictor: a trained one or its folder; the default one is weak until it has seen your own
            traffic.
    """
    prompt = text if isinstance(text, str) else chat_text(text)
    request = Observation(prompt, 0, model, tenant, max_tokens=max_tokens).request(0)
    (prediction,) = _predictor(predictor).predict([request])
    return prediction.given_at_least(written_tokens) if written_tokens else prediction


def _predictor(predictor: TextPredictor | Path | str | None) -> TextPredictor:
    if predictor is None:
        return _shared_default()
    return predictor if isinstance(predictor, TextPredictor) else load(Path(predictor))


@cache
def _shared_default() -> TextPredictor:
    return default_predictor()


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """What is said of one prompt."""

    p5_tokens: float = column("5%", "1 of 20 answers is shorter", unit="tokens")
    p10_tokens: float = column("10%", "1 of 10 answers is shorter", unit="tokens")
    p25_tokens: float = column("25%", "1 of 4 answers is shorter", unit="tokens")
    p50_tokens: float = column("50%", "half of the answers are shorter", unit="tokens")
    p75_tokens: float = column("75%", "3 of 4 answers are shorter", unit="tokens")
    p90_tokens: float = column("90%", "9 of 10 answers are shorter", unit="tokens")
    p95_tokens: float = column("95%", "19 of 20 answers are shorter", unit="tokens")
    mean_tokens: float = column("mean", "mean length", unit="tokens")
    why: str = column("why", "the words that moved the length most, and by which factor")
    structural: float = column("structural", "attachment sites of phrases beyond the first")
    syntactic: float = column("syntactic", "words that may be noun or verb, and nothing decides")
    semantic: float = column("semantic", "words with unrelated senses")
    vague: float = column("vague", "words that name no definite thing")
    open_ended: float = column("open-ended", "cues of a question without one answer")
    multi_part: float = column("multi-part", "parts that are asked for beyond the first")
    model_known: bool = column("model known", "whether it has seen requests of this model")


def prediction_report(
    text: str | Chat,
    *,
    model: str = "",
    tenant: str = "",
    max_tokens: int | None = None,
    written_tokens: float = 0.0,
    predictor: TextPredictor | Path | str | None = None,
) -> Report[PredictionRow]:
    """Return `predict_length` with its reasons and the uncertainty scores of the prompt."""
    prompt = text if isinstance(text, str) else chat_text(text)
    name = "default" if predictor is None else str(predictor)
    predictor = _predictor(predictor)
    prediction = predict_length(
        prompt,
        model=model,
        tenant=tenant,
        max_tokens=max_tokens,
        written_tokens=written_tokens,
        predictor=predictor,
    )

    why = [f'"{reason.words}" x{reason.factor:.2f}' for reason in reasons(predictor, prompt)]
    request = request_reason(prompt)
    scores = uncertainty_scores(prompt)
    model_known = predictor.knows(model)
    row = PredictionRow(
        p5_tokens=prediction.at(0.05),
        p10_tokens=prediction.at(0.1),
        p25_tokens=prediction.at(0.25),
        p50_tokens=prediction.at(0.5),
        p75_tokens=prediction.at(0.75),
        p90_tokens=prediction.at(0.9),
        p95_tokens=prediction.at(0.95),
        mean_tokens=prediction.mean_tokens,
        why=", ".join([request, *why] if request else why),
        structural=scores.structural,
        syntactic=scores.syntactic,
        semantic=scores.semantic,
        vague=scores.vague,
        open_ended=scores.open_ended,
        multi_part=scores.multi_part,
        model_known=model_known,
    )

    notes: tuple[str, ...] = ()
    if name == "default":
        notes = ("the default predictor is weak until it has seen your own traffic: train one",)
    elif not model_known:
        notes = (f"model {model!r} is not in its training log, so the doubt is wider",)
    return Report(
        kind="predict",
        title="Output tokens of the answer",
        question={
            "text": prompt.encode("utf-8", "replace").decode(),
            "model": model,
            "tenant": tenant,
            "max_tokens": max_tokens,
            "written_tokens": written_tokens,
            "predictor": name,
        },
        rows=(row,),
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class Reason:
    """One word or pair of words and the factor by which it moved the predicted length.

    The factor is that of the linear part on n-grams alone; the trees that follow may weaken it.
    """

    words: str
    factor: float


def reasons(predictor: TextPredictor, prompt: str, max_reasons: int = 6) -> list[Reason]:
    """Return the words of ``prompt`` that moved the prediction the most, the strongest first."""
    tokens = tokenized([considered(prompt).text])
    views = predictor.model.views
    grams = weighted(hashed(tokens, HASH_BITS), views.bucket_weights)
    effects = grams.values * views.coef[grams.columns, 0]
    effect_of = dict(zip(grams.columns.tolist(), effects.tolist(), strict=True))

    # Every word and every pair of neighbours: its hash, its first and its last token.
    spans = [(h, i, i) for i, h in enumerate(tokens.hashes.tolist())]
    pairs = zip(tokens.pairs.tolist(), tokens.pair_starts.tolist(), strict=True)
    spans += [(h, i, i + 1) for h, i in pairs]

    shift = np.uint64(64 - (HASH_BITS - 1))
    effect_of_words: dict[str, float] = {}
    for value, begin, end in spans:
        if (tokens.kinds[[begin, end]] == WORD).all():
            raw = tokens.raw[tokens.starts[begin] : tokens.ends[end]]
            words = raw.tobytes().decode("utf-8", "replace").lower()[:60]
            effect_of_words[words] = effect_of.get(int(np.uint64(value) >> shift), 0.0)

    ranked = sorted(effect_of_words.items(), key=lambda item: (-abs(item[1]), item[0]))
    strongest = [item for item in ranked[:max_reasons] if abs(item[1]) > _MIN_EFFECT]
    return [Reason(words, float(np.exp(effect))) for words, effect in strongest]


def request_reason(prompt: str) -> str | None:
    """Return what the prompt says about the length in so many words, ``None`` if nothing."""
    tokens, parts = requested_tokens(considered(prompt).text)
    if tokens:
        return f"asks for about {tokens:.0f} tokens"
    return f"asks for {parts:.0f} parts" if parts else None
