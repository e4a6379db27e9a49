"""Variances of an error model by greatest marginal likelihood, from points of training groups.

Points of one group at every level share everything but their features, so their errors reduce to
as many numbers as there are features (a QR factorisation; nothing is lost), and thousands of points
to a few hundred. Variances climb by the minorise-maximise step of Zhou, Hu, Zhou and Lange (2019,
"MM algorithms for variance components models"), which needs no step size and keeps them positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headway.steptime.error_model import ErrorModel, Evidence, Names
from headway.steptime.work import Array

FIRST_REST = 0.05**2
STEPS = 40
TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Errors of many points, reduced.

    Attributes:
        groups, features, errors: of rows that stand for all points.
        others: points beyond the rows.
        squares: sum of squares of the errors that no features of their groups explain.

    """

    groups: Names
    features: Array
    errors: Array
    others: int
    squares: float


def summarise(groups: Names, features: Array, errors: Array) -> Summary:
    """Reduce points to as many rows as their groups have features.

    ``groups`` is ``(n, levels)``, ``features`` ``(n, features)``, ``errors`` ``(n,)``.
    """
    unique, members = np.unique(groups, axis=0, return_inverse=True)
    rows, squares = [], 0.0
    for group in range(len(unique)):
        own = members.reshape(-1) == group
        orthogonal, triangle = np.linalg.qr(features[own])
        projected = orthogonal.T @ errors[own]
        squares += float(errors[own] @ errors[own] - projected @ projected)

        tells = np.abs(triangle).max(axis=1) > TINY
        squares += float((projected[~tells] ** 2).sum())
        rows += [(group, triangle[row], projected[row]) for row in np.flatnonzero(tells)]

    return Summary(
        groups=unique[[group for group, _, _ in rows]],
        features=np.array([triangle for _, triangle, _ in rows]),
        errors=np.array([projected for _, _, projected in rows]),
        others=len(errors) - len(rows),
        squares=max(squares, 0.0),
    )


def fit_error_model(
    levels: Sequence[str], typical: Array, summary: Summary, *, typical_groups: float
) -> ErrorModel:
    """Return the model whose variances make the summarised errors most likely.

    ``typical`` are the variances to start from and to be pulled to, ``(levels, features)``: a level
    with few groups says little of the next, so that it is as if ``typical_groups`` more groups had
    strayed as is typical.
    """
    variances, rest = typical.copy(), FIRST_REST
    members = [_members(summary.groups[:, level]) for level in range(len(levels))]
    for _ in range(STEPS):
        variances, rest = _climb(
            summary,
            members,
            typical,
            typical_groups=typical_groups,
            variances=variances,
            rest=rest,
        )

    noise = np.full(len(summary.errors), rest)
    evidence = Evidence(summary.groups, summary.features, summary.errors, noise)
    return ErrorModel(tuple(levels), variances, rest, evidence)


def _members(names: Names) -> Array:
    """Return which rows are in which group, ``(groups, n)``; "" is no group."""
    unique = [name for name in np.unique(names) if name != ""]
    return np.array([names == name for name in unique], dtype=np.float64).reshape(-1, len(names))


def _climb(
    summary: Summary,
    members: Sequence[Array],
    typical: Array,
    *,
    typical_groups: float,
    variances: Array,
    rest: float,
) -> tuple[Array, float]:
    """Return variances and rest after one step."""
    features, errors = summary.features, summary.errors
    same = [own.T @ own for own in members]
    covariance = rest * np.eye(len(errors))
    for level, own in enumerate(same):
        covariance += own * ((features * variances[level]) @ features.T)
    inverse = np.linalg.inv(covariance)
    solved = inverse @ errors

    # Of every variance: squares of what its weights explain, over what they would by chance.
    explained, expected = np.zeros_like(variances), np.zeros_like(variances)
    for level, own in enumerate(members):
        explained[level] = ((own @ (features * solved[:, None])) ** 2).sum(axis=0)
        expected[level] = np.einsum("ik,ik->k", features, (same[level] * inverse) @ features)
    explained += typical_groups * typical / variances**2
    expected += typical_groups / variances

    rest_explained = solved @ solved + summary.squares / rest**2
    rest_expected = np.trace(inverse) + summary.others / rest
    return (
        variances * np.sqrt(explained / expected),
        float(rest * np.sqrt(rest_explained / rest_expected)),
    )
