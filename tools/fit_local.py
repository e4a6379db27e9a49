"""Fits how llama.cpp runs on one's own machine, and scores it with every chip left out in turn.

    python -m tools.fit_local ../shared/data/measured/measured.csv.gz

Writes ``coefficients/local.json``. Each coefficient is a prior times a factor of every group that
a score belongs to: the format, the vendor, the family of chips, and the board, which answers leave
out. Factors are held near one by how far groups usually lie apart; errors count by their logs,
large ones less. Seconds on two cores.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from headway.steptime.kernel_reach import vector_flops_per_s
from headway.steptime.local import LocalCoefficients
from headway.steptime.work import Array, BoolArray
from tools.local_scores import LocalScore, read_scores

SHIPPED = Path(__file__).parents[1] / "src" / "headway" / "steptime" / "coefficients"
PRIOR = LocalCoefficients(
    bandwidth=0.9, unpack_flops=8.0, cache_bandwidth=0.5, flops=1.0, layer_s=4e-5
)
NAMES = LocalCoefficients.__slots__
# By coefficient, how far the groups of a level are expected to lie apart, in logarithms.
SPREADS = {
    "bandwidth": {"all": 0.05, "format": 0.05, "vendor": 0.05, "family": 0.05},
    "unpack_flops": {"all": 1.0, "format": 0.5, "vendor": 0.5, "family": 0.5, "board": 0.4},
    "cache_bandwidth": {"all": 0.5},
    "flops": {"all": 1.0, "format": 0.2, "vendor": 0.7, "family": 0.4, "board": 0.4},
    "layer_s": {"all": 1.0, "vendor": 0.5, "board": 0.5},
}
NOISE = 0.1
STEPS = 30
TOLERANCE = 1e-3
HELD = 0.8
LEVELS = ("format", "vendor", "family")  # that ship
MIN_SCORES = 10  # of a vendor, to have a spread of its own
Factors = dict[tuple[str, str, str], float]  # by coefficient, level and group


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Scores as arrays: which factors each coefficient of each score takes."""

    keys: tuple[tuple[str, str, str], ...]
    takes: dict[str, Array]
    base_s: dict[str, Array]
    seconds: Array
    weight: Array

    @classmethod
    def of(cls, scores: Sequence[LocalScore]) -> Design:
        """Return the design of ``scores``."""
        groups = [score.groups for score in scores]
        keys = tuple(
            (name, level, group)
            for name, levels in SPREADS.items()
            for level in levels
            for group in sorted({own[level] for own in groups})
        )
        takes = {
            name: np.array(
                [
                    [float(key[0] == name and own[key[1]] == key[2]) for key in keys]
                    for own in groups
                ]
            )
            for name in NAMES
        }

        # Seconds of every term where its coefficient is 1; a prompt is held by its products.
        vector = np.array([vector_flops_per_s(score.accelerator) for score in scores])
        memory = np.array([s.accelerator.memory_bandwidth_bytes_per_s for s in scores])
        weights = np.array([score.weight_bytes for score in scores])
        is_prompt = np.array([score.is_prompt for score in scores])
        flops = np.array([score.flops for score in scores])
        base_s = {
            "bandwidth": weights / memory,
            "unpack_flops": np.where(is_prompt, 0.0, weights / vector),
            "cache_bandwidth": np.array([score.kv_bytes for score in scores]) / memory,
            "flops": np.where(is_prompt, flops / vector, 0.0),
            "layer_s": np.array([float(score.layers) for score in scores]),
        }
        copies = Counter(score.setup for score in scores)
        return cls(
            keys=keys,
            takes=takes,
            base_s=base_s,
            seconds=np.array([score.seconds for score in scores]),
            weight=np.array([1 / copies[score.setup] for score in scores]),
        )

    def terms(self, logs: Array) -> dict[str, tuple[Array, Array]]:
        """Return the seconds of every term, and how their logarithms change with ``logs``."""
        terms = {}
        for name, base_s in self.base_s.items():
            sign = 1.0 if name in ("unpack_flops", "layer_s") else -1.0
            slope = sign * self.takes[name]
            terms[name] = (base_s * getattr(PRIOR, name) ** sign * np.exp(slope @ logs), slope)
        return terms


