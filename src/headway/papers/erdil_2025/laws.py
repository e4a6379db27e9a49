"""The scaling laws of the published model, fitted to frontiers and held against its claims.

Erdil 2025 claims, for the fastest point: speed falls with the square root of the parameters
(section 2, equation 19), grows with the cube root of memory bandwidth (equation 18), so that
halving the precision gains 2^(1/3), and each generation of hardware gains 25% at a fixed cost on
half as many accelerators (section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

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
from headway.papers.erdil_2025.frontier import frontier
from headway.papers.erdil_2025.models import MODELS
from headway.report.column import column
from headway.report.report import Report

Floats = npt.NDArray[np.float64]

SIZES = ("llama-3-8b", "llama-3-70b", "llama-3.1-405b")
BANDWIDTHS = (0.5, 1.0, 2.0, 4.0)
FORMATS = {"bf16": 2.0, "fp8": 1.0, "int4": 0.5}  # bytes per weight
GENERATIONS = ("v100", "a100", "h100", "b200")
MODEL, ACCELERATOR = "llama-3-70b", "h100"
FIXED_COSTS_USD = (0.5, 1.0, 2.0)
GENERATION_GAIN = 1.25
TOLERANCE = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A frontier as arrays: speed per user, cost, accelerators; any order."""

    tok_per_s: Floats
    usd_per_mtok_output: Floats
    num_accelerators: Floats

    @property
    def fastest(self) -> float:
        """The largest speed."""
        return float(self.tok_per_s.max())

    @property
    def preferred(self) -> float:
        """The speed at the largest speed^3 / cost."""
        return float(self.tok_per_s[preferred(self.tok_per_s, self.usd_per_mtok_output)])

    def within(self, usd_per_mtok_output: float) -> tuple[float, float] | None:
        """Return the fastest speed at that cost and its accelerators, ``None`` if all cost more."""
        affordable = np.flatnonzero(self.usd_per_mtok_output <= usd_per_mtok_output)
        if not affordable.size:
            return None
        best = affordable[np.argmax(self.tok_per_s[affordable])]
        return float(self.tok_per_s[best]), float(self.num_accelerators[best])


# model name, format of the weights, accelerator name, factor on its memory bandwidth
Frontiers = Callable[[str, str, str, float], Curve]


def our_frontiers(model: str, weights: str, accelerator: str, bandwidth: float) -> Curve:
    """Return the frontier of the default model at an empty context."""
    cluster = find_cluster(accelerator)
    chip = cluster.accelerator
    rate = chip.memory_bandwidth_bytes_per_s * bandwidth
    cluster = replace(cluster, accelerator=replace(chip, memory_bandwidth_bytes_per_s=rate))
    points = front(
        search(
            Question(
                model=find_model(model),
                precision=Precision.parse(weights),
                prompt_tokens=0,
                output_tokens=1,
                prefilled=True,
            ),
            cluster,
        )
    )
    return Curve(points.tok_per_s_per_user, points.usd_per_mtok_output, points.num_accelerators)


def published_frontiers(model: str, weights: str, accelerator: str, bandwidth: float) -> Curve:
    """Return the published frontier; the paper has no accelerator younger than the H200."""
    if accelerator not in ACCELERATORS:
        raise InputError(f"the published model has no {accelerator}")
    chip = ACCELERATORS[accelerator]
    chip = replace(chip, memory_bandwidth_bytes_per_s=chip.memory_bandwidth_bytes_per_s * bandwidth)
    points = frontier(MODELS[model].with_weights(round(8 * FORMATS[weights])), chip)
    return Curve(points.tok_per_s, points.usd_per_mtok_output, points.num_accelerators)


@dataclass(frozen=True, slots=True)
class LawRow:
    """One law: what the paper claims and what the frontiers say."""

    law: str = column("law", "what speed depends on, or the gain of a generation")
    over: str = column("over", "the frontiers that it is fitted to")
    claim: float = column("claim", "exponent of speed; for a generation, its gain")
    at_fastest: float = column("fastest", "the same at the fastest point")
    at_preferred: float = column("preferred", "the same at the preferred point")
    at_fixed_cost: float | None = column("fixed cost", "gain in speed at $0.5, 1 and 2 per Mtok")
    accelerators_at_fixed_cost: float | None = column(
        "accel.", "accelerators of the newer over those of the older, at fixed cost"
    )
    verdict: str = column("verdict", f"reproduces: within {TOLERANCE:.0%} of the claim")


