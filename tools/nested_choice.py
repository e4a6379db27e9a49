"""What a fold chooses, and on what: splits inside the points that it trains on.

The groups that are left out of a fold choose nothing. Those that it trains on are dealt out to a
few inner folds, by the same kind of group (accelerators, models, pairs); what is fitted without
an inner fold answers it. How far its errors strayed from their stated deviation says by how much
the intervals of a vendor, an engine, a format and a kind are wider or narrower. There, a row of a
harness that measures otherwise is held against what that harness is expected to measure: what
it adds would be taken for doubt about the answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headway.serving.answer_doubt import load_features
from headway.serving.serving_point import ServingPoint, corrected_times, logs, subject
from headway.serving.tabulated import ServingTable
from headway.steptime.error_model import NORMAL_80, Groups
from headway.steptime.work import Array
from tools.fit_form import FitForm
from tools.serving_coefficients import OLD, Rows, coefficients, pooled, take
from tools.serving_errors import Choice, fit_tpot_errors, row_errors, row_groups

INNER_FOLDS = 3
INNER_STEPS = 4  # of the descent: enough to see how far errors stray
# Intervals are as wide as errors were, by one of these sets of levels; what few left-out groups
# show hardly changes them.
STRAY_LEVELS: tuple[tuple[str, ...], ...] = (
    (),
    ("all", "harness"),
    ("all", "harness", "vendor"),
    ("all", "harness", "vendor", "weights", "kind"),
    ("all", "harness", "vendor", "engine", "weights", "kind"),
)
# Factors from few groups hold for the next a little less than for those that made them.
STRAY_QUANTILE = 0.83
STRAY_GROUPS = 2.0
STRAY_ROUNDS = 3
TINY = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class InnerFold:
    """Points to train on, points to answer, and the groups of these."""

    train: Rows
    left_out: Rows
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class InnerErrors:
    """Log-errors of serving points that were left out.

    Attributes:
        groups: of each point, and of who measured it.
        labels: the group that each was left out with.
        error: log of measured over answered, ``(n,)``.
        harness: what of it is expected of who measured it, ``(n,)``.
        variance: that is stated of both, ``(n,)``.

    """

    groups: tuple[Groups, ...]
    labels: tuple[str, ...]
    error: Array
    harness: Array
    variance: Array

    def take(self, places: Rows) -> InnerErrors:
        """The errors at some places."""
        return InnerErrors(
            groups=tuple(self.groups[i] for i in places),
            labels=tuple(self.labels[i] for i in places),
            error=self.error[places],
            harness=self.harness[places],
            variance=self.variance[places],
        )


def choose(
    points: Sequence[ServingPoint], table: ServingTable, *labelings: Sequence[str]
) -> Choice:
    """Return what is chosen from ``points`` by answering the groups of all ``labelings``."""
    folds = [fold for labels in labelings for fold in inner_folds(points, labels)]
    form = FitForm()
    return Choice(form, best_strays(inner_errors(points, table, folds, form)))


def inner_folds(points: Sequence[ServingPoint], labels: Sequence[str]) -> list[InnerFold]:
    """Deal the groups of ``labels`` out: large groups first, each to the smallest fold."""
    sizes = Counter(labels)
    total = np.zeros(min(INNER_FOLDS, len(sizes)))
    place = {}
    for label in sorted(sizes, key=lambda label: (-sizes[label], label)):
        place[label] = int(np.argmin(total))
        total[place[label]] += sizes[label]

    # Old static batches are trained on, but nobody asks about them.
    inner = np.array([place[label] for label in labels])
    is_served = np.array([point.source not in OLD for point in points])
    folds = []
    for fold in range(len(total)):
        train: Rows = np.flatnonzero(inner != fold).astype(np.int64)
        left_out: Rows = np.flatnonzero((inner == fold) & is_served).astype(np.int64)
        folds.append(InnerFold(train, left_out, tuple(labels[i] for i in left_out)))
    return folds


def inner_errors(
    points: Sequence[ServingPoint],
    table: ServingTable,
    folds: Sequence[InnerFold],
    form: FitForm,
) -> InnerErrors:
    """Return the errors of the points that each of ``folds`` left out."""
    groups: list[Groups] = []
    labels: list[str] = []
    errors, harness, variances = [], [], []
    for fold in folds:
        trained, trained_table = [points[i] for i in fold.train], take(table, fold.train)
        fit = pooled(trained, trained_table, form, INNER_STEPS)
        model = fit_tpot_errors(fit, trained, trained_table, form)

        tested, tested_table = [points[i] for i in fold.left_out], take(table, fold.left_out)
        own = [subject(point).groups for point in tested]
        weights = [model.weights(one) for one in own]
        times = corrected_times(tested_table, coefficients(fit, tested), weights)
        features = load_features(tested_table.shape, times)

        errors.append(logs([point.tpot_s for point in tested]) - np.log(times.tpot_s))
        labels += fold.labels

        of_rows = [row_groups(point) for point in tested]
        groups += of_rows
        added, variance = row_errors(model, of_rows, weights, features)
        harness.append(added)
        variances.append(variance)
    return InnerErrors(
        groups=tuple(groups),
        labels=tuple(labels),
        error=np.concatenate(errors),
        harness=np.concatenate(harness),
        variance=np.concatenate(variances),
    )


def best_strays(left_out: InnerErrors) -> dict[tuple[str, str], float]:
    """Return the factors by those levels that help intervals of groups that made none of them.

    Intervals are scored as Gneiting and Raftery (2007, section 6.2) do: their width, and what lies
    outside of them ten times.
    """
    labels = np.array(left_out.labels)
    half_width = NORMAL_80 * np.sqrt(left_out.variance)
    scores: dict[Sequence[str], float] = {}
    for levels in STRAY_LEVELS:
        wider = np.ones(len(labels))
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            others = left_out.take(np.flatnonzero(labels != label))
            factors = strays(others, levels)
            wider[own] = [_stray(left_out.groups[i], factors) for i in own]
        off = np.abs(left_out.error - left_out.harness)
        outside = np.maximum(off - half_width * wider, 0.0)
        scores[levels] = float(np.mean(2 * half_width * wider + 10 * outside))
    return strays(left_out, min(scores, key=lambda levels: scores[levels]))


def _stray(groups: Groups, factors: Mapping[tuple[str, str], float]) -> float:
    """Return the factor on the deviation of the errors of a point."""
    return math.prod(factors.get(own, 1.0) for own in groups.items())


def strays(left_out: InnerErrors, levels: Sequence[str]) -> dict[tuple[str, str], float]:
    """Return by level and group how much further errors lay than their deviation says.

    Of each group `STRAY_QUANTILE` counts, as the intervals are of 80%; levels take turns.
    """
    off = np.abs(left_out.error - left_out.harness) / np.sqrt(left_out.variance) / NORMAL_80
    log_off = np.log(np.maximum(off, TINY))
    labels = np.array(left_out.labels)

    members = {}
    for level in levels:
        names = np.array([own.get(level, "") for own in left_out.groups])
        for name in sorted(set(names.tolist()) - {""}):
            members[level, name] = np.flatnonzero(names == name)

    log_factors = dict.fromkeys(members, 0.0)
    for _ in range(STRAY_ROUNDS):
        for own, rows in members.items():
            num_labels = len(np.unique(labels[rows]))
            shrunk = num_labels / (num_labels + STRAY_GROUPS)
            log_factor = shrunk * float(np.quantile(log_off[rows], STRAY_QUANTILE))
            log_off[rows] -= log_factor
            log_factors[own] += log_factor
    return {own: float(np.exp(log_factor)) for own, log_factor in log_factors.items()}
