"""What counted work leaves open: log-errors that groups share, learned from measured points.

The logarithm of measured over predicted time is

    features . (sum over levels of the weights of the group at that level)  +  rest

Every group of a level (a vendor, an engine, a model, a pair of both, ...) has weights of its own,
normal around 0 with the variances of its level: a constant, and slopes on what a step holds.
Groups that were measured narrow the weights of whoever shares them; one that was not keeps the
variance of its level. So an answer is wide where nothing like it was measured, and two answers are
correlated as far as they share groups. This is a Gaussian process in its weight space (Rasmussen
and Williams 2006, section 2.1); its variances are those of greatest marginal likelihood
(`tools/error_fit.py`).

The rest is mostly a smooth function of sequences and accelerators, of each subject its own: whoever
measures a subject at a few loads knows it near them, too (the same book, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.steptime.work import Array, Number

# What a weight goes with; the constants are of typical points, where all features are near 0.
FEATURES = ("constant", "sequences", "accelerators", "prompts")
TYPICAL_SEQUENCES, TYPICAL_ACCELERATORS = 32.0, 4.0
# Below so many sequences, and so many tokens of prompts, a feature flattens: a step with more in
# it must never come out shorter for its correction.
FEW_SEQUENCES, FEW_PROMPT_TOKENS = 4.0, 512.0
NORMAL_80 = 1.2815515655446004  # 80% of a normal distribution lie within so many deviations
# What was measured of each feature: a correction is never carried further, a variance is.
LOWEST = np.array([1.0, np.log(5 / 36), np.log(1 / 4), 0.0])
HIGHEST = np.array([1.0, np.log(4100 / 36), np.log(8 / 4), 1.0])
# Of a rest, the share that is smooth, and over how far in the logarithms of sequences and
# accelerators: likeliest, within a tenth and a third, for the groups of eight configurations and
# more that are trained on, whichever accelerator is left out.
SMOOTH_SHARE, SMOOTH_LENGTH = 0.5, 1.0
PLACE = slice(1, 3)  # of the features
Groups = Mapping[str, str]
Names = npt.NDArray[np.str_]


def features_of(
    sequences: Number, accelerators: Number, prompt_tokens: Number, prompt_share: Number = 1.0
) -> Array:
    """Return the features of steps, shape ``(..., features)``.

    Args:
        sequences: running sequences of the whole engine.
        accelerators: of the engine.
        prompt_tokens: of all prompts in one step.
        prompt_share: the share of time of steps with prompts, where steps of both kinds follow
            one another.

    """
    prompts = np.asarray(prompt_tokens, dtype=np.float64)
    columns = np.broadcast_arrays(
        1.0,
        np.log((sequences + FEW_SEQUENCES) / (TYPICAL_SEQUENCES + FEW_SEQUENCES)),
        np.log(np.asarray(accelerators) / TYPICAL_ACCELERATORS),
        prompt_share * prompts / (prompts + FEW_PROMPT_TOKENS),
    )
    return np.stack(columns, axis=-1)


DIGITS = 12  # of what the evidence says
UNBELIEVABLE = 3.0
SMALL_MATRIX = 48  # inverted at once


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Measured log-errors.

    Attributes:
        groups: the group of each at every level, "" where the level adds nothing; shape
            ``(n, levels)``.
        features: shape ``(n, features)``.
        error: log of measured over predicted, ``(n,)``.
        noise: variance of each around what its groups share, ``(n,)``.

    """

    groups: Names
    features: Array
    error: Array
    noise: Array

    def __post_init__(self) -> None:
        if not (len(self.groups) == len(self.features) == len(self.error) == len(self.noise)):
            raise InputError("evidence needs one row of groups and features for every error")
        if not (np.all(np.isfinite(self.error)) and np.all(self.noise > 0)):
            raise InputError("errors of evidence must be finite, and their noise above 0")

    def with_more(self, other: Evidence) -> Evidence:
        """Return this evidence and ``other``."""
        return Evidence(
            groups=np.concatenate([self.groups, other.groups]),
            features=np.concatenate([self.features, other.features]),
            error=np.concatenate([self.error, other.error]),
            noise=np.concatenate([self.noise, other.noise]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """What the ``n`` measured loads of a subject tell of others near them.

    Attributes:
        features: of the loads, ``(n, features)``.
        solved: the part of the errors that is the subject's own and smooth, as weights, ``(n,)``.
        told, with_weights: by how much they narrow it, ``(n, n)``, and what it then shares with
            the subject's weights, ``(features, n)``.

    """

    features: Array
    solved: Array
    told: Array
    with_weights: Array

    def expected(self, features: Array) -> Array:
        """Return the log-error that is expected beyond that of the weights, shape ``(...)``."""
        alike = _alike(features, self.features)
        return np.asarray(np.round(np.einsum("...n,n->...", alike, self.solved), DIGITS))

    def narrowing(self, features: Array) -> Array:
        """Return by how much the variance of a point is less than by the weights alone."""
        alike = _alike(features, self.features)
        own = np.einsum("...n,nm,...m->...", alike, self.told, alike)
        shared = np.einsum("...k,kn,...n->...", features, self.with_weights, alike)
        return np.asarray(np.round(own + 2 * shared, DIGITS))


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What is expected of the errors of one subject.

    Attributes:
        mean, covariance: of its weights, ``(features,)`` and ``(features, features)``.
        rest: variance of a point around what its groups share.
        near: what its own loads tell, if any were measured one by one.

    """

    mean: Array
    covariance: Array
    rest: float
    near: Near | None = None

    def expected(self, features: Array) -> Array:
        """Return the log-error that is expected at ``features``, shape ``(...)``."""
        clipped = np.clip(features, LOWEST, HIGHEST)
        shared = _sum_of_products(clipped, self.mean)
        return shared if self.near is None else shared + self.near.expected(clipped)

    def variance(self, features: Array) -> Array:
        """Return the variance of the log-error of one point at ``features``."""
        columns = [_sum_of_products(features, column) for column in self.covariance]
        variance = _sum_of_products(features, columns) + self.rest
        return variance if self.near is None else variance - self.near.narrowing(features)


def _sum_of_products(features: Array, factors: Sequence[Array] | Array) -> Array:
    """Return the sum over features, to the last digit the same for one question as for many."""
    products = [features[..., k] * factor for k, factor in enumerate(factors)]
    return np.asarray(sum(products[1:], products[0]))


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """The joint distribution of log-errors of all subjects, given what was measured.

    Attributes:
        levels: in the order of the columns of `Evidence.groups`.
        variances: of the weights of each level, ``(levels, features)``.
        rest: variance of a point around what its groups share.
        evidence: what was measured.
        strays: of a level and a group, the factor on the deviation of its errors: how much
            further from what was expected they lay where they were left out.
        num_loads: the last rows of the evidence that are single loads, as users measure them.

    """

    levels: tuple[str, ...]
    variances: Array
    rest: float
    evidence: Evidence
    strays: Mapping[tuple[str, str], float] = field(default_factory=dict)
    num_loads: int = 0
    _weights: dict[tuple[str, ...], Weights] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.variances.shape != (len(self.levels), len(FEATURES)):
            raise InputError("an error model needs a variance for every level and feature")
        if not (np.all(self.variances >= 0) and self.rest > 0):
            raise InputError("variances of an error model must not be negative, its rest above 0")

    def names(self, groups: Groups) -> tuple[str, ...]:
        """Return the group of every level; a level that ``groups`` lacks adds nothing."""
        return tuple(groups.get(level, "") for level in self.levels)

    def has_measured(self, level: str, group: str) -> bool:
        """Return whether the evidence holds points of ``group``."""
        return bool(np.any(self.evidence.groups[:, self.levels.index(level)] == group))

    def stray(self, groups: Groups) -> float:
        """Return the factor on the deviation of a subject's errors."""
        return math.prod(self.strays.get(own, 1.0) for own in groups.items())

    def weights(self, groups: Groups) -> Weights:
        """Return what the evidence says of a subject in ``groups``."""
        names = self.names(groups)
        if names not in self._weights:
            shared = self._shared(names)
            told = self._inverse_root @ shared
            is_grouped = np.array([name != "" for name in names])

            # The last digits of a matrix product hang on where its arrays lie in memory; answers
            # must repeat.
            mean = shared.T @ self._solved_errors
            covariance = np.diag(is_grouped @ self.variances) - told.T @ told
            stray = self.stray(groups)
            self._weights[names] = Weights(
                mean=np.round(mean, DIGITS),
                covariance=np.round(covariance * stray**2, DIGITS),
                rest=self.rest * stray**2,
                near=self._near(names, told, stray**2),
            )
        return self._weights[names]

    def _near(self, names: tuple[str, ...], told: Array, stray: float) -> Near | None:
        """Return what loads of the very subject tell; ``told`` is what all tell of its weights."""
        loads = self._loads(names)
        if not len(loads):
            return None
        root = self._inverse_root[:, loads]
        return Near(
            features=self.evidence.features[loads],
            solved=self.smooth * self._solved_errors[loads],
            told=self.smooth**2 * stray * root.T @ root,
            with_weights=self.smooth * stray * told.T @ root,
        )

    def _loads(self, names: tuple[str, ...]) -> npt.NDArray[np.int64]:
        """Return the rows of the evidence that are single loads of the very subject."""
        first = len(self.evidence.error) - self.num_loads
        is_own = np.all(self.evidence.groups[first:] == np.array(names), axis=1)
        return (first + np.flatnonzero(is_own)).astype(np.int64)

    @property
    def smooth(self) -> float:
        """The part of the rest that is alike for loads that are near each other."""
        return SMOOTH_SHARE * self.rest

    @property
    def noise(self) -> float:
        """The part of the rest that is every load's own."""
        return self.rest - self.smooth

    def joint(self, groups: Sequence[Groups], features: Array) -> tuple[Array, Array]:
        """Return mean ``(n,)`` and covariance ``(n, n)`` of the errors of ``n`` questions.

        ``features`` has shape ``(n, features)``; the rest of each is on the diagonal.
        """
        names = [self.names(one) for one in groups]
        covariance = _shared_covariance(np.array(names), features, self.variances)
        covariance += self.rest * np.eye(len(names))

        # Of every subject: what the evidence tells of its weights, and its own loads of others.
        told = np.zeros((len(names), len(self.evidence.error)))
        for one in set(names):
            rows, loads = np.flatnonzero([name == one for name in names]), self._loads(one)
            shared = features[rows] @ self._shared(one).T
            if len(loads):
                alike = _alike(features[rows], self.evidence.features[loads])
                shared[:, loads] += self.smooth * alike
                among = _alike(features[rows], features[rows]) - np.eye(len(rows))
                covariance[np.ix_(rows, rows)] += self.smooth * among
            told[rows] = shared @ self._inverse_root.T
        covariance -= told @ told.T
        strays = np.array([self.stray(one) for one in groups])
        covariance *= np.outer(strays, strays)
        mean = [self.weights(one).expected(row) for one, row in zip(groups, features, strict=True)]
        return np.array(mean), covariance

    def given(self, evidence: Evidence) -> ErrorModel:
        """Return the model that knows ``evidence`` of single loads, too."""
        return replace(
            self,
            evidence=self.evidence.with_more(evidence),
            num_loads=self.num_loads + len(evidence.error),
        )

    def _shared(self, names: Sequence[str]) -> Array:
        """Covariance of each measured error with the weights of a subject, ``(n, features)``."""
        same = (self.evidence.groups == np.array(names)) & (self.evidence.groups != "")
        return np.asarray((same @ self.variances) * self.evidence.features)

    @cached_property
    def _inverse_root(self) -> Array:
        """The inverse of the lower Cholesky factor of the covariance of the evidence."""
        return self._inverse_root_by(self.evidence.noise)

    def _inverse_root_by(self, noise: Array) -> Array:
        evidence = self.evidence
        covariance = _shared_covariance(evidence.groups, evidence.features, self.variances)
        covariance += np.diag(noise)

        # Loads of one subject that are near each other have a part of their rest in common.
        loads = slice(len(evidence.error) - self.num_loads, None)
        groups, features = evidence.groups[loads], evidence.features[loads]
        same = np.all(groups[:, None] == groups, axis=-1)
        covariance[loads, loads] += self.smooth * same * _alike(features, features)
        return _triangular_inverse(np.asarray(np.linalg.cholesky(covariance)))

    @cached_property
    def _solved_errors(self) -> Array:
        root, surprise = self._inverse_root, self._surprise
        if np.any(surprise > 1):
            root = self._inverse_root_by(self.evidence.noise / surprise)
        return np.asarray(root.T @ (root @ self.evidence.error))

    @cached_property
    def _surprise(self) -> Array:
        """How much more than its noise says every row is believed, ``(n,)``.

        Loads beyond `UNBELIEVABLE` deviations of all that was known of their subject show that it
        is another than was known, and not that they were measured badly. Nothing gets less sure.
        """
        surprise = np.ones(len(self.evidence.error))
        if self.num_loads:
            # What is new in every row beyond those before it, in deviations.
            squares = ((self._inverse_root @ self.evidence.error) / UNBELIEVABLE) ** 2
            for names in {tuple(own) for own in self.evidence.groups[-self.num_loads :].tolist()}:
                loads = self._loads(names)
                surprise[loads] = max(float(np.max(squares[loads])), 1.0)
        return surprise


def _shared_covariance(groups: Names, features: Array, variances: Array) -> Array:
    """Return the covariance that shared groups give errors, before anything is measured."""
    # Rows of one subject share all their groups: what two subjects share is counted once.
    subjects: dict[tuple[str, ...], int] = {}
    member = np.array(
        [subjects.setdefault(tuple(names), len(subjects)) for names in groups.tolist()]
    )
    codes: dict[str, int] = {"": -1}
    code = np.array([[codes.setdefault(name, len(codes)) for name in names] for names in subjects])
    same = ((code[:, None] == code) & (code >= 0)).astype(np.float64)

    covariance, product = np.zeros((2, len(groups), len(groups)))
    for column, of_feature in zip(features.T, variances.T, strict=True):
        rows = (same @ of_feature).take(member, axis=0) * column[:, None]
        np.take(rows, member, axis=1, out=product, mode="clip")
        product *= column
        covariance += product
    return covariance


def _alike(features: Array, others: Array) -> Array:
    """Return how alike the smooth parts of errors are, ``(..., n)`` of ``n`` others; 1 at most."""
    apart = (features[..., None, PLACE] - others[:, PLACE]) / SMOOTH_LENGTH
    return np.asarray(np.exp(-(apart**2).sum(axis=-1) / 2))


def _triangular_inverse(lower: Array) -> Array:
    """Return the inverse of a lower triangular matrix, half by half: a third of the products."""
    size = len(lower)
    if size <= SMALL_MATRIX:
        return np.asarray(np.linalg.inv(lower))

    half = size // 2
    inverse = np.zeros_like(lower)
    inverse[:half, :half] = first = _triangular_inverse(lower[:half, :half])
    inverse[half:, half:] = second = _triangular_inverse(lower[half:, half:])
    inverse[half:, :half] = -second @ (lower[half:, :half] @ first)
    return inverse
