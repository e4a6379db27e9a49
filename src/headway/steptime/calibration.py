"""What was fitted, as it ships: coefficients by group, errors by group, and their origin.

A question belongs to groups (vendor, engine, family of chips, ...). Every group that was measured
contributes a factor to each coefficient, and one that was not contributes none: an unseen chip
falls back on its family, a family on its vendor. What the coefficients leave open is the error
model's (`headway.steptime.error_model`), of each quantity its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from headway.dtypes import DType
from headway.errors import InputError, UnknownNameError
from headway.hardware.accelerator import Accelerator
from headway.hardware.stacks import engine_runs
from headway.model.architecture import ModelArchitecture
from headway.model.attention import LatentAttention, LinearAttention, StateSpace
from headway.model.ffn import MoeFfn
from headway.steptime.error_file import errors_from_tree, errors_to_tree
from headway.steptime.error_model import (
    FEATURES,
    NORMAL_80,
    ErrorModel,
    Evidence,
    Groups,
    Weights,
)
from headway.steptime.kernel_coefficients import AT, FIRST_TOKEN, NAMES, Coefficients
from headway.steptime.power import PowerModel
from headway.steptime.strangeness import strangeness
from headway.steptime.time_estimate import Basis
from headway.steptime.work import Array
from headway.user_file import read_json

VERSION = 3
DEFAULT_ENGINE = "vllm"  # measured on most vendors
NO_ENGINE = "none"  # the data sheet alone
FITTED_OCTAVES = 1.0  # doublings outside the measured range up to which an answer is called fitted
WIDE_BITS = 16  # of a format that every chip multiplies as it is, or by its twin
MAX_FILE_BYTES = 2_000_000
MAX_LOG = 20.0  # of a number in a user's file
# Of what the errors are: a time per output token (and so of steps), a median time to first token,
# the tokens per second of a run beyond what its time per token says, watts, joules per token.
QUANTITIES = ("tpot", "ttft", "run", "power", "energy")


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is asked about: names only, so that a changed data sheet keeps its groups.

    An empty ``family`` is a chip without relatives. ``weights`` is their format, as kernels take it
    (`kernel_format`).
    """

    vendor: str
    hardware: str
    engine: str
    model: str
    weights: str
    kind: str = "plain attention"
    family: str = ""

    @classmethod
    def of(
        cls, accelerator: Accelerator, engine: str, model: ModelArchitecture, weights: str
    ) -> Subject:
        """The subject of an engine that runs a model on an accelerator."""
        return cls(
            vendor=accelerator.vendor,
            hardware=accelerator.name,
            engine=engine,
            model=model.name,
            weights=kernel_format(DType(weights), accelerator),
            kind=kind_of(model),
            family=accelerator.family,
        )

    def __str__(self) -> str:
        return f"{self.model} in {self.weights} on {self.hardware} with {self.engine}"

    @property
    def groups(self) -> Groups:
        """The group of every level."""
        return {
            "all": "all",
            "vendor": self.vendor,
            "engine": self.engine,
            "family": self.family or f"family of {self.hardware}",
            "weights": self.weights,
            "vendor, engine": f"{self.vendor}, {self.engine}",
            "vendor, weights": f"{self.vendor}, {self.weights}",
            "vendor, engine, kind": f"{self.vendor}, {self.engine}, {self.kind}",
            "kernels": self.hardware,
            "hardware": self.hardware,
            "hardware, engine": f"{self.hardware}, {self.engine}",
            "kind": self.kind,
            "weights, kind": f"{self.weights}, {self.kind}",
            "model": self.model,
            "model, engine": f"{self.model}, {self.engine}",
            "model, weights": f"{self.model}, {self.weights}",
            "cell": f"{self.hardware}, {self.model}, {self.engine}, {self.weights}",
        }


def kernel_format(weights: DType, accelerator: Accelerator) -> str:
    """Return the format of ``weights`` and, where it is not native, that kernels widen it first."""
    is_native = weights.bits >= WIDE_BITS or accelerator.supports(weights)
    return weights.value if is_native else f"{weights.value} (dequantized)"