def fit(scores: Sequence[LocalScore]) -> Factors:
    """Return the factors, by Gauss-Newton with weights that fall with the error."""
    design = Design.of(scores)
    stiffness = np.array([SPREADS[name][level] ** -2 for name, level, _ in design.keys])
    logs = np.zeros(len(design.keys))
    for _ in range(STEPS):
        terms = design.terms(logs)
        total_s = sum(seconds for seconds, _ in terms.values())
        slopes = [(seconds / total_s)[:, None] * own for seconds, own in terms.values()]
        slope = np.sum(slopes, axis=0)

        error = np.log(design.seconds / total_s)
        weight = design.weight / np.sqrt(1 + (error / NOISE) ** 2) / NOISE**2
        curvature = slope.T @ (weight[:, None] * slope) + np.diag(stiffness)
        step = np.linalg.solve(curvature, slope.T @ (weight * error) - stiffness * logs)
        logs = logs + step / max(float(np.abs(step).max()), 1.0)
        if np.abs(step).max() < TOLERANCE:
            break
    return dict(zip(design.keys, logs.tolist(), strict=True))


def typical(scores: Sequence[LocalScore], factors: Factors) -> Factors:
    """Return ``factors`` of answers: boards go, and each vendor takes the mean of its boards'.

    A board counts by the root of how many setups it has.
    """
    setups = {(score.setup, score.groups["board"], score.groups["vendor"]) for score in scores}
    sizes = Counter((board, vendor) for _, board, vendor in setups)
    answers = {key: value for key, value in factors.items() if key[1] != "board"}
    for name in NAMES:
        for vendor in sorted({vendor for _, vendor in sizes}):
            own = {board: np.sqrt(n) for (board, other), n in sizes.items() if other == vendor}
            shift = sum(factors.get((name, "board", b), 0.0) * n for b, n in own.items())
            key = (name, "vendor", vendor)
            answers[key] = answers.get(key, 0.0) + float(shift / sum(own.values()))
    return answers


def predict(scores: Sequence[LocalScore], factors: Factors) -> Array:
    """Return the seconds of ``scores`` by the factors of answers."""
    design = Design.of(scores)
    logs = np.array([factors.get(key, 0.0) for key in design.keys])
    return np.asarray(sum(seconds for seconds, _ in design.terms(logs).values()))


def held_out(scores: Sequence[LocalScore], level: str) -> Array:
    """Return the log of predicted over measured with each chip, or group of a level, left out."""

    def group(score: LocalScore) -> str:
        if level == "model":
            return score.model
        return score.accelerator.name if level == "chip" else score.groups[level]

    errors = np.zeros(len(scores))
    for name in sorted({group(score) for score in scores}):
        rows = [i for i, score in enumerate(scores) if group(score) == name]
        others = [score for score in scores if group(score) != name]
        own = [scores[i] for i in rows]
        errors[rows] = np.log(predict(own, typical(others, fit(others))) / [s.seconds for s in own])
    return errors


def half_width(errors: Array, weight: Array) -> float:
    """Return the 80% half-width of log-errors, each setup counting once."""
    order = np.argsort(np.abs(errors))
    share = np.cumsum(weight[order]) / weight.sum()
    return round(float(np.abs(errors)[order][np.searchsorted(share, HELD)]), 3)


def kin(scores: Sequence[LocalScore]) -> BoolArray:
    """Return of which scores other chips of the family were scored, too."""
    chips: dict[str, set[str]] = defaultdict(set)
    for score in scores:
        chips[score.accelerator.family].add(score.accelerator.name)
    return np.array([len(chips[score.accelerator.family]) > 1 for score in scores])


