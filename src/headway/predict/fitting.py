"""Fit the parts that read prompts, with scikit-learn (extra ``train``).

Everything that a later stage learns from an earlier one is predicted out of fold (stacking:
Wolpert 1992); a fold holds all rows of a prompt, whatever model answered it. The parts are those
of `headway.predict.length_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.predict.length_model import (
    MIN_SPREAD,
    LengthModel,
    LogLengths,
    PromptRows,
    tree_inputs,
)
from headway.predict.ngrams import LinearNgrams, Sparse, rarity, weighted
from headway.predict.prediction import LEVELS
from headway.predict.trees import BoostedTrees

Floats = NDArray[np.float64]
Inputs = NDArray[np.float32]
Ints = NDArray[np.intp]
FOLDS, LOCATION_FOLDS, SPREAD_FOLDS = 8, 4, 2
FIT_STEPS = FOLDS + LOCATION_FOLDS + SPREAD_FOLDS  # calls of `tick` in one fit, at most
NGRAM_PENALTY = 2.0  # rows have norm sqrt 2
GROUP_PENALTY = 5.0  # in rows
_THRESHOLDS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)  # quantiles that the views say are exceeded
_MIN_TREES, _ROWS_PER_TREE = 60, 6
_TABLE_ROWS = 8


@dataclass(frozen=True, slots=True)
class Stack:
    """A fitted model, and how its training rows look when they were not learned from.

    Attributes:
        group_effects: what each group's lengths differ by in ln(1 + tokens), [groups].
    """

    model: LengthModel
    group_effects: Floats
    out_of_fold: LogLengths


def fit_length_model(
    rows: PromptRows,
    log_tokens: Floats,
    *,
    groups: Ints,
    prompts: Ints,
    seed: int = 0,
    num_trees: int = 500,
    tick: Callable[[], None] | None = None,
) -> Stack:
    """Fit ``log_tokens`` [rows]; ``groups`` number the models and ``prompts`` the texts, from 0."""
    random = np.random.default_rng(seed)
    fold = (random.permutation(int(prompts.max()) + 1) % FOLDS)[prompts]
    # One prompt answered by many models must not count as many prompts.
    weights = 1.0 / np.sqrt(np.bincount(prompts))[prompts]

    # Views of the length from n-grams, and what the models differ by.
    targets = _views(log_tokens)
    buckets = rarity(rows.grams)

    def view_part(train: Ints, test: Ints) -> Floats:
        part, _ = fit_ngrams(
            rows.grams.at(train),
            targets[train],
            groups=groups[train],
            weights=weights[train],
            buckets=buckets,
        )
        return part.predict(part.weighted(rows.grams.at(test))).astype(np.float64)

    views = out_of_fold(fold, np.zeros_like(targets), view_part, tick)
    ngrams, effects = fit_ngrams(
        rows.grams, targets, groups=groups, weights=weights, buckets=buckets
    )
    goal = log_tokens - effects[:, 0][groups]

    # The location, from views out of fold.
    inputs = tree_inputs(views, rows)
    num_trees = min(num_trees, max(_MIN_TREES, len(goal) // _ROWS_PER_TREE))
    # Fewer trees must each take a larger step to get as far.
    location_trees = _Grower(num_trees=num_trees, rate=min(10 / num_trees, 0.3), seed=seed)
    trees = location_trees.grow(inputs, goal, weights)
    location = out_of_fold(
        fold % LOCATION_FOLDS,
        np.full(len(goal), goal.mean()),
        lambda a, b: location_trees.grow(inputs[a], goal[a], weights[a]).predict(inputs[b]),
        tick,
    )

    # The spread, from residuals out of fold, and the shape around it.
    residual = goal - location
    size = np.log(np.abs(residual) + MIN_SPREAD)
    size_trees = _Grower(num_trees=80, rate=0.05, depth=3, min_rows=60, penalty=20.0, seed=seed)
    spread_trees = size_trees.grow(inputs, size, weights)
    crossed = out_of_fold(
        fold % SPREAD_FOLDS,
        np.full(len(size), size.mean()),
        lambda a, b: size_trees.grow(inputs[a], size[a], weights[a]).predict(inputs[b]),
        tick,
    )
    relative = residual / np.maximum(np.exp(crossed), MIN_SPREAD)

    # The mean logarithm of a residual's size is not that of its standard deviation.
    deviation = max(float(np.sqrt(np.mean(np.clip(relative, -6.0, 6.0) ** 2))), 1e-3)
    table_at, table = _residual_table(location, relative / deviation)
    model = LengthModel(
        views=ngrams,
        trees=trees,
        spread_trees=replace(spread_trees, start=spread_trees.start + float(np.log(deviation))),
        table_at=table_at,
        table=table,
    )
    return Stack(model, effects[:, 0], model.around(location, inputs))


def out_of_fold(
    fold: Ints,
    start: Floats,
    predict: Callable[[Ints, Ints], NDArray[np.floating]],
    tick: Callable[[], None] | None = None,
) -> Floats:
    """Return ``start`` with each fold's rows as ``predict(other rows, its rows)`` has them."""
    values = start.copy()
    for k in range(int(fold.max()) + 1):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if len(train) and len(test):
            values[test] = predict(train, test)
        if tick is not None:
            tick()
    return values


def _views(log_tokens: Floats) -> Floats:
    """Return the targets of the n-grams: log, rank, root, and whether thresholds are exceeded."""
    order = np.argsort(np.argsort(log_tokens, kind="stable"), kind="stable")
    rank = (order + 0.5) / len(log_tokens)
    above = log_tokens[:, None] > np.quantile(log_tokens, _THRESHOLDS)
    return np.column_stack([log_tokens, rank, np.exp(log_tokens / 2) / 8, above])