def kind_of(model: ModelArchitecture) -> str:
    """Return what kernels a model needs: of its attention, perhaps of experts."""
    kinds = {type(group.attention) for group in model.layers}
    words = {StateSpace: "state-space", LatentAttention: "latent", LinearAttention: "linear"}
    attention = next((word for kind, word in words.items() if kind in kinds), "plain")
    experts = any(isinstance(group.ffn, MoeFfn) for group in model.layers)
    return f"{attention} attention{' with experts' if experts else ''}"


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """What a user measured of one subject: evidence on top of what ships.

    Attributes:
        subject: who was measured.
        rows: by quantity, features and log-error of each point, ``(points, features + 1)``.
        first_token: log-factors of the coefficients in `FIRST_TOKEN`.
        points: how many loads were measured.

    """

    subject: Subject
    rows: Mapping[str, Array]
    first_token: tuple[float, ...]
    points: int

    @property
    def your_points(self) -> str:
        """How many points these are, as they are spoken of."""
        return "your 1 point" if self.points == 1 else f"your {self.points} points"


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Everything a calibrated estimate needs besides the question.

    Attributes:
        prior: coefficients of nobody in particular.
        factors: log-factors of the coefficients by level and group.
        errors: by quantity, what the coefficients leave open.
        engines, vendors: what was measured.
        ranges: minimum and maximum of every quantity in the measurements, for distances.
        power: of one accelerator.
        owns: the user's own points, of each subject once; the errors know them.
        provenance: sources, licences, dates, numbers of points, and the script that fitted.

    """

    prior: Coefficients
    factors: Mapping[tuple[str, str], Array]
    errors: Mapping[str, ErrorModel]
    engines: frozenset[str]
    vendors: frozenset[str]
    ranges: Mapping[str, tuple[float, float]]
    power: PowerModel
    provenance: Mapping[str, Any]
    owns: tuple[Own, ...] = ()
    _strangeness: dict[tuple[str, str, str], float] = field(
        default_factory=dict, init=False, repr=False
    )

    def logs(self, subject: Subject) -> Array:
        """Return the logarithms of the coefficients of a subject."""
        self.check_engine(subject.engine)

        # Every measured group that the subject belongs to contributes a factor.
        logs = np.log(self.prior.vector())
        for level_and_group in (("global", ""), *subject.groups.items()):
            logs = logs + self.factors.get(level_and_group, 0.0)

        own = self.own_of(subject)
        if own is not None:
            logs[[AT[name] for name in FIRST_TOKEN]] += own.first_token
        return logs

    def weights(self, subject: Subject, quantity: str = "tpot") -> Weights:
        """Return what is known of the errors of a subject."""
        weights = self.errors[quantity].weights(subject.groups)
        # What the rate of a run is off besides its times is no stranger for strange times.
        strange = 0.0 if quantity == "run" else self.strangeness(subject)
        return replace(weights, rest=weights.rest + strange**2) if strange else weights

    def strangeness(self, subject: Subject) -> float:
        """Return how far a subject is from all that was measured, the user's own points included.

        A deviation of the log of its times, besides that of the error model.
        """
        if any(own.subject.hardware == subject.hardware for own in self.owns):
            return 0.0
        known = (subject.vendor, subject.family, subject.engine)
        if known not in self._strangeness:
            self._strangeness[known] = strangeness(*known, self.factors.keys())
        return self._strangeness[known]

    def error_factors(self, subject: Subject, quantity: str) -> tuple[float, float]:
        """Return the factors between which 80% of a quantity lie at a typical load."""
        typical = np.eye(len(FEATURES))[0]
        variance = self.weights(subject, quantity).variance(typical)
        half_width = float(NORMAL_80 * np.sqrt(variance))
        return float(np.exp(-half_width)), float(np.exp(half_width))

    def check_engine(self, engine: str) -> None:
        """Raise `UnknownNameError` for an engine that was never measured."""
        if engine not in self.engines:
            raise UnknownNameError("measured engine", engine, self.engines)

    def has_measured(self, vendor: str, engine: str) -> bool:
        """Return whether points of ``engine`` on hardware of ``vendor`` are in the fit."""
        return ("vendor, engine", f"{vendor}, {engine}") in self.factors

    def has_measured_of(self, subject: Subject, quantity: str = "tpot") -> tuple[bool, bool]:
        """Return whether ``quantity`` was measured on the subject's hardware, and of its model."""
        errors = self.errors[quantity]
        return (
            errors.has_measured("hardware", subject.hardware),
            errors.has_measured("model", subject.model),
        )

    def basis(self, subject: Subject, octaves: float) -> Basis:
        """Return fitted within the measured range, where times carry over; analytic elsewhere."""
        is_measured = not self.strangeness(subject) and octaves <= FITTED_OCTAVES
        return Basis.FITTED if is_measured else Basis.ANALYTIC

    @property
    def origin(self) -> str:
        """What the calibration rests on, in words."""
        facts = self.provenance
        text = f"{facts['points']} measured points, {facts['fitted_by']}, {facts['fitted_on']}"
        points = sum(own.points for own in self.owns)
        return f"{text}; {points} points of your own" if points else text

    def own_of(self, subject: Subject) -> Own | None:
        """Return the user's own points of the very subject, if there are any."""
        return next((own for own in self.owns if own.subject == subject), None)

    def own_words(self, subject: Subject) -> str | None:
        """Return what the user's own points are of, seen from ``subject``; ``None`` without any."""
        own = self.own_of(subject)
        if own is not None:
            return f"{own.your_points} count"
        if not self.owns:
            return None
        subjects = "; ".join(f"{own.your_points} are of {own.subject}" for own in self.owns)
        return f"{subjects} and tell of this as far as they are alike"

    def with_own(self, own: Own) -> Calibration:
        """Return the same with a user's own points on top.

        Raises:
            InputError: it has points of that subject already.

        """
        if self.own_of(own.subject) is not None:
            raise InputError(
                f"two calibrations are of {own.subject}; give all of its results to one "
                "headway calibrate"
            )
        errors = dict(self.errors)
        for quantity, rows in own.rows.items():
            if len(rows):
                evidence = own_evidence(errors[quantity], own.subject, rows)
                errors[quantity] = errors[quantity].given(evidence)
        return replace(self, errors=errors, owns=(*self.owns, own))


