"""The joint error model of all answers: drawn from, and narrowed by measurements.

Errors of two questions are correlated as far as they share hardware, engine, model and so on, so
a ratio of two deployments is surer than either. See `headway.steptime.error_model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from headway.errors import InputError
from headway.serving.answer_doubt import WIDENING_PER_OCTAVE, distance, load_features
from headway.serving.closed_loop import ClosedLoop
from headway.serving.served_load import ServedLoad, serve_loop
from headway.serving.serving_point import ServingPoint, own_rows
from headway.steptime.calibration import Calibration, Subject, own_evidence, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.error_model import NORMAL_80, ErrorModel
from headway.steptime.work import Array

QUANTITIES = ("tpot", "ttft", "throughput", "power")
TIMES = ("tpot", "ttft")
NO_ENGINE = "none"
Question = tuple[Deployment, ClosedLoop]


@dataclass(frozen=True, slots=True, eq=False)
class LogErrors:
    """Errors of ``n`` questions: log of what will be measured over what is answered.

    Attributes:
        mean: by quantity, ``(n,)``; 0 where the answers know all that the errors do.
        covariance: by quantity, ``(n, n)``. Throughput is what times per token leave it, and more:
            its errors are those of ``run`` less those of ``tpot``.

    """

    mean: Mapping[str, Array]
    covariance: Mapping[str, Array]
    run: tuple[Array, Array]

    def draw(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """Return ``size`` draws by quantity, ``(size, n)``.

        In one draw all questions are of one world, and throughput goes with time per token.
        """
        draws = {
            quantity: _draw(rng, self.mean[quantity], self.covariance[quantity], size)
            for quantity in ("tpot", "ttft", "power")
        }
        draws["throughput"] = _draw(rng, *self.run, size) - draws["tpot"]
        return draws

    def interval(self, level: float = 0.8) -> dict[str, tuple[Array, Array]]:
        """Return by quantity the factors on the answers between which ``level`` of truths lie."""
        return {
            quantity: _factors(self.mean[quantity], np.diag(self.covariance[quantity]), level)
            for quantity in QUANTITIES
        }

    def ratio(self, one: int, other: int, level: float = 0.8) -> dict[str, tuple[float, float]]:
        """Return by quantity the factors on the ratio of the answers to two of the questions."""
        ends = {}
        for quantity in QUANTITIES:
            mean, covariance = self.mean[quantity], self.covariance[quantity]
            variance = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
            low, high = _factors(mean[one] - mean[other], variance, level)
            ends[quantity] = float(low), float(high)
        return ends


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """What is known of the errors of all answers.

    Attributes:
        errors: by quantity.
        hardware: names of what was measured since, where times are strange no more.

    """

    errors: Mapping[str, ErrorModel]
    hardware: frozenset[str] = frozenset()

    @classmethod
    def shipped(cls) -> Doubt:
        """Return what the measurements that ship with Headway say."""
        return cls.of_calibration(shipped())

    @classmethod
    def of_calibration(cls, calibration: Calibration) -> Doubt:
        """Return what a calibration says, the user's own points included."""
        return cls(calibration.errors)

    def of(self, questions: Sequence[Question]) -> LogErrors:
        """Return the errors of answers to ``questions``: deployments, each with a load.

        Raises:
            InputError: a question holds arrays.

        """
        if not questions:
            raise InputError("doubt needs at least one question")
        served = [serve_loop(deployment, loop) for deployment, loop in questions]
        features = np.stack([_features(one) for one in served])
        subjects = [_subject(deployment) for deployment, _ in questions]

        groups = [subject.groups for subject in subjects]
        joint = {name: model.joint(groups, features) for name, model in self.errors.items()}
        strange = self._strange(questions, subjects)

        # Outside the measured range all is less sure than its features say.
        wider = np.array(
            [
                1 + WIDENING_PER_OCTAVE * float(distance(deployment, loop, one.shape))
                for (deployment, loop), one in zip(questions, served, strict=True)
            ]
        )
        covariance = {
            name: (joint[name][1] + (strange if name in TIMES else 0.0)) * np.outer(wider, wider)
            for name in joint
        }

        # Times per token are answered with what the deployment's calibration expects of them;
        # of an engine that nobody measured, errors have no direction.
        is_measured = np.array([subject.engine != NO_ENGINE for subject in subjects])
        expected = [
            deployment.calibration.weights(subject).expected(row)
            for (deployment, _), subject, row in zip(questions, subjects, features, strict=True)
        ]
        mean = {name: np.where(is_measured, joint[name][0], 0.0) for name in joint}
        mean["tpot"] = np.where(is_measured, mean["tpot"] - expected, 0.0)

        drafts = np.diag([_draft_variance(deployment) for deployment, _ in questions])
        tpot, run = covariance["tpot"] + drafts, covariance["run"]
        return LogErrors(
            mean={
                "tpot": mean["tpot"],
                "ttft": mean["ttft"],
                "throughput": mean["run"] - mean["tpot"],
                "power": mean["power"],
            },
            covariance={
                "tpot": tpot,
                "ttft": covariance["ttft"],
                "throughput": run + tpot,
                "power": covariance["power"],
            },
            run=(mean["run"], run),
        )

    def given(self, points: Sequence[ServingPoint]) -> Doubt:
        """Return the doubt that knows measured ``points``, too; it never widens."""
        errors = dict(self.errors)
        for point in points:
            subject = _subject(point.deployment)
            for quantity, rows in own_rows([point], point.deployment.calibration).items():
                if len(rows):
                    evidence = own_evidence(errors[quantity], subject, rows)
                    errors[quantity] = errors[quantity].given(evidence)
        measured = {point.deployment.cluster.accelerator.name for point in points}
        return Doubt(errors, self.hardware | measured)

    def _strange(self, questions: Sequence[Question], subjects: Sequence[Subject]) -> Array:
        """Return the covariance that is due to chips unlike all that were measured.

        What one such chip is off, all of its family are with the same engine.
        """
        deviations = np.array(
            [
                deployment.calibration.strangeness(subject)
                if deployment.is_measured and subject.hardware not in self.hardware
                else 0.0
                for (deployment, _), subject in zip(questions, subjects, strict=True)
            ]
        )
        kinds = [(subject.vendor, subject.family, subject.engine) for subject in subjects]
        are_one = np.array([[one == other for other in kinds] for one in kinds], dtype=float)
        return np.asarray(np.outer(deviations, deviations) * are_one)


def _features(served: ServedLoad) -> Array:
    features = load_features(served.shape, served.times)
    if features.ndim != 1:
        raise InputError("doubt takes questions of one layout and one load, not arrays of them")
    return features


def _subject(deployment: Deployment) -> Subject:
    """Return the names of a deployment; without an engine, one that nobody measured."""
    return Subject.of(
        deployment.cluster.accelerator,
        str(deployment.engine) if deployment.is_measured else NO_ENGINE,
        deployment.model,
        deployment.precision.weights.value,
    )


def _draft_variance(deployment: Deployment) -> float:
    spread = 0.0 if deployment.drafting is None else deployment.drafting.speculation.spread
    return float((spread / NORMAL_80) ** 2)


def _draw(rng: np.random.Generator, mean: Array, covariance: Array, size: int) -> Array:
    root = np.linalg.cholesky(covariance)
    return np.asarray(mean + rng.standard_normal((size, len(mean))) @ root.T)


def _factors(mean: Array, variance: Array, level: float) -> tuple[Array, Array]:
    half_width = NormalDist().inv_cdf((1 + level) / 2) * np.sqrt(variance)
    return np.asarray(np.exp(mean - half_width)), np.asarray(np.exp(mean + half_width))
