"""What to measure before buying: the worth of each benchmark in dollars a month.

A benchmark of one deployment under one load tells its log-errors, up to noise. By their joint
distribution it tells of its relatives, too. For outcomes drawn from what is known today, the
cheapest fleet of the asked certainty is chosen again: what that saves in the mean is the worth
(preposterior analysis: Raiffa and Schlaifer 1961, chapter 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headway.plan.candidate import Candidate
from headway.plan.doubt import errors_of, quantile, standard_draws
from headway.plan.fleet import Fleet
from headway.plan.names import deployment_layout, hub_name
from headway.plan.problem import Problem
from headway.report.column import column
from headway.serving.doubt import LogErrors
from headway.serving.served_load import serve_loop
from headway.steptime.work import Array
from headway.units import MONTH_H

NUM_OUTCOMES = 40
NUM_DRAWS = 400
SETUP_S = 900.0  # of starting an engine, paid like the run
# Log-standard-deviation of a repeated benchmark: 4.8% at the 90th percentile between runs of the
# same configuration (10 minutes); a part of it goes away in an hour.
RUNS = ((600.0, 0.037), (3600.0, 0.025))


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A measurement that could be made first, and what it is worth."""

    accelerator: str = column("accelerator", "on which to measure")
    num_accelerators: int = column("count", "accelerators of one replica")
    layout: str = column("layout", "degrees of parallelism")
    engine: str | None = column("engine", "that runs")
    concurrency: int = column("at once", "requests in the system during the run")
    duration_s: float = column("run", "of the benchmark", unit="min", scale=1 / 60)
    usd: float = column("$", "of the run and of starting the engine")
    saving_usd_per_month: float = column("saves $/month", "in the mean over what it may show")
    doubt_usd_per_month: float = column("doubt left", "cost of doubt after it, $/month in the mean")
    command: str = column("command", "that runs it", detail=True)
    calibrate: str = column("then", "makes a --calibration of its result", detail=True)


def benchmarks(rivals: Sequence[Fleet], price_usd: float, even_usd: float) -> list[Benchmark]:
    """Return a benchmark of every rival at its usual load, the one that saves most first.

    Args:
        rivals: what may be bought.
        price_usd: of the best fleet today, per hour, at the asked certainty.
        even_usd: of the best fleet today, per hour, at even odds.

    """
    errors = errors_of(rivals[0].problem, [rival.candidate for rival in rivals])
    rows = []
    for number, rival in enumerate(rivals):
        options = []
        for duration_s, noise in RUNS:
            prices = prices_after(rivals, errors, number, noise)
            usd = float(np.where(np.isfinite(prices), prices, price_usd).mean())
            options.append(_benchmark(rival, duration_s, price_usd - usd, usd - even_usd))
        rows.append(max(options, key=lambda row: row.saving_usd_per_month - row.usd))
    return sorted(rows, key=lambda row: row.usd - row.saving_usd_per_month)


def _benchmark(rival: Fleet, duration_s: float, saving_usd: float, left_usd: float) -> Benchmark:
    """Return the row of measuring ``rival`` for so long; worths are in dollars per hour."""
    problem, candidate = rival.problem, rival.candidate
    deployment = candidate.deployment
    concurrency = max(round(candidate.concurrency), 1)
    return Benchmark(
        accelerator=deployment.cluster.name,
        num_accelerators=candidate.num_accelerators,
        layout=deployment_layout(deployment),
        engine=deployment.engine,
        concurrency=concurrency,
        duration_s=duration_s,
        usd=candidate.usd_per_hour * (duration_s + SETUP_S) / 3600,
        saving_usd_per_month=saving_usd * MONTH_H,
        doubt_usd_per_month=max(left_usd, 0.0) * MONTH_H,
        command=bench_command(problem, candidate, concurrency, duration_s),
        calibrate=calibrate_command(problem, candidate),
    )


