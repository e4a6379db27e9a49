"""The scaling laws of the published model, fitted to frontiers and held against its claims.

Erdil 2025 claims, for the fastest point: speed falls with the square root of the parameters
(section 2, equation 19), grows with the cube root of memory bandwidth (equation 18), so that
halving the precision gains 2^(1/3), and each generation of hardware gains 25% at a fixed cost on
half as many accelerators (section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.frontier.pareto import preferred
from headway.frontier.question import Question
from headway.frontier.search import front, search
from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.papers.erdil_2025.accelerators import ACCELERATORS
from headway.papers.erdil_2025.frontier import frontier as published_frontier
from headway.papers.erdil_2025.models import MODELS
from headway.report.report import Report, Row

Floats = npt.NDArray[np.float64]

SIZES = ("llama-3-8b", "llama-3-70b", "llama-3.1-405b")
BANDWIDTHS = (0.5, 1.0, 2.0, 4.0)
FORMATS = ("bf16", "fp8", "int4")
GENERATIONS = ("v100", "a100", "h100", "b200")
MODEL, ACCELERATOR = "llama-3-70b", "h100"
FIXED_COSTS_USD = (0.5, 1.0, 2.0)
TOLERANCE = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A frontier as arrays: speed per user, cost, accelerators; any order."""

    tok_per_s: Floats
    usd_per_mtok: Floats
    num_accelerators: Floats

    @property
    def fastest(self) -> float:
        """The largest speed."""
        return float(self.tok_per_s.max())

    @property
    def preferred(self) -> float:
        """The speed at the largest speed^3 / price."""
        return float(self.tok_per_s[preferred(self.tok_per_s, self.usd_per_mtok)])

    def within(self, usd_per_mtok: float) -> tuple[float, float] | None:
        """The fastest speed at that cost, and its accelerators; ``None`` if all cost more."""
        affordable = np.flatnonzero(self.usd_per_mtok <= usd_per_mtok)
        if not affordable.size:
            return None
        best = affordable[np.argmax(self.tok_per_s[affordable])]
        return float(self.tok_per_s[best]), float(self.num_accelerators[best])


# model name, format of the weights, accelerator name, factor on its memory bandwidth
Frontiers = Callable[[str, str, str, float], Curve]


def our_frontiers(model: str, weights: str, accelerator: str, bandwidth: float) -> Curve:
    """The default model at an empty context."""
    cluster = find_cluster(accelerator)
    chip = cluster.accelerator
    rate = chip.memory_bandwidth_bytes_per_s * bandwidth
    cluster = replace(cluster, accelerator=replace(chip, memory_bandwidth_bytes_per_s=rate))
    points = front(search(Question(find_model(model), Precision.parse(weights), 0), cluster))
    return Curve(points.tok_per_s_per_user, points.usd_per_mtok, points.num_accelerators)


def published_frontiers(model: str, weights: str, accelerator: str, bandwidth: float) -> Curve:
    """The published model at an empty context; it has no accelerator younger than the H200."""
    if accelerator not in ACCELERATORS:
        raise InputError(f"the published model has no {accelerator}")
    chip = ACCELERATORS[accelerator]
    chip = replace(chip, memory_bandwidth_bytes_per_s=chip.memory_bandwidth_bytes_per_s * bandwidth)
    bits = {"bf16": 16, "fp8": 8, "int4": 4}[weights]
    found = published_frontier(MODELS[model].with_weights(bits), chip)
    return Curve(found.speed_tokens_per_s, found.usd_per_mtok, found.num_accelerators)


def laws(frontiers: Frontiers, whose: str) -> Iterator[Row]:
    """Fit every law to ``frontiers``, one row each; ``whose`` names the model of time."""
    sizes = [find_model(name).total_params for name in SIZES]
    curves = [frontiers(name, "bf16", ACCELERATOR, 1.0) for name in SIZES]
    yield _power("parameters", -1 / 2, sizes, curves, f"{', '.join(SIZES)} on {ACCELERATOR}", whose)
    for name in SIZES:
        curves = [frontiers(name, "bf16", ACCELERATOR, factor) for factor in BANDWIDTHS]
        yield _power("memory bandwidth", 1 / 3, BANDWIDTHS, curves, f"{name}, x0.5 to x4", whose)
    curves = [frontiers(MODEL, weights, ACCELERATOR, 1.0) for weights in FORMATS]
    widths = [2.0, 1.0, 0.5]
    yield _power("bytes per weight", -1 / 3, widths, curves, f"{MODEL} on {ACCELERATOR}", whose)
    known = [g for g in GENERATIONS if frontiers is our_frontiers or g in ACCELERATORS]
    curves = [frontiers(MODEL, "fp8", generation, 1.0) for generation in known]
    for older, newer, before, after in zip(known, known[1:], curves, curves[1:], strict=False):
        yield _generation(older, newer, before, after, whose)


def report(rows: list[Row], whose: str) -> Report:
    """The fitted laws beside the claims."""
    return Report(
        kind="laws",
        title=f"scaling laws of decoding speed, fitted to the frontiers of {whose}",
        question={"as": whose, "context_tokens": 0},
        rows=tuple(rows),
        notes=(
            "exponents of speed per user, by least squares on logarithms; a claim reproduces "
            f"where the fastest point (for generations: the gain at fixed cost) is within "
            f"{TOLERANCE:.0%} of it",
        ),
        sources={"claims": "Erdil 2025, arXiv 2506.04645"},
    )


def _power(law: str, claim: float, x: object, curves: list[Curve], over: str, whose: str) -> Row:
    logs = np.log(np.asarray(x, dtype=np.float64))
    fastest = _slope(logs, [curve.fastest for curve in curves])
    return {
        "law": law,
        "over": over,
        "as": whose,
        "claim": claim,
        "at_fastest": fastest,
        "at_preferred": _slope(logs, [curve.preferred for curve in curves]),
        "verdict": _verdict(fastest, claim),
    }


def _generation(older: str, newer: str, before: Curve, after: Curve, whose: str) -> Row:
    gains, sizes = [], []
    for cost in FIXED_COSTS_USD:
        old, new = before.within(cost), after.within(cost)
        if old is not None and new is not None:
            gains.append(new[0] / old[0])
            sizes.append(new[1] / old[1])
    gain = float(np.exp(np.mean(np.log(gains)))) if gains else None
    return {
        "law": "generation",
        "over": f"{older} to {newer}, {MODEL} in fp8",
        "as": whose,
        "claim": 1.25,
        "at_fastest": after.fastest / before.fastest,
        "at_preferred": after.preferred / before.preferred,
        "at_fixed_cost": gain,
        "accelerators_at_fixed_cost": float(np.exp(np.mean(np.log(sizes)))) if sizes else None,
        "verdict": "no common cost" if gain is None else _verdict(gain, 1.25),
    }


def _slope(logs: Floats, speeds: list[float]) -> float:
    return float(np.polyfit(logs, np.log(speeds), 1)[0])


def _verdict(found: float, claim: float) -> str:
    ratio = found / claim
    if abs(ratio - 1) <= TOLERANCE:
        return "reproduces"
    return "weaker" if ratio < 1 else "stronger"
