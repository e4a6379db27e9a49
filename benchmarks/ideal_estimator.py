"""How well four measured requests tell all others: the default estimator against its rivals.

Nothing is tuned on what it is tested on: for each model the priors and the choice of the four
points come from the twelve others. Data: the A100 logs of Narayanan et al. 2023 (arXiv 2305.02440),
270 points for each of 13 models, in ../shared/data/idealized (not in the repository).

    python benchmarks/ideal_estimator.py [folder of profile_a100.csv]
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headway.ideal.adaptive import Target, first_requests, next_request
from headway.ideal.estimator import SMALL_TOKENS, tiles_and_priors
from headway.ideal.prompt_curve import Tiles
from headway.ideal.request_profile import FloatArray, RequestProfile
from headway.ideal.runtime_fit import RuntimeFit, fit_runtime
from headway.ideal.runtime_form import Form, Prior, Priors, strides
from headway.papers.narayanan_2023.published import fit_published

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "idealized"
WIDE = Priors(Prior(0.06, 0.1), share=Prior(0.7, 0.3), log_sharpness=Prior(1.4, 0.7))
SIZES = (64, 128, 192, 256, 320, 384, 512, 640, 704, 768, 1024)
Points = tuple[tuple[int, int], ...]
Predictor = Callable[[FloatArray, FloatArray], FloatArray]


def read(folder: Path) -> dict[str, RequestProfile]:
    """The profiles, with the spread of a mean of 50 trials that was printed to 1 ms."""
    rows: dict[str, list[list[float]]] = {}
    with (folder / "profile_a100.csv").open() as lines:
        for row in csv.DictReader(lines):
            seconds = float(row["runtime_s"])
            doubt = float(np.hypot(float(row["std_s"]) / 50**0.5, 1e-3 / 12**0.5)) / seconds
            rows.setdefault(row["model"], []).append(
                [
                    float(row["p"]),
                    float(row["o"]),
                    seconds * (3 if row["model"] == "mt_nlg" else 1),
                    doubt,
                ]
            )
    return {model: RequestProfile(*np.asarray(table).T) for model, table in rows.items()}


def pick(profile: RequestProfile, at: Points) -> RequestProfile:
    pairs = zip(profile.prompt_tokens, profile.output_tokens, strict=True)
    return profile.only(np.asarray([(int(p), int(o)) in at for p, o in pairs]))


def aligned(folder: Path) -> dict[str, bool]:
    """Whether the matrices of each model suit tensor cores, from its configuration alone."""
    is_aligned = {}
    with (folder / "model_configs_from_logs.csv").open() as lines:
        for row in csv.DictReader(lines):
            if row["hw"] == "a100":
                tp = int(row["tp"])
                widths = (int(row["h"]), int(row["h"]) // tp, int(row["ffn"]) // tp)
                is_aligned[row["model"]] = tiles_and_priors(widths)[0] == Tiles()
    return is_aligned


@dataclass(frozen=True)
class Kind:
    """What is known of a model before it is measured: the others' priors, its own alignment."""

    tiles: Tiles
    priors: Priors

    def fit(self, profile: RequestProfile) -> RuntimeFit:
        """The default estimator on ``profile``."""
        return fit_runtime(profile, self.tiles, self.priors)


def kinds(profiles: dict[str, RequestProfile], folder: Path) -> dict[str, Kind]:
    """For each model, priors from the others; unaligned ones teach nothing about aligned ones."""
    suits = aligned(folder)
    fits = {m: fit_runtime(p, priors=WIDE) for m, p in profiles.items() if suits[m]}
    print("priors of all aligned models, which Headway ships rounded and widened:")
    sizes = next(iter(profiles.values())).prompt_sizes
    print(f"  {priors_of(list(fits.values()), sizes)}\n")
    by_model = {}
    for model in profiles:
        learned = priors_of([fit for other, fit in fits.items() if other != model], sizes)
        by_model[model] = (
            Kind(Tiles(), learned)
            if suits[model]
            else Kind(Tiles(small_tokens=SMALL_TOKENS), learned.doubled())
        )
    return by_model


def priors_of(fits: list[RuntimeFit], sizes: FloatArray) -> Priors:
    """Mean and spread of the unknowns over fully profiled models, the latter widened by a sixth."""
    names = ("log_first", "log_corner_tokens", "lead", "share", "log_sharpness", "log_growth")
    unknowns = np.asarray([fit.unknowns[1:7] for fit in fits])
    spread = np.maximum(1.15 * unknowns.std(axis=0), 0.03)
    shape_priors = {
        name: Prior(float(mean), float(sd))
        for name, mean, sd in zip(names, unknowns.mean(axis=0), spread, strict=True)
    }
    each = [np.interp(sizes, fit.form.sizes, fit.unknowns[Form.NUM_SHAPE :]) for fit in fits]
    usual = np.mean(each, axis=0)
    walks = []
    for fit in fits:
        along = strides(fit.form.sizes)
        about = fit.unknowns[Form.NUM_SHAPE :] - np.interp(fit.form.sizes, sizes, usual)
        walks.append(np.sum(np.diff(about) ** 2) / (along[-1] - along[0]))
    shape: dict[str, Any] = shape_priors
    pairs = tuple((float(size), float(log)) for size, log in zip(sizes, usual, strict=True))
    return replace(Priors(), usual=pairs, walk=float(np.sqrt(np.mean(walks))), **shape)


