"""The strings of the command line in the quantities of the published model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from headway.cli.options import ACCEPTANCE, CONTEXT_TOKENS, Shape, find_clusters
from headway.errors import InputError
from headway.model.catalogue import find_model, find_precision
from headway.model.precision import Precision
from headway.papers.erdil_2025.accelerators import ACCELERATORS, PublishedAccelerator
from headway.papers.erdil_2025.answer import PublishedQuestion
from headway.papers.erdil_2025.convert import published_accelerator, published_model, weight_bits
from headway.papers.erdil_2025.models import MODELS, PublishedModel


def asked_published(
    model: str, demand: float | None = None, pipeline: bool = True, **words: Any
) -> tuple[PublishedQuestion, tuple[PublishedAccelerator, ...]]:
    """Turn ``model`` and the fields of `Shape` into the paper's objects.

    Its own constants by name, else a conversion.

    Raises:
        InputError: an unknown name, a bad number, or an option that the paper's model lacks.
    """
    shape = Shape(**words)
    if shape.overlap:
        raise InputError("the published model never overlaps the network; leave out --overlap")
    if shape.speculate == "mtp":
        raise InputError("the published model knows draft models only, not drafting heads")
    question = PublishedQuestion(
        _model(model, shape.precision),
        CONTEXT_TOKENS if shape.context is None else shape.context,
        _model(shape.speculate, None) if shape.speculate else None,
        ACCEPTANCE if shape.acceptance is None else shape.acceptance,
        np.inf if demand is None else demand,
        pipeline,
    )
    found = (
        ACCELERATORS.get(cluster.name) or published_accelerator(cluster)
        for cluster in find_clusters(shape.on)
    )
    price = shape.price
    return question, tuple(a if price is None else replace(a, usd_per_hour=price) for a in found)


def _model(name: str, precision: str | None) -> PublishedModel:
    """The paper's own model of that name, or the conversion of ours."""
    known = MODELS.get(name.strip().lower())
    if known is None:
        chosen = Precision.parse(precision) if precision else find_precision(name)
        return published_model(find_model(name), chosen)
    return (
        known if precision is None else known.with_weights(weight_bits(Precision.parse(precision)))
    )