def layout_runs(problem: Problem, layouts: Sequence[Candidate]) -> tuple[str, ...]:
    """Return what it takes to measure each of ``layouts`` once, and the commands."""
    if len(layouts) < 2:
        return ()
    duration_s = RUNS[0][0]
    usd = sum(one.usd_per_hour for one in layouts) * (duration_s + SETUP_S) / 3600
    cluster = layouts[0].deployment.cluster.name
    lines = [
        f"surest: measure all {len(layouts)} layouts on {cluster} that may turn out cheapest, "
        f"{duration_s / 60:g} minutes each, for ${usd:,.2f} in all, and buy the one that carries "
        "most for its price"
    ]
    for one in layouts:
        command = bench_command(problem, one, max(round(one.concurrency), 1), duration_s)
        lines.append(f"{one.layout}: {command}")
    return tuple(lines)


def prices_after(rivals: Sequence[Fleet], errors: LogErrors, number: int, noise: float) -> Array:
    """Return the dollars per hour of the best fleet after each outcome of measuring ``number``.

    Shape ``(outcomes,)``; infinite where no fleet is sure enough then.
    """
    tpot_outcome, ttft_outcome = standard_draws(NUM_OUTCOMES, seed=1)
    z_tpot, z_ttft = standard_draws(NUM_DRAWS, seed=2)
    tpot = _conditional(errors.covariance["tpot"], number, noise)
    ttft = _conditional(errors.covariance["ttft"], number, noise)

    best = np.full(NUM_OUTCOMES, np.inf)
    for k, rival in enumerate(rivals):
        tpot_means = errors.mean["tpot"][k] + tpot.shift[k] * tpot_outcome
        ttft_means = errors.mean["ttft"][k] + ttft.shift[k] * ttft_outcome
        needed = rival.outlook.needed(
            tpot_means[:, None] + tpot.spread[k] * z_tpot,
            ttft_means[:, None] + ttft.spread[k] * z_ttft,
        )
        counts = quantile(needed, rival.problem.sure) + rival.problem.survive
        counts = np.where(counts <= rival.candidate.max_replicas, counts, np.inf)
        best = np.minimum(best, counts * rival.candidate.usd_per_hour)
    return best


@dataclass(frozen=True, slots=True, eq=False)
class _Conditional:
    """Normal errors given one measured one.

    Attributes:
        shift: of the means, per standard deviation of the outcome, shape ``(questions,)``.
        spread: standard deviations that are left.

    """

    shift: Array
    spread: Array


def _conditional(covariance: Array, number: int, noise: float) -> _Conditional:
    column_of = covariance[:, number]
    total = float(covariance[number, number]) + noise**2
    variances = np.diag(covariance) - column_of**2 / total
    return _Conditional(column_of / math.sqrt(total), np.sqrt(np.maximum(variances, 0.0)))


def bench_command(
    problem: Problem, candidate: Candidate, concurrency: int, duration_s: float
) -> str:
    """Return the command that measures a candidate whose server runs at localhost:8000."""
    demand, deployment = problem.demand, candidate.deployment
    prompt, output = round(demand.prompt_tokens), round(demand.output_tokens)
    times = serve_loop(deployment, problem.loop(float(concurrency))).times
    num_requests = max(math.ceil(duration_s * float(times.requests_per_s)), 5 * concurrency)
    if deployment.engine == "vllm":
        return (
            f"vllm bench serve --model {hub_name(problem.model.name)} --dataset-name random "
            f"--random-input-len {prompt} --random-output-len {output} --ignore-eos "
            f"--max-concurrency {concurrency} --num-prompts {num_requests} "
            "--save-result --result-filename bench.json"
        )
    return (
        f"headway load http://localhost:8000/v1 --concurrency {concurrency} "
        f"--num-requests {num_requests} --prompt {prompt} --output {output} -o bench.json"
    )


def calibrate_command(problem: Problem, candidate: Candidate) -> str:
    """Return the command that makes a calibration of the benchmark's result."""
    deployment = candidate.deployment
    layout = deployment.parallelism
    degrees = {"tp": layout.tp, "pp": layout.pp, "dp": layout.dp, "ep": layout.ep}
    options = "".join(f" --{name} {degree:g}" for name, degree in degrees.items() if degree > 1)
    return (
        f"headway calibrate bench.json --model {problem.model.name} "
        f"--on {deployment.cluster.name} --engine {deployment.engine}{options}"
    )
