"""What was fitted, as it ships: coefficients by group, intervals by novelty, and their origin.

A question belongs to groups (vendor, engine, family of chips, ...). Every group that was measured
contributes a factor to each coefficient, and one that was not contributes none: an unseen chip
falls back on its family, a family on its vendor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import InputError, UnknownNameError
from headway.hardware.accelerator import Accelerator
from headway.hardware.stacks import engine_runs
from headway.model.architecture import ModelArchitecture
from headway.model.attention import LatentAttention, LinearAttention, StateSpace
from headway.model.ffn import MoeFfn
from headway.steptime.kernel_coefficients import NAMES, Coefficients
from headway.steptime.power import PowerModel
from headway.steptime.time_estimate import Basis
from headway.steptime.work import Array
from headway.user_file import read_json

VERSION = 2
DEFAULT_ENGINE = "vllm"  # measured on most vendors
NO_ENGINE = "none"  # the data sheet alone
FITTED_OCTAVES = 1.0  # doublings outside the measured range up to which an answer is called fitted
MAX_FILE_BYTES = 2_000_000
QUANTITIES = ("tpot", "ttft", "throughput", "energy")
# How a question may differ from what was measured, nearest first.
CELL, HARDWARE, MODEL, BOTH = "cell", "hardware", "model", "both"
NOVELTIES = (CELL, HARDWARE, MODEL, BOTH)
Groups = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is asked about: names only, so that a changed data sheet keeps its groups.

    An empty ``family`` is a chip without relatives.
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
            weights=weights,
            kind=kind_of(model),
            family=accelerator.family,
        )

    @property
    def groups(self) -> Groups:
        """The group of every level."""
        return {
            "vendor": self.vendor,
            "engine": self.engine,
            "family": self.family or f"family of {self.hardware}",
            "vendor, engine": f"{self.vendor}, {self.engine}",
            "kernels": self.hardware,
            "hardware": self.hardware,
            "hardware, engine": f"{self.hardware}, {self.engine}",
            "kind": self.kind,
            "weights, kind": f"{self.weights}, {self.kind}",
            "model": self.model,
            "model, engine": f"{self.model}, {self.engine}",
            "model, weights": f"{self.model}, {self.weights}",
        }


def kind_of(model: ModelArchitecture) -> str:
    """Return what kernels a model needs: of its attention, perhaps of experts."""
    kinds = {type(group.attention) for group in model.layers}
    words = {StateSpace: "state-space", LatentAttention: "latent", LinearAttention: "linear"}
    attention = next((word for kind, word in words.items() if kind in kinds), "plain")
    experts = any(isinstance(group.ffn, MoeFfn) for group in model.layers)
    return f"{attention} attention{' with experts' if experts else ''}"


@dataclass(frozen=True, slots=True)
class Own:
    """A user's own calibration: log-factors on every coefficient, and on the whole."""

    factors: tuple[float, ...]
    stretch: float
    points: int
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Everything a calibrated estimate needs besides the question.

    Attributes:
        prior: coefficients of nobody in particular.
        factors: log-factors of the coefficients by level and group.
        stretches: log-factors of the whole by level and group.
        hardware, models, engines, vendors: what was measured.
        ranges: minimum and maximum of every quantity in the measurements, for distances.
        quantiles: by novelty and quantity, the 10% and 90% quantile of log(measured/predicted).
        centers: by novelty, the log-factor by which held-out times per token were off in the
            median; it belongs to the stretch.
        power: of one accelerator.
        own: the user's own points, if any.
        provenance: sources, licences, dates, numbers of points, and the script that fitted.

    """

    prior: Coefficients
    factors: Mapping[tuple[str, str], Array]
    stretches: Mapping[tuple[str, str], float]
    hardware: frozenset[str]
    models: frozenset[str]
    engines: frozenset[str]
    vendors: frozenset[str]
    ranges: Mapping[str, tuple[float, float]]
    quantiles: Mapping[str, Mapping[str, tuple[float, float]]]
    centers: Mapping[str, float]
    power: PowerModel
    provenance: Mapping[str, Any]
    own: Own | None = None

    def logs(self, subject: Subject) -> tuple[Array, float]:
        """Return the logarithms of the coefficients and of the stretch of a subject."""
        self.check_engine(subject.engine)

        # Every measured group that the subject belongs to contributes a factor.
        logs = np.log(self.prior.vector())
        stretch = self.centers.get(self.novelty(subject), 0.0)
        for level_and_group in (("global", ""), *subject.groups.items()):
            logs = logs + self.factors.get(level_and_group, 0.0)
            stretch += self.stretches.get(level_and_group, 0.0)

        if self.own is not None:
            logs, stretch = logs + np.array(self.own.factors), stretch + self.own.stretch
        return logs, stretch

    def check_engine(self, engine: str) -> None:
        """Raise `UnknownNameError` for an engine that was never measured."""
        if engine not in self.engines:
            raise UnknownNameError("measured engine", engine, self.engines)

    def has_measured(self, vendor: str, engine: str) -> bool:
        """Return whether points of ``engine`` on hardware of ``vendor`` are in the fit."""
        return ("vendor, engine", f"{vendor}, {engine}") in self.factors

    def novelty(self, subject: Subject) -> str:
        """Return which of `NOVELTIES` a subject is."""
        new_hardware = subject.hardware not in self.hardware
        new_model = subject.model not in self.models
        if new_hardware and new_model:
            return BOTH
        return HARDWARE if new_hardware else MODEL if new_model else CELL

    def basis(self, subject: Subject, octaves: float) -> Basis:
        """Return fitted for a measured vendor within the measured range, analytic elsewhere."""
        is_measured = subject.vendor in self.vendors and octaves <= FITTED_OCTAVES
        return Basis.FITTED if is_measured else Basis.ANALYTIC

    @property
    def origin(self) -> str:
        """What the calibration rests on, in words."""
        facts = self.provenance
        text = f"{facts['points']} measured points, {facts['fitted_by']}, {facts['fitted_on']}"
        return text if self.own is None else f"{text}; {self.own.points} points of your own"

    def with_own(self, own: Own) -> Calibration:
        """Return the same with a user's own points on top."""
        return replace(self, own=own)