def spreads(
    scores: Sequence[LocalScore], *, chip: Array, family: Array, vendor: Array
) -> dict[str, list[float]]:
    """Return by vendor the half-widths of tokens and of prompts.

    Of each, first with the chip left out and others of its family in, then with its whole family
    left out; of no vendor, with the whole vendor left out.
    """
    has_kin = kin(scores)
    vendors = np.array([score.accelerator.vendor for score in scores])
    is_prompt = np.array([score.is_prompt for score in scores])
    weight = Design.of(scores).weight
    counts = Counter(vendors.tolist())
    widths: dict[str, list[float]] = {}
    for name in ["", *sorted(name for name, count in counts.items() if count >= MIN_SCORES)]:
        own = vendors == name if name else np.ones(len(scores), bool)
        others = family if name else vendor
        widths[name] = []
        for rows in (own & ~is_prompt, own & is_prompt):
            related = rows & has_kin
            scored = half_width(chip[related], weight[related])
            widths[name] += [scored, max(scored, half_width(others[rows], weight[rows]))]
    return widths


def line(name: str, errors: Array, widths: Array) -> str:
    """Return a line of the table."""
    off = np.abs(np.expm1(errors))
    return (
        f"| {name} | {len(errors)} | {off.mean():.1%} | {np.expm1(np.median(errors)):+.1%} | "
        f"{np.mean(off <= 0.25):.0%} | {np.mean(np.abs(errors) <= widths):.0%} |"
    )


def main() -> None:
    scores = read_scores(Path(sys.argv[1]))
    factors = fit(scores)
    by_chip, by_family = held_out(scores, "chip"), held_out(scores, "family")
    by_model, by_vendor = held_out(scores, "model"), held_out(scores, "vendor")
    widths = spreads(scores, chip=by_chip, family=by_family, vendor=by_vendor)

    # The table, each chip (family, model) left out in turn.
    own = np.array([widths.get(score.accelerator.vendor, widths[""]) for score in scores])
    at, alone = np.arange(len(scores)), (~kin(scores)).astype(int)
    is_prompt = np.array([score.is_prompt for score in scores])
    print("| scores of | n | MAPE | bias | within 25% | interval holds |")
    print("|---|---|---|---|---|---|")
    kinds = ((~is_prompt, "time per token"), (is_prompt, "prompt"))
    for rows, kind in kinds:
        for errors, what, column in (
            (by_chip, "chip", 0),
            (by_model, "model", 0),
            (by_family, "family", 1),
        ):
            print(
                line(
                    f"{kind}, {what} left out",
                    errors[rows],
                    own[at, 2 * is_prompt + np.maximum(column, alone)][rows],
                )
            )
        for level in ("vendor", "board", "format"):
            for name in sorted({score.groups[level] for score in scores}):
                chosen = rows & np.array([score.groups[level] == name for score in scores])
                if chosen.any():
                    print(
                        line(
                            f"{kind}, {name}, chip left out",
                            by_chip[chosen],
                            own[at, 2 * is_prompt + alone][chosen],
                        )
                    )

    tree = {
        "llama.cpp": {
            "prior": _shipped_prior(factors),
            "log_factors": _by_level(typical(scores, factors)),
            "spreads": widths,
            "words": f"fitted to {len(scores)} public scores of one request on "
            f"{len({score.accelerator.name for score in scores})} chips, by tools/fit_local.py",
        }
    }
    (SHIPPED / "local.json").write_text(json.dumps(tree, indent=1) + "\n")


def _shipped_prior(factors: Factors) -> dict[str, float]:
    return {
        name: float(f"{value * np.exp(factors[name, 'all', 'all']):.4g}")
        for name, value in asdict(PRIOR).items()
    }


def _by_level(factors: Factors) -> dict[str, dict[str, dict[str, float]]]:
    tree: dict[str, dict[str, dict[str, float]]] = {level: {} for level in LEVELS}
    for (name, level, group), value in factors.items():
        if level in tree:
            tree[level].setdefault(group, {})[name] = round(value, 4)
    return tree


if __name__ == "__main__":
    main()