def _residual_table(location: Floats, relative: Floats) -> tuple[Floats, Floats]:
    """Return locations and, at each, the quantiles of the residuals of its neighbours."""
    order = np.argsort(location, kind="stable")
    count = max(2, min(_TABLE_ROWS, len(order) // 60))
    width = max(2 * len(order) // (count + 1), 1)
    starts = np.linspace(0, max(len(order) - width, 0), count).astype(int)
    centres = np.array([np.median(location[order[s : s + width]]) for s in starts])
    table = np.array([np.quantile(relative[order[s : s + width]], LEVELS) for s in starts])

    # Equal centres (all locations the same) would divide by zero between them.
    return centres + 1e-6 * np.arange(count), table


def fit_ngrams(
    grams: Sparse,
    targets: Floats,
    *,
    groups: Ints,
    weights: Floats,
    buckets: NDArray[np.float32],
) -> tuple[LinearNgrams, Floats]:
    """Return a ridge regression of ``targets`` [rows, targets], and the groups' effects.

    Each group is one more column, so that a prompt's effect is not mistaken for its model's: a
    random intercept, shrunk by `GROUP_PENALTY`. ``buckets`` weigh the n-grams, [columns].
    """
    sparse = import_module("scipy.sparse")
    rows = weighted(grams, buckets)
    shape = (grams.num_rows, grams.num_columns)
    words = sparse.csr_matrix((rows.values.astype(np.float64), rows.columns, rows.bounds), shape)

    # One penalty for all columns: the groups' are scaled instead.
    scale = (NGRAM_PENALTY / GROUP_PENALTY) ** 0.5
    member = sparse.csr_matrix((np.full(len(groups), scale), (np.arange(len(groups)), groups)))
    centre = np.average(targets, axis=0, weights=weights)
    ridge = import_module("sklearn.linear_model").Ridge(
        alpha=NGRAM_PENALTY, fit_intercept=False, solver="sparse_cg", tol=1e-3, max_iter=60
    )
    ridge.fit(sparse.hstack([words, member], format="csr"), targets - centre, weights)
    coef: Floats = ridge.coef_.T

    model = LinearNgrams(
        bucket_weights=_half(buckets),
        coef=_half(coef[: grams.num_columns]),
        intercept=centre.astype(np.float32),
    )
    return model, coef[grams.num_columns :] * scale


def _half(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return ``values`` to half precision: they are stored so, and must not change by it."""
    return values.astype(np.float16).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Grower:
    """Grows boosted trees of squared loss on histograms (Friedman 2001; Ke et al. 2017)."""

    num_trees: int
    rate: float
    depth: int = 6
    min_rows: int = 20
    penalty: float = 5.0  # in rows
    column_share: float = 0.3
    seed: int = 0

    def grow(self, inputs: Inputs, goal: Floats, weights: Floats) -> BoostedTrees:
        """Return trees that predict ``goal`` [rows] from ``inputs`` [rows, columns]."""
        ensemble = import_module("sklearn.ensemble").HistGradientBoostingRegressor(
            max_iter=self.num_trees,
            learning_rate=self.rate,
            max_depth=self.depth,
            max_leaf_nodes=None,
            min_samples_leaf=self.min_rows,
            l2_regularization=self.penalty,
            max_features=self.column_share,
            max_bins=64,
            early_stopping=False,
            random_state=self.seed,
        )
        # Equal weights are none, and weighted quantiles are what small fits wait for.
        is_weighted = bool(np.any(weights != weights[0]))
        ensemble.fit(inputs, goal, sample_weight=weights if is_weighted else None)
        # The library has no public way to its trees; a test holds ours against its predictions.
        trees = flat_trees([predictors[0].nodes for predictors in ensemble._predictors])
        return replace(trees, start=float(ensemble._baseline_prediction[0, 0]))


def flat_trees(trees: Sequence[NDArray[Any]]) -> BoostedTrees:
    """Return scikit-learn's trees, each an array of nodes, as complete trees of one depth."""
    depth = max(1, *(int(nodes["depth"].max()) for nodes in trees))
    splits = 2**depth - 1
    columns = np.zeros((len(trees), splits), dtype=np.int16)
    cuts = np.full((len(trees), splits), np.inf, dtype=np.float32)
    leaves = np.zeros((len(trees), splits + 1), dtype=np.float32)

    for tree, nodes in enumerate(trees):
        # Where each node stands; a parent comes before its children.
        places = {0: 0}
        for i, node in enumerate(nodes):
            place = places[i]
            if node["is_leaf"]:
                # Below a leaf nothing splits, and a row goes left all the way down.
                first = (place + 1) << (depth - int(node["depth"]))
                leaves[tree, first - 1 - splits] = node["value"]
                continue
            columns[tree, place] = node["feature_idx"]
            cuts[tree, place] = _float32_below(node["num_threshold"])
            places[int(node["left"])], places[int(node["right"])] = 2 * place + 1, 2 * place + 2
    return BoostedTrees(0.0, columns, cuts, leaves)


def _float32_below(threshold: float) -> np.float32:
    """Return the largest 32-bit number up to ``threshold``: no 32-bit input changes sides."""
    cut = np.float32(threshold)
    return cut if float(cut) <= float(threshold) else np.nextafter(cut, np.float32(-np.inf))