@cache
def shipped() -> Calibration:
    """Return the calibration that comes with Headway."""
    path = Path(__file__).parent / "coefficients" / "serving.json"
    return from_json(path.read_text("utf-8"), path.name)


def read_calibration(path: Path) -> Calibration:
    """Return the calibration in a file that `headway calibrate` wrote, on top of the shipped one.

    Raises:
        InputError: the file is missing or is none of ours.

    """
    tree = read_json(path, "a calibration file", MAX_FILE_BYTES)
    if not isinstance(tree, dict) or tree.get("headway_own_calibration") != VERSION:
        raise InputError(
            f"{path.name[:80]!r} is not a calibration file; write one with headway calibrate"
        )

    try:
        factors = {str(name): float(value) for name, value in tree["log_factors"].items()}
        own = Own(
            factors=tuple(factors.get(name, 0.0) for name in NAMES),
            stretch=float(tree["log_stretch"]),
            points=int(tree["points"]),
            error=float(tree["mean_error"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"damaged calibration file {path.name[:80]!r}: {error!r}") from None

    if not np.all(np.isfinite([*own.factors, own.stretch])) or max(map(abs, own.factors)) > 20:
        raise InputError(f"damaged calibration file {path.name[:80]!r}: factors out of range")
    return shipped().with_own(own)


def own_to_json(own: Own) -> str:
    """Return the text of a user's own calibration file."""
    tree = {
        "headway_own_calibration": VERSION,
        "log_stretch": own.stretch,
        "log_factors": {n: round(f, 6) for n, f in zip(NAMES, own.factors, strict=True) if f},
        "points": own.points,
        "mean_error": own.error,
    }
    return json.dumps(tree, indent=1) + "\n"


def to_json(calibration: Calibration) -> str:
    """Return the text of a calibration: factors rounded to four digits, zeros left out."""
    # By level, then by group.
    factors: dict[str, dict[str, dict[str, float]]] = {}
    for (level, group), values in sorted(calibration.factors.items()):
        by_name = {n: round(float(v), 4) for n, v in zip(NAMES, values, strict=True)}
        factors.setdefault(level, {})[group] = {n: v for n, v in by_name.items() if v}
    stretches: dict[str, dict[str, float]] = {}
    for (level, group), stretch in sorted(calibration.stretches.items()):
        stretches.setdefault(level, {})[group] = round(stretch, 4)

    tree = {
        "headway_calibration": VERSION,
        "provenance": dict(calibration.provenance),
        "hardware": sorted(calibration.hardware),
        "models": sorted(calibration.models),
        "engines": sorted(calibration.engines),
        "vendors": sorted(calibration.vendors),
        "ranges": {k: list(v) for k, v in calibration.ranges.items()},
        "log_quantiles": {
            novelty: {k: [round(x, 4) for x in pair] for k, pair in pairs.items()}
            for novelty, pairs in calibration.quantiles.items()
        },
        "log_centers": {k: round(v, 4) for k, v in calibration.centers.items()},
        "power": asdict(calibration.power),
        "prior": {n: getattr(calibration.prior, n) for n in NAMES},
        "log_factors": factors,
        "log_stretches": stretches,
    }
    return json.dumps(tree, indent=1) + "\n"


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
            stretches={
                (level, group): float(value)
                for level, groups in tree["log_stretches"].items()
                for group, value in groups.items()
            },
            hardware=frozenset(tree["hardware"]),
            models=frozenset(tree["models"]),
            engines=frozenset(tree["engines"]),
            vendors=frozenset(tree["vendors"]),
            ranges={k: (float(v[0]), float(v[1])) for k, v in tree["ranges"].items()},
            quantiles={
                novelty: {k: (float(v[0]), float(v[1])) for k, v in pairs.items()}
                for novelty, pairs in tree["log_quantiles"].items()
            },
            centers={k: float(v) for k, v in tree["log_centers"].items()},
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
