"""A user's own points on top of the shipped calibration: the error model, given what they say."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headway.errors import InputError
from headway.measure.benchmark_files import Bench, read_bench
from headway.measure.benchmark_names import check_names, names_note
from headway.measure.coefficient_fit import Observed, Problem, descend
from headway.report.column import UNKNOWN, column
from headway.report.report import Report
from headway.serving.closed_loop import ClosedLoop
from headway.serving.served_load import serve_loop
from headway.serving.serving_point import (
    ServingPoint,
    corrected_times,
    logs,
    own_rows,
    stack_points,
    step_features,
    subject,
)
from headway.steptime.calibration import Calibration, Own, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.kernel_coefficients import AT, FIRST_TOKEN, NAMES
from headway.steptime.work import Array

NOISE = 0.05  # the same configuration measured again differs by 0.5 to 5%
FACTOR_SPREAD, MAX_STEPS = 1.0, 20


@dataclass(frozen=True, slots=True)
class CalibratedRow:
    """One measured load, as it was predicted before and after the fit."""

    source: str = column("file", "the benchmark result that was read")
    prompt_tokens: float = column("prompt", "mean prompt tokens")
    output_tokens: float = column("output", "mean output tokens")
    concurrency: float = column("users", "requests in flight")
    tpot_s: float | None = column(
        "TPOT", "time per output token, as measured", unit="ms", scale=1e3
    )
    tpot_shipped_s: float = column(
        "shipped", "time per output token by the calibration before", unit="ms", scale=1e3
    )
    tpot_calibrated_s: float = column(
        "yours", "time per output token by the calibration after", unit="ms", scale=1e3
    )
    error_before: float | None = column(
        "error", "of the calibration before; above 0: too slow", unit="%", digits=2, scale=100
    )
    error_after: float | None = column(
        "after", "error of yours, which knows this file", unit="%", digits=2, scale=100
    )
    error_left_out: float | None = column(
        "left out",
        "error of yours without this file; of a single file, without this point",
        unit="%",
        digits=2,
        scale=100,
    )


def calibrate(
    files: str | Path | Sequence[str | Path],
    *,
    deployment: Deployment,
    calibration: Calibration | None = None,
) -> Calibration:
    """Return ``calibration`` (the one that ships) fitted to benchmark results of one deployment.

    ``files`` are paths or patterns such as ``bench/*.json``: results of vLLM bench serve, SGLang
    bench_serving, InferenceX, guidellm or aiperf. Loads at 5 to 10 concurrencies are enough.

    Raises:
        InputError: a file holds no result, or none has a time per token.

    """
    calibration = calibration or shipped()
    points = read_serving_points(files, deployment=deployment)
    return calibration.with_own(fit_own(points, calibration))


def fit_files(
    files: str | Path | Sequence[str | Path], deployment: Deployment
) -> tuple[Own, Report[CalibratedRow]]:
    """Return what benchmark results of ``deployment`` say on top of what ships, and how well.

    The first goes into a file (`headway.steptime.calibration.own_to_json`); the second says of
    every point how far it was off before, is now, and would be without its own file.
    """
    results = read_results(files)
    points = serving_points(results, deployment=deployment)
    own = fit_own(points, shipped())
    notes = [names_note([bench for _, bench in results])]
    return own, calibration_report(points, shipped(), own, notes)


def read_serving_points(
    files: str | Path | Sequence[str | Path], *, deployment: Deployment
) -> list[ServingPoint]:
    """Return the loads that were measured on ``deployment``, one for each result in ``files``.

    Raises:
        InputError: the deployment names no engine, a file holds no result, or says that something
            else was measured.

    """
    return serving_points(read_results(files), deployment=deployment)


def read_results(files: str | Path | Sequence[str | Path]) -> list[tuple[str, Bench]]:
    """Return the results in ``files``, each with the name of its file."""
    return [(path.name, bench) for path in _paths(files) for bench in read_bench(path)]


def serving_points(
    results: Sequence[tuple[str, Bench]], *, deployment: Deployment
) -> list[ServingPoint]:
    """Return ``results`` as loads that were measured on ``deployment``; see the function above."""
    if deployment.engine is None:
        raise InputError("a calibration is of an engine; name the one that was measured, as vllm")

    points = []
    for source, bench in results:
        check_names(bench, source, deployment)
        points.append(
            ServingPoint(
                source=source,
                deployment=deployment,
                load=ClosedLoop(bench.prompt_tokens, bench.output_tokens, bench.concurrency),
                tpot_s=bench.tpot_s,
                ttft_s=bench.ttft_s,
                mean_ttft_s=bench.mean_ttft_s,
            )
        )
    return points


def _paths(files: str | Path | Sequence[str | Path]) -> list[Path]:
    patterns = [files] if isinstance(files, str | Path) else files
    paths: list[Path] = []
    for pattern in patterns:
        matches = sorted(glob.glob(str(pattern)))
        paths += [Path(match) for match in matches] or [Path(pattern)]
    return paths


def fit_own(points: Sequence[ServingPoint], calibration: Calibration) -> Own:
    """Return ``points`` as evidence on top of ``calibration``.

    The error model takes the time per token (`headway.steptime.error_model`); how the first token
    is handled has coefficients of its own, which are fitted to the times to first token.

    Raises:
        InputError: the points are not of one deployment's model, engine and hardware, or none has
            a time per output token.

    """
    subjects = {subject(point) for point in points}
    if len(subjects) != 1:
        raise InputError("a calibration is of one model on one accelerator with one engine")
    if all(point.tpot_s is None for point in points):
        raise InputError(
            "a calibration needs a time per output token; 5 loads that span the concurrencies of "
            "interest are good, and none of the results has one"
        )

    # Steps first, then how the first token is handled by what they are now, then what is left.
    own = Own(
        subject=subjects.pop(),
        rows={"tpot": own_rows(points, calibration)["tpot"]},
        first_token=tuple(0.0 for _ in FIRST_TOKEN),
        points=len(points),
    )
    own = replace(own, first_token=_first_token(points, calibration.with_own(own)))
    return replace(own, rows=own_rows(points, calibration.with_own(own)))


def _first_token(points: Sequence[ServingPoint], calibration: Calibration) -> tuple[float, ...]:
    """Return log-factors of the coefficients of the first token."""
    table, one = stack_points(points), calibration.weights(subject(points[0]))
    logs_of_subject = calibration.logs(subject(points[0]))
    tabulated = corrected_times(
        table, np.exp(np.tile(logs_of_subject, (len(points), 1))), [one] * len(points)
    )

    # Held against answers, which know more than the table does: no step is shorter than measured.
    answers = [
        serve_loop(replace(p.deployment, calibration=calibration), p.load).times for p in points
    ]
    observed = Observed(
        tpot=np.full(len(points), np.nan),
        ttft=logs([point.ttft_s for point in points])
        + np.log(tabulated.ttft_s / np.array([float(times.ttft_s) for times in answers])),
        mean_ttft=logs([point.mean_ttft_s for point in points])
        + np.log(tabulated.mean_ttft_s / np.array([float(times.mean_ttft_s) for times in answers])),
        weight=np.ones(len(points)),
    )
    if not np.any(np.isfinite(observed.ttft) | np.isfinite(observed.mean_ttft)):
        return tuple(0.0 for _ in FIRST_TOKEN)

    # One group for all points, whose steps stay as they are.
    decode, mixed = (one.expected(features) for features in step_features(table.shape))
    problem = Problem(
        table=table,
        observed=observed,
        start=np.tile(logs_of_subject, (len(points), 1)),
        base_stretch=decode,
        base_prompt_stretch=mixed - decode,
        member=np.ones((len(points), 1)),
        stretch=np.zeros((len(points), 0)),
        spread=np.full(len(NAMES), FACTOR_SPREAD),
        noise=NOISE,
    )
    x = descend(
        problem,
        np.zeros(len(NAMES)),
        free=np.array([name in FIRST_TOKEN for name in NAMES]),
        stretching=False,
        weights=(0.0, 1.0, 0.1),
        max_steps=MAX_STEPS,
    )
    return tuple(float(x[AT[name]]) for name in FIRST_TOKEN)


def calibration_report(
    points: Sequence[ServingPoint], before: Calibration, own: Own, notes: Sequence[str] = ()
) -> Report[CalibratedRow]:
    """Return what is said of each of the measured ``points``.

    By ``before``, by the same with ``own`` points on top, and by that with all but one file's.
    """
    measured = np.exp(logs([point.tpot_s for point in points]))
    before_s, after_s = tpot_by(before, points), tpot_by(before.with_own(own), points)
    errors = [seconds / measured - 1 for seconds in (before_s, after_s)]
    errors.append(_tpot_left_out(points, before, own) / measured - 1)

    rows = [
        CalibratedRow(
            source=point.source,
            prompt_tokens=float(point.load.prompt_tokens),
            output_tokens=float(point.load.output_tokens),
            concurrency=float(point.load.concurrency),
            tpot_s=point.tpot_s,
            tpot_shipped_s=float(before_s[i]),
            tpot_calibrated_s=float(after_s[i]),
            error_before=_finite(errors[0][i]),
            error_after=_finite(errors[1][i]),
            error_left_out=_finite(errors[2][i]),
        )
        for i, point in enumerate(points)
    ]

    sizes = [_mean_size(error) for error in errors]
    return Report(
        kind="calibrate",
        title=f"{_your(len(points))}; mean error of the time per output token {sizes[0]} before, "
        f"{sizes[1]} after, {sizes[2]} where each is left out",
        question={"engine": points[0].engine, "deployment": str(points[0].deployment)},
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _tpot_left_out(points: Sequence[ServingPoint], before: Calibration, own: Own) -> Array:
    """Return the seconds per output token of each point by all others; ``nan`` without others."""
    sources = np.array([point.source for point in points])
    if len(set(sources)) == 1:
        sources = np.arange(len(points)).astype(str)

    # The evidence has a row of every point that has a time per output token.
    has_row = np.array([point.tpot_s is not None for point in points])
    left_out_s = np.full(len(points), np.nan)
    for source in dict.fromkeys(sources):
        others = own.rows["tpot"][sources[has_row] != source]
        if len(others):
            by_others = before.with_own(replace(own, rows={"tpot": others}))
            here = sources == source
            own_points = [point for point, is_here in zip(points, here, strict=True) if is_here]
            left_out_s[here] = tpot_by(by_others, own_points)
    return left_out_s


def _mean_size(errors: Array) -> str:
    sizes = np.abs(errors[np.isfinite(errors)])
    return f"{sizes.mean():.1%}" if sizes.size else UNKNOWN


def _finite(error: float) -> float | None:
    return float(error) if np.isfinite(error) else None


def _your(num_points: int) -> str:
    return "your 1 point" if num_points == 1 else f"your {num_points} points"


def tpot_by(calibration: Calibration, points: Sequence[ServingPoint]) -> Array:
    """Return the seconds per output token of each point, as ``calibration`` expects them."""
    theta: Array = np.exp(np.stack([calibration.logs(subject(point)) for point in points]))
    weights = [calibration.weights(subject(point)) for point in points]
    return corrected_times(stack_points(points), theta, weights).tpot_s