def own_evidence(errors: ErrorModel, subject: Subject, rows: Array) -> Evidence:
    """Return ``rows`` of features and log-error, measured of one subject, as evidence."""
    names = errors.names(subject.groups)
    return Evidence(
        groups=np.tile(np.array(names), (len(rows), 1)),
        features=rows[:, :-1],
        error=rows[:, -1],
        noise=np.full(len(rows), errors.noise),
    )


@cache
def shipped() -> Calibration:
    """Return the calibration that comes with Headway."""
    path = Path(__file__).parent / "coefficients" / "serving.json"
    return from_json(path.read_text("utf-8"), path.name)


def read_calibration(*paths: Path) -> Calibration:
    """Return the shipped calibration with files that `headway calibrate` wrote on top of it.

    Raises:
        InputError: a file is missing or is none of ours, or two are of one subject.

    """
    calibration = shipped()
    for path in paths:
        calibration = calibration.with_own(_read_own(path))
    return calibration


def _read_own(path: Path) -> Own:
    tree = read_json(path, "a calibration file", MAX_FILE_BYTES)
    if not isinstance(tree, dict) or tree.get("headway_own_calibration") != VERSION:
        raise InputError(
            f"{path.name[:80]!r} is not a calibration file; write one with headway calibrate"
        )

    try:
        own = Own(
            subject=Subject(**{str(name): str(text) for name, text in tree["subject"].items()}),
            rows={
                quantity: np.array(tree["rows"].get(quantity, []), dtype=np.float64).reshape(
                    -1, len(FEATURES) + 1
                )
                for quantity in QUANTITIES
            },
            first_token=tuple(float(tree["log_first_token"][name]) for name in FIRST_TOKEN),
            points=int(tree["points"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"damaged calibration file {path.name[:80]!r}: {error!r}") from None

    numbers = np.concatenate([*(rows.ravel() for rows in own.rows.values()), own.first_token])
    if not np.all(np.isfinite(numbers)) or np.max(np.abs(numbers), initial=0.0) > MAX_LOG:
        raise InputError(f"damaged calibration file {path.name[:80]!r}: numbers out of range")
    return own


def own_to_json(own: Own) -> str:
    """Return the text of a user's own calibration file."""
    tree = {
        "headway_own_calibration": VERSION,
        "subject": asdict(own.subject),
        "points": own.points,
        "log_first_token": {
            name: round(value, 6) for name, value in zip(FIRST_TOKEN, own.first_token, strict=True)
        },
        "features": [*FEATURES, "log_error"],
        "rows": {
            quantity: [[round(float(value), 6) for value in row] for row in rows]
            for quantity, rows in own.rows.items()
            if len(rows)
        },
    }
    return json.dumps(tree, indent=1) + "\n"


def to_json(calibration: Calibration) -> str:
    """Return the text of a calibration: factors rounded to four digits, zeros left out."""
    # By level, then by group.
    factors: dict[str, dict[str, dict[str, float]]] = {}
    for (level, group), values in sorted(calibration.factors.items()):
        by_name = {n: round(float(v), 4) for n, v in zip(NAMES, values, strict=True)}
        factors.setdefault(level, {})[group] = {n: v for n, v in by_name.items() if v}

    tree = {
        "headway_calibration": VERSION,
        "provenance": dict(calibration.provenance),
        "engines": sorted(calibration.engines),
        "vendors": sorted(calibration.vendors),
        "ranges": {k: list(v) for k, v in calibration.ranges.items()},
        "power": asdict(calibration.power),
        "prior": {n: getattr(calibration.prior, n) for n in NAMES},
        "log_factors": factors,
    }
    text = json.dumps(tree, indent=1)
    # Thousands of numbers, one line for each subject.
    errors = {name: errors_to_tree(model) for name, model in calibration.errors.items()}
    lines = json.dumps(errors, separators=(",", ":")).replace('{"groups"', '\n{"groups"')
    return text.removesuffix("\n}") + f',\n "errors": {lines}\n}}\n'


def from_json(text: str, where: str) -> Calibration:
    """Return the calibration that `to_json` wrote; raise `InputError` for anything else."""
    try:
        tree = json.loads(text)
        if tree["headway_calibration"] != VERSION:
            raise InputError(f"{where} is not a calibration of version {VERSION}")

        return Calibration(
            prior=Coefficients.from_mapping(tree["prior"]),
            factors={
                (level, group): np.array([float(values.get(n, 0.0)) for n in NAMES])
                for level, groups in tree["log_factors"].items()
                for group, values in groups.items()
            },
            errors={name: errors_from_tree(tree["errors"][name]) for name in QUANTITIES},
            engines=frozenset(tree["engines"]),
            vendors=frozenset(tree["vendors"]),
            ranges={k: (float(v[0]), float(v[1])) for k, v in tree["ranges"].items()},
            power=PowerModel(**tree["power"]),
            provenance=tree["provenance"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"damaged calibration {where}: {error!r}") from None


def engine_named(name: str | None, accelerator: Accelerator) -> str | None:
    """Return the serving engine that a user means by ``name`` on ``accelerator``.

    ``None`` means vllm where its step times were measured on hardware of the vendor, and where it
    runs. ``"none"`` means the data sheet alone, and ``None`` is the answer.
    """
    if name is None:
        is_measured = shipped().has_measured(accelerator.vendor, DEFAULT_ENGINE)
        return DEFAULT_ENGINE if is_measured and engine_runs(DEFAULT_ENGINE, accelerator) else None
    return None if name == NO_ENGINE else name
