"""A fitted predictor as named arrays and back; what comes back is checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.errors import InputError
from headway.predict.conformal import WINDOW, LevelWindow
from headway.predict.embedding import EMBEDDING, WIDTH, SentenceEmbedding
from headway.predict.length_model import HASH_BITS, NUM_VIEWS, LengthModel, SecondOpinion
from headway.predict.ngrams import LinearNgrams
from headway.predict.online import (
    MAX_MODELS,
    MAX_TENANTS,
    LinearCorrection,
    ModelState,
    OnlineState,
    TenantState,
)
from headway.predict.prediction import LEVELS
from headway.predict.predictor import Scaling, TextPredictor
from headway.predict.traits import FEATURES
from headway.predict.trees import BoostedTrees

Arrays = dict[str, NDArray[Any]]
_MAX_TREES, _MAX_DEPTH = 5000, 10
_MAX_VALUE = 1e9
_NUM_INPUTS = NUM_VIEWS + len(FEATURES)
_NUM_DETAILS = 1 + len(FEATURES)


def packed(predictor: TextPredictor) -> tuple[Arrays, dict[str, Any]]:
    """Return all arrays of a fitted ``predictor``, and the names of its models and tenants."""
    model, state = predictor.model, predictor.state
    arrays: Arrays = {
        "bucket_weights": model.views.bucket_weights.astype(np.float16),
        "coef": model.views.coef.astype(np.float16),
        "intercept": model.views.intercept,
        "table_at": model.table_at,
        "table": model.table,
        "centre": predictor.scaling.centre,
        "scale": predictor.scaling.scale,
        "prior": state.prior,
    }
    for name, trees in (("trees", model.trees), ("spread", model.spread_trees)):
        arrays |= {
            f"{name}_start": np.array(trees.start),
            f"{name}_columns": trees.columns,
            f"{name}_cuts": trees.cuts,
            f"{name}_leaves": trees.leaves,
        }
    for name, opinion in (("form", model.form), ("blend", predictor.blend)):
        if opinion is not None:
            arrays |= {f"{name}_coef": opinion.coef, f"{name}_shares": opinion.shares}

    # The online part: words where any was seen; `shared` first, covariances as upper triangles.
    if state.words.mean.any():
        arrays |= {"word_mean": state.words.mean, "word_variance": state.words.variance}
    models, tenants = [state.shared, *state.models.values()], list(state.tenants.values())
    upper = np.triu_indices(len(state.prior))
    arrays |= {
        "model_means": np.array([m.correction.mean for m in models]),
        "model_covariances": np.array([m.correction.covariance[upper] for m in models]),
        "model_seen": np.array([m.correction.count for m in models]),
        "model_levels": _levels([m.window for m in models]),
        "tenant_errors": np.array([t.mean_error for t in tenants], dtype=np.float64),
        "tenant_counts": np.array([t.count for t in tenants], dtype=np.float64),
        "tenant_levels": _levels([t.window for t in tenants]),
    }
    names = {
        "features": list(FEATURES),
        "levels": list(LEVELS),
        "effects": predictor.effects,
        "models": list(state.models),
        "tenants": [list(key) for key in state.tenants],
        "embedding": EMBEDDING if predictor.blend is not None else None,
    }
    return arrays, names


def unpacked(
    arrays: Mapping[str, NDArray[Any]], names: Mapping[str, Any], *, embed: bool
) -> TextPredictor:
    """Return the predictor that `packed` took apart; ``embed`` says whether it uses its embedding.

    Raises:
        InputError: an array or a name is not what this version writes.
    """
    if names["features"] != list(FEATURES) or names["levels"] != list(LEVELS):
        raise InputError(
            "it was written by a version that reads prompts differently: train it anew"
        )

    blend = None
    if names["embedding"] is not None:
        if names["embedding"] != EMBEDDING:
            raise InputError("it needs an embedding that this version does not know")
        blend = _opinion(arrays, "blend", WIDTH)
    return TextPredictor(
        _length_model(arrays),
        effects={str(model): _finite(effect) for model, effect in names["effects"].items()},
        scaling=Scaling(
            centre=_floats(arrays, "centre", (_NUM_DETAILS,)),
            scale=_floats(arrays, "scale", (_NUM_DETAILS,), minimum=1e-6),
        ),
        state=_state(arrays, names),
        blend=blend,
        embedding=SentenceEmbedding() if embed and blend is not None else None,
    )


def _length_model(arrays: Mapping[str, NDArray[Any]]) -> LengthModel:
    num_columns, num_rows = 1 << HASH_BITS, len(arrays["table_at"])
    table_at = _floats(arrays, "table_at", (num_rows,))
    table = _floats(arrays, "table", (num_rows, len(LEVELS)))
    if num_rows < 2 or (np.diff(table_at) <= 0).any() or (np.diff(table, axis=1) < 0).any():
        raise InputError("its residual table is not in order")

    return LengthModel(
        views=LinearNgrams(
            bucket_weights=_narrow(arrays, "bucket_weights", (num_columns,)),
            coef=_narrow(arrays, "coef", (num_columns, NUM_VIEWS)),
            intercept=_narrow(arrays, "intercept", (NUM_VIEWS,)),
        ),
        trees=_trees(arrays, "trees"),
        spread_trees=_trees(arrays, "spread"),
        table_at=table_at,
        table=table,
        form=_opinion(arrays, "form", _NUM_INPUTS) if "form_coef" in arrays else None,
    )


def _opinion(arrays: Mapping[str, NDArray[Any]], name: str, width: int) -> SecondOpinion:
    return SecondOpinion(
        coef=_floats(arrays, f"{name}_coef", (width + 1,)),
        shares=_floats(arrays, f"{name}_shares", (3,)),
    )


def _state(arrays: Mapping[str, NDArray[Any]], names: Mapping[str, Any]) -> OnlineState:
    models = [_name(name) for name in names["models"]]
    tenants = [(_name(model), _name(tenant)) for model, tenant in names["tenants"]]
    if len(models) > MAX_MODELS or len(tenants) > MAX_TENANTS:
        raise InputError("it holds more models or tenants than a predictor keeps")

    # Models: the shared one first.
    size, count = _NUM_DETAILS + 1, len(models) + 1
    state = OnlineState(_floats(arrays, "prior", (size,), minimum=0.0))
    upper = np.triu_indices(size)
    means = _floats(arrays, "model_means", (count, size))
    triangles = _floats(arrays, "model_covariances", (count, len(upper[0])))
    counts = _floats(arrays, "model_seen", (count,), minimum=0.0)
    windows = _windows(arrays, "model_levels", count)
    states = []
    for mean, triangle, number, window in zip(means, triangles, counts, windows, strict=True):
        correction = LinearCorrection(state.prior, mean)
        correction.covariance[upper] = triangle
        correction.covariance.T[upper] = triangle
        correction.count = int(number)
        states.append(ModelState(correction, window))
    state.shared = states[0]
    state.models.update(zip(models, states[1:], strict=True))
    if "word_mean" in arrays:
        columns = (1 << HASH_BITS,)
        state.words.mean = _narrow(arrays, "word_mean", columns)
        state.words.variance = _floats(arrays, "word_variance", columns, minimum=0.0).astype(
            np.float32
        )

    errors = _floats(arrays, "tenant_errors", (len(tenants),))
    counts = _floats(arrays, "tenant_counts", (len(tenants),), minimum=0.0)
    windows = _windows(arrays, "tenant_levels", len(tenants))
    for key, error, number, window in zip(tenants, errors, counts, windows, strict=True):
        state.tenants[key] = TenantState(float(error), float(number), window=window)
    return state


def _trees(arrays: Mapping[str, NDArray[Any]], name: str) -> BoostedTrees:
    columns, cuts, leaves = (arrays[f"{name}_{part}"] for part in ("columns", "cuts", "leaves"))
    if leaves.ndim != 2 or not 1 <= len(leaves) <= _MAX_TREES:
        raise InputError(f"its array {name}_leaves has the shape {leaves.shape}")
    num_trees, num_leaves = leaves.shape
    depth = num_leaves.bit_length() - 1
    if num_leaves != 2**depth or not 1 <= depth <= _MAX_DEPTH:
        raise InputError(f"its trees have {num_leaves} leaves")

    # An infinite cut is a node that does not split.
    if columns.shape != (num_trees, num_leaves - 1) or columns.dtype != np.int16:
        raise InputError(f"its array {name}_columns is of another shape or type")
    if columns.min() < 0 or columns.max() >= _NUM_INPUTS:
        raise InputError("its trees read columns that do not exist")
    if cuts.shape != columns.shape or cuts.dtype != np.float32 or np.isnan(cuts).any():
        raise InputError(f"its array {name}_cuts is of another shape or type")
    return BoostedTrees(
        start=float(_floats(arrays, f"{name}_start", ())),
        columns=columns,
        cuts=cuts,
        leaves=_narrow(arrays, f"{name}_leaves", leaves.shape),
    )


def _narrow(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    return _floats(arrays, name, shape).astype(np.float32)


def _floats(
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    shape: tuple[int, ...],
    minimum: float = -_MAX_VALUE,
) -> NDArray[np.float64]:
    array = arrays[name]
    if array.shape != shape or array.dtype.kind not in "fi":
        raise InputError(f"its array {name} is {array.dtype} {array.shape}, not numbers {shape}")
    values = array.astype(np.float64)
    if not ((values >= minimum) & (values <= _MAX_VALUE)).all():
        raise InputError(f"its array {name} holds numbers out of range")
    return values


def _levels(windows: list[LevelWindow]) -> NDArray[np.float64]:
    rows = np.full((len(windows), WINDOW), np.nan)
    for row, window in zip(rows, windows, strict=True):
        row[: len(window.latest)] = list(window.latest)
    return rows


def _windows(arrays: Mapping[str, NDArray[Any]], name: str, count: int) -> list[LevelWindow]:
    rows = arrays[name]
    if rows.shape != (count, WINDOW) or rows.dtype != np.float64:
        raise InputError(f"its array {name} is {rows.dtype} {rows.shape}")
    used = ~np.isnan(rows)
    if ((rows <= 0) | (rows >= 1))[used].any():
        raise InputError(f"its array {name} holds levels outside (0, 1)")
    return [LevelWindow(row[own].tolist()) for row, own in zip(rows, used, strict=True)]


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise InputError("a model or tenant has a name that is no text")
    return value


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MAX_VALUE:
        raise InputError("the effect of a model is no finite number")
    return float(value)