def linear(profile: RequestProfile) -> Predictor:
    """Linear interpolation of T(p, 1), beta from the request with the longest answer."""
    first = profile.output_tokens == 1
    sizes, seconds = profile.prompt_tokens[first], profile.runtime_s[first]
    longest = int(np.argmax(profile.output_tokens))
    further = profile.output_tokens[longest] - 1
    start = float(np.interp(profile.prompt_tokens[longest], sizes, seconds))
    beta = (profile.runtime_s[longest] - start) / further
    return lambda p, o: np.asarray(np.interp(p, sizes, seconds) + beta * (o - 1))


def errors(profile: RequestProfile, predict: Predictor) -> FloatArray:
    predicted = predict(profile.prompt_tokens, profile.output_tokens)
    return np.asarray(np.abs(predicted / profile.runtime_s - 1))


def four_points(profiles: dict[str, RequestProfile], kind_of: dict[str, Kind]) -> dict[str, object]:
    """Mean and worst error with four points, the sizes chosen on the other models."""
    models = list(profiles)
    error_of: dict[Points, FloatArray] = {}
    covered: dict[Points, list[float]] = {}
    for small, large in itertools.combinations(SIZES, 2):
        at: Points = ((1, 64), (small, 1), (large, 1), (1920, 1))
        rows, inside = [], []
        for model, profile in profiles.items():
            fit = kind_of[model].fit(pick(profile, at))
            off = errors(profile, fit.predict)
            low, high = fit.interval(profile.prompt_tokens, profile.output_tokens)
            rows.append((off.mean(), off.max()))
            inside.append(float(np.mean((profile.runtime_s >= low) & (profile.runtime_s <= high))))
        error_of[at], covered[at] = np.asarray(rows), inside

    # For each model, the points that are best for the others.
    chosen = []
    for i in range(len(models)):
        others = [j for j in range(len(models)) if j != i]
        best = min(error_of, key=lambda at: float(error_of[at][others, 0].mean()))
        chosen.append((best, *error_of[best][i], covered[best][i]))
    print(f"{'model':16} mean %  worst %  90% interval holds   points")
    for model, (at, mean, most, coverage) in zip(models, chosen, strict=True):
        print(f"{model:16} {100 * mean:6.2f}  {100 * most:7.1f}  {100 * coverage:17.0f}%   {at}")
    worst = sorted(100 * most for _, _, most, _ in chosen)
    return {
        "mean_pct": 100 * float(np.mean([mean for _, mean, _, _ in chosen])),
        "worst_model_pct": 100 * max(float(mean) for _, mean, _, _ in chosen),
        "worst_point_pct": float(worst[-1]),
        "worst_point_of_the_next_model_pct": float(worst[-2]),
        "interval_90_holds_pct": 100 * float(np.mean([coverage for *_, coverage in chosen])),
    }


def chosen_by_itself(
    profiles: dict[str, RequestProfile], kind_of: dict[str, Kind], count: int
) -> dict[str, object]:
    """The estimator chooses ``count`` points; the nearest profiled size is what it gets."""
    target = Target.up_to(1920, 64)
    means, worst = [], []
    for model, profile in profiles.items():
        at = first_requests(target)
        sizes = profile.prompt_sizes
        points: Points = at
        while len(points) < count:
            fit = kind_of[model].fit(pick(profile, points))
            p, o = next_request(fit, target)
            remaining = [s for s in sizes if (int(s), o) not in points]
            nearest = min(remaining, key=lambda s: abs(np.log(s / p)))
            points = (*points, (int(nearest), o))
        off = errors(profile, kind_of[model].fit(pick(profile, points)).predict)
        means.append(off.mean())
        worst.append(off.max())
    top = sorted(100 * float(most) for most in worst)
    return {"points": count, "mean_pct": 100 * float(np.mean(means)),
            "worst_point_pct": top[-1], "worst_point_of_the_next_model_pct": top[-2]}  # fmt: skip


def leave_one_size_out(profiles: dict[str, RequestProfile], kind_of: dict[str, Kind]) -> None:
    """Error of T(p, 1) at each inner size when that size was not profiled."""
    errors_of: dict[str, list[float]] = {"headway": [], "linear": [], "published (E1)": []}
    for model, profile in profiles.items():
        for size in profile.prompt_sizes[1:-1]:
            is_size = (profile.prompt_tokens == size) & (profile.output_tokens == 1)
            rest = profile.only(profile.prompt_tokens != size)
            truth = profile.only(is_size)
            fits: dict[str, Predictor] = {
                "headway": kind_of[model].fit(rest).predict,
                "linear": linear(rest),
                "published (E1)": fit_published(rest)[0].runtime_s,
            }
            for name, predict in fits.items():
                errors_of[name].append(float(errors(truth, predict)[0]))
    print("\none prompt size left out of 27, T(p, 1):  mean %  worst %")
    for name, off in errors_of.items():
        print(f"  {name:38} {100 * np.mean(off):6.2f}  {100 * max(off):7.1f}")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    profiles = read(folder)
    kind_of = kinds(profiles, folder)
    summary = four_points(profiles, kind_of)
    summary["chosen_by_itself"] = [chosen_by_itself(profiles, kind_of, n) for n in (4, 5, 6, 8)]
    at: Points = ((1, 64), (1, 1), (256, 1), (1920, 1))
    rival = [errors(profile, linear(pick(profile, at))) for profile in profiles.values()]
    summary["linear_mean_pct"] = 100 * float(np.mean([off.mean() for off in rival]))
    summary["linear_worst_point_pct"] = 100 * max(float(off.max()) for off in rival)
    whole = [errors(profiles[m], kind_of[m].fit(profiles[m]).predict) for m in profiles]
    summary["all_points_mean_pct"] = 100 * float(np.mean([off.mean() for off in whole]))
    leave_one_size_out(profiles, kind_of)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