def laws_report(*, ours: bool = False) -> Report[LawRow]:
    """Return the laws fitted to the published frontiers, or to those of our default model."""
    whose, frontiers = "the published model", published_frontiers
    if ours:
        whose, frontiers = "headway", our_frontiers
    generations = [name for name in GENERATIONS if ours or name in ACCELERATORS]
    return Report(
        kind="laws",
        title=f"scaling laws of decoding speed, fitted to the frontiers of {whose}",
        question={"frontiers": whose, "context_tokens": 0},
        rows=tuple(laws(frontiers, generations)),
        notes=(
            "exponents of speed per user, by least squares on logarithms, and gains; a claim "
            "reproduces where the fastest point (for generations: the gain at fixed cost) is "
            f"within {TOLERANCE:.0%} of it",
        ),
        sources={"claims": "Erdil 2025, arXiv 2506.04645"},
    )


def laws(frontiers: Frontiers, generations: Sequence[str] = GENERATIONS) -> Iterator[LawRow]:
    """Fit every law to ``frontiers``, one row each."""
    params = [find_model(name).total_params for name in SIZES]
    curves = [frontiers(name, "bf16", ACCELERATOR, 1.0) for name in SIZES]
    over = f"{', '.join(SIZES)} on {ACCELERATOR}"
    yield _power("parameters", params, curves, claim=-1 / 2, over=over)

    for name in SIZES:
        curves = [frontiers(name, "bf16", ACCELERATOR, factor) for factor in BANDWIDTHS]
        over = f"{name}, x0.5 to x4"
        yield _power("memory bandwidth", BANDWIDTHS, curves, claim=1 / 3, over=over)

    curves = [frontiers(MODEL, weights, ACCELERATOR, 1.0) for weights in FORMATS]
    over = f"{MODEL} on {ACCELERATOR}"
    yield _power("bytes per weight", list(FORMATS.values()), curves, claim=-1 / 3, over=over)

    curves = [frontiers(MODEL, "fp8", generation, 1.0) for generation in generations]
    names = (f"{older} to {newer}, {MODEL} in fp8" for older, newer in pairwise(generations))
    for over, (before, after) in zip(names, pairwise(curves), strict=True):
        yield _generation(before, after, over=over)


def _power(
    law: str, x: Sequence[float], curves: Sequence[Curve], *, claim: float, over: str
) -> LawRow:
    logs = np.log(np.asarray(x, dtype=np.float64))
    fastest = _slope(logs, [curve.fastest for curve in curves])
    return LawRow(
        law=law,
        over=over,
        claim=claim,
        at_fastest=fastest,
        at_preferred=_slope(logs, [curve.preferred for curve in curves]),
        at_fixed_cost=None,
        accelerators_at_fixed_cost=None,
        verdict=_verdict(fastest, claim),
    )


def _generation(before: Curve, after: Curve, *, over: str) -> LawRow:
    """Compare two generations at their ends, and in the mean over costs that both can meet."""
    gains, sizes = [], []
    for cost in FIXED_COSTS_USD:
        old, new = before.within(cost), after.within(cost)
        if old is not None and new is not None:
            gains.append(new[0] / old[0])
            sizes.append(new[1] / old[1])

    gain = float(np.exp(np.mean(np.log(gains)))) if gains else None
    return LawRow(
        law="generation",
        over=over,
        claim=GENERATION_GAIN,
        at_fastest=after.fastest / before.fastest,
        at_preferred=after.preferred / before.preferred,
        at_fixed_cost=gain,
        accelerators_at_fixed_cost=float(np.exp(np.mean(np.log(sizes)))) if sizes else None,
        verdict="no common cost" if gain is None else _verdict(gain, GENERATION_GAIN),
    )


def _slope(logs: Floats, speeds: Sequence[float]) -> float:
    return float(np.polyfit(logs, np.log(speeds), 1)[0])


def _verdict(value: float, claim: float) -> str:
    ratio = value / claim
    if abs(ratio - 1) <= TOLERANCE:
        return "reproduces"
    return "weaker" if ratio < 1 else "stronger"
