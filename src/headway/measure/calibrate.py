"""A user's own points on top of the shipped calibration: one factor for all, and a few more."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headway.errors import InputError
from headway.measure.benchmark_files import read_bench
from headway.measure.coefficient_fit import Observed, Problem, descend
from headway.measure.serving_point import ServingPoint, logs, stack_points, subject
from headway.report.column import column
from headway.report.report import Report
from headway.serving.closed_loop import ClosedLoop
from headway.serving.tabulated import serving_times
from headway.steptime.calibration import Calibration, Own, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.kernel_coefficients import FIRST_TOKEN, NAMES
from headway.steptime.work import Array

NOISE = 0.05  # the same configuration measured again differs by 0.5 to 5%
FACTOR_SPREAD, STRETCH_SPREAD = 0.25, 0.5
MIN_POINTS, MAX_STEPS = 3, 20


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
        InputError: a file holds no result, or there are fewer than three with a time per token.
    """
    calibration = calibration or shipped()
    points = read_serving_points(files, deployment=deployment)
    return calibration.with_own(fit_own(points, calibration))


def read_serving_points(
    files: str | Path | Sequence[str | Path], *, deployment: Deployment
) -> list[ServingPoint]:
    """Return the loads that were measured on ``deployment``, one for each result in ``files``.

    Raises:
        InputError: the deployment names no engine, or a file holds no result.

    """
    if deployment.engine is None:
        raise InputError("a calibration is of an engine; name the one that was measured, as vllm")
    return [
        ServingPoint(
            source=path.name,
            deployment=deployment,
            load=ClosedLoop(result.prompt_tokens, result.output_tokens, result.concurrency),
            tpot_s=result.tpot_s,
            ttft_s=result.ttft_s,
            mean_ttft_s=result.mean_ttft_s,
        )
        for path in _paths(files)
        for result in read_bench(path)
    ]


def _paths(files: str | Path | Sequence[str | Path]) -> list[Path]:
    patterns = [files] if isinstance(files, str | Path) else files
    paths: list[Path] = []
    for pattern in patterns:
        matches = sorted(glob.glob(str(pattern)))
        paths += [Path(match) for match in matches] or [Path(pattern)]
    return paths


def fit_own(points: Sequence[ServingPoint], calibration: Calibration) -> Own:
    """Return the factors that make ``calibration`` meet ``points``; those it meets change nothing.

    Raises:
        InputError: fewer than three points have a time per output token.
    """
    if sum(point.tpot_s is not None for point in points) < MIN_POINTS:
        raise InputError(
            f"a calibration needs at least {MIN_POINTS} points with a time per output token, and "
            "5 to 10 that span the concurrencies of interest are better; given were "
            f"{len(points)}"
        )

    # One group for all points: a factor for each coefficient, and a stretch of the whole.
    base = [calibration.logs(subject(point)) for point in points]
    observed = Observed(
        tpot=logs([point.tpot_s for point in points]),
        ttft=logs([point.ttft_s for point in points]),
        mean_ttft=logs([point.mean_ttft_s for point in points]),
        weight=np.ones(len(points)),
    )
    problem = Problem(
        table=stack_points(points),
        observed=observed,
        start=np.stack([coefficients for coefficients, _ in base]),
        base_stretch=np.array([stretch for _, stretch in base]),
        member=np.ones((len(points), 1)),
        stretch=np.ones((len(points), 1)),
        spread=np.array([FACTOR_SPREAD] * len(NAMES) + [STRETCH_SPREAD]),
        noise=NOISE,
    )

    # First what the time per token shows, then how the first token is handled.
    is_first = np.array([name in FIRST_TOKEN for name in NAMES])
    x = np.zeros(len(NAMES) + 1)
    x = descend(
        problem, x, free=~is_first, stretching=True, weights=(1.0, 0.0, 0.0), max_steps=MAX_STEPS
    )
    if np.any(np.isfinite(observed.ttft) | np.isfinite(observed.mean_ttft)):
        x = descend(
            problem, x, free=is_first, stretching=False, weights=(0.0, 1.0, 0.1),
            max_steps=MAX_STEPS,
        )  # fmt: skip

    tpot_s = serving_times(problem.table, *map(np.exp, problem.logs(x))).tpot_s
    error = float(np.nanmean(np.abs(tpot_s / np.exp(observed.tpot) - 1)))
    return Own(tuple(float(v) for v in x[:-1]), float(x[-1]), len(points), error)


def calibration_report(
    points: Sequence[ServingPoint], before: Calibration, after: Calibration
) -> Report[CalibratedRow]:
    """Return what ``before`` and ``after`` say of each of the measured ``points``."""
    before_s, after_s = tpot_by(before, points), tpot_by(after, points)
    rows = [
        CalibratedRow(
            source=point.source,
            prompt_tokens=float(point.load.prompt_tokens),
            output_tokens=float(point.load.output_tokens),
            concurrency=float(point.load.concurrency),
            tpot_s=point.tpot_s,
            tpot_shipped_s=shipped_s,
            tpot_calibrated_s=calibrated_s,
        )
        for point, shipped_s, calibrated_s in zip(points, before_s, after_s, strict=True)
    ]

    error = after.own.error if after.own is not None else 0.0
    return Report(
        kind="calibrate",
        title=f"{len(points)} points; mean error of the time per output token after the fit "
        f"{error:.1%}",
        question={"engine": points[0].engine, "deployment": str(points[0].deployment)},
        rows=tuple(rows),
    )


def tpot_by(calibration: Calibration, points: Sequence[ServingPoint]) -> list[float]:
    """Return the seconds per output token of each point, as ``calibration`` expects them."""
    base = [calibration.logs(subject(point)) for point in points]
    coefficients: Array = np.exp(np.stack([logs for logs, _ in base]))
    stretch: Array = np.exp(np.array([stretch for _, stretch in base]))
    times = serving_times(stack_points(points), coefficients, stretch)
    return [float(seconds) for seconds in times.tpot_s]
