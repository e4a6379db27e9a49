"""The plan: what to buy in one sentence, and all that was weighed as a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headway.errors import InputError
from headway.hardware.catalogue import find_clusters
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model, find_precision
from headway.model.precision import Precision
from headway.plan.bounds import Candidate, Reach, candidates
from headway.plan.demand import (
    SHAPE,
    Demand,
    Stream,
    Users,
    scaled_lengths,
    steady_profile,
)
from headway.plan.doubt import Outlook, errors_of, quantile
from headway.plan.fleet import MAX_SIMULATED, Fleet
from headway.plan.infeasible import killed, nearest
from headway.plan.measure_first import Benchmark, Rival, benchmarks
from headway.plan.problem import DEFAULT_SLO, MONTH_H, Problem
from headway.plan.row import PlanRow, bounded_row, offer_row
from headway.plan.search import Found, Offer, drawn_errors, search
from headway.report.report import Report
from headway.serving.report import sources_of
from headway.sim.source import Workload
from headway.steptime.calibration import Calibration, shipped
from headway.units import parse_time_s
from headway.workload.objective import Objective, parse_objectives
from headway.workload.oracle import Trace
from headway.workload.profile import find_profile

MAX_RIVALS = 8
DEFAULT_PROMPT, DEFAULT_OUTPUT = 2000, 400


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What to buy.

    Attributes:
        problem: what was asked.
        best: the fleet to buy; ``None`` where nothing meets the objectives.
        runner_up: the best of another accelerator, engine or format.
        cost_of_doubt: dollars a month that the asked certainty costs over even odds.
        measure_first: the benchmark that saves most; ``None`` where none pays for itself.
        benchmarks: all of them.
        report: all that was weighed; its title is the plan in one sentence.
        offers: what was simulated, in the order of the report.

    """

    problem: Problem
    best: PlanRow | None
    runner_up: PlanRow | None
    cost_of_doubt: float
    measure_first: Benchmark | None
    benchmarks: tuple[Benchmark, ...]
    report: Report[PlanRow]
    offers: tuple[Offer, ...]

    def html(self, path: str | Path | None = None) -> str:
        """Return the report as a page; write it to ``path`` if given."""
        return self.report.html(path)

    def __str__(self) -> str:
        return self.report.summary()

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def plan(
    model: str | ModelArchitecture,
    *,
    users: int | None = None,
    think: str | float = 30.0,
    turns: int = 1,
    rate: float | None = None,
    trace: str | Path | Trace | None = None,
    workload: str | None = None,
    prompt: float | None = None,
    output: float | None = None,
    lengths: str = SHAPE,
    slo: str | Sequence[Objective] = DEFAULT_SLO,
    on: str | Sequence[str | Cluster] = "all",
    precision: str | Precision | None = None,
    engine: str | None = None,
    price: float | None = None,
    sure: float = 0.9,
    survive: int = 0,
    seeds: int = 5,
    calibration: Calibration | None = None,
) -> Plan:
    """Return the cheapest fleet that meets the objectives with the asked probability.

    Args:
        model: what is served: a name, a hub's name, or the object.
        users: people in a closed loop, each of whom thinks between an answer and the next turn.
        think: seconds, in the mean, or text such as ``30s``.
        turns: of a conversation, which a prompt carries along.
        rate: requests per second, whatever becomes of them.
        trace: requests as they came: a file, a gateway's record, or the object.
        workload: the name of a profile, for ``rate`` or at its own.
        prompt: tokens that a user sends, in the mean; 2000 where nothing is said.
        output: tokens of an answer, in the mean; 400 where nothing is said.
        lengths: the profile as whose lengths these vary, or ``fixed``.
        slo: objectives, such as ``ttft p95 < 1s, tpot p95 < 33ms``.
        on: accelerators: names, ``8xh100`` for as many as there are, ``all``, or objects.
        precision: number formats; as the model was published where not given.
        engine: the only serving engine considered.
        price: dollars per accelerator-hour instead of the catalogue's.
        sure: probability with which all objectives must be met, from 0.5 on.
        survive: replicas that may fail at once.
        seeds: runs that decide close calls.
        calibration: what was measured of engines; what ships with Headway by default.

    Raises:
        InputError: a name is not known, or arguments do not go together.

    """
    architecture = find_model(model) if isinstance(model, str) else model
    objectives = parse_objectives(slo) if isinstance(slo, str) else tuple(slo)
    if isinstance(precision, str):
        precision = Precision.parse(precision)
    elif precision is None and isinstance(model, str):
        precision = find_precision(model)
    clusters, unpriced = _priced(on, price)
    problem = Problem(
        model=architecture,
        demand=demand_of(
            users=users,
            think_s=parse_time_s(think, "think", zero=True) if isinstance(think, str) else think,
            turns=turns,
            rate=rate,
            trace=trace,
            workload=workload,
            prompt=prompt,
            output=output,
            lengths=lengths,
            objectives=objectives,
            max_context_tokens=architecture.max_context_tokens,
        ),
        objectives=objectives,
        clusters=clusters,
        precisions=(precision,),
        engine=engine,
        sure=sure,
        survive=survive,
        seeds=seeds,
        calibration=shipped() if calibration is None else calibration,
    )
    return solve(problem, unpriced)


def demand_of(
    *,
    users: int | None,
    think_s: float,
    turns: int,
    rate: float | None,
    trace: str | Path | Trace | None,
    workload: str | None,
    prompt: float | None,
    output: float | None,
    lengths: str,
    objectives: Sequence[Objective],
    max_context_tokens: int | None,
) -> Demand:
    """Return who asks; raise `InputError` for arguments that do not go together."""
    if sum(kind is not None for kind in (users, trace)) + (rate is not None) > 1 + (
        trace is not None and rate is not None
    ):
        raise InputError("give one of users, rate and trace: each says how much is asked")
    if users is None and turns != 1:
        raise InputError("turns belong to users; give their number, too")
    if (trace is not None or workload is not None) and not (prompt is None and output is None):
        raise InputError("a trace or a workload has its own lengths: leave out prompt and output")

    # Requests as they came, or as a profile has them.
    if trace is not None:
        recorded = Workload.of(trace).draw(0)
        return Stream(recorded, rate or recorded.rate_rps, max_context_tokens=max_context_tokens)
    if workload is not None and users is None:
        profile = find_profile(workload)
        return Stream(profile, rate or profile.rate_rps, max_context_tokens=max_context_tokens)

    # Requests of stated means.
    prompt, output = prompt or DEFAULT_PROMPT, output or DEFAULT_OUTPUT
    if workload is not None:
        table = find_profile(workload).lengths
    else:
        table = scaled_lengths(prompt, output, None if lengths == "fixed" else lengths)
    if users is not None:
        return Users(
            users,
            think_s,
            table,
            turns=turns,
            e2e_guess_s=_longest_s(objectives, output),
            max_context_tokens=max_context_tokens,
        )
    if rate is None:
        raise InputError("say how much is asked: users, a rate in requests/s, or a trace")
    profile = steady_profile(table, f"{prompt:g} tokens in, {output:g} out", rate)
    return Stream(profile, rate, max_context_tokens=max_context_tokens)


def _longest_s(objectives: Sequence[Objective], output_tokens: float) -> float:
    """Return what an answer may take by the objectives, roughly."""
    bounds_s = {objective.quantity: objective.bound_s for objective in objectives}
    if "e2e" in bounds_s:
        return bounds_s["e2e"]
    return bounds_s.get("ttft", 1.0) + output_tokens * bounds_s.get("tpot", 0.03)


def _priced(
    on: str | Sequence[str | Cluster], price: float | None
) -> tuple[tuple[Cluster, ...], tuple[str, ...]]:
    """Return the accelerators that have a price, and the names of those that have none."""
    if isinstance(on, str):
        clusters = find_clusters(on, price)
    else:
        clusters = tuple(
            one
            for item in on
            for one in ((item,) if isinstance(item, Cluster) else find_clusters(item, price))
        )
    priced = tuple(c for c in clusters if c.usd_per_accelerator_hour is not None)
    unpriced = tuple(c.name for c in clusters if c.usd_per_accelerator_hour is None)
    if not priced:
        raise InputError(f"no price is known for {', '.join(unpriced)}; give one with --price")
    return priced, unpriced


def solve(problem: Problem, unpriced: Sequence[str] = ()) -> Plan:
    """Search, draw the doubt, and weigh what could be measured."""
    options, reaches = candidates(problem)
    found = search(problem, options)
    if not found.offers:
        return _infeasible(problem, reaches, unpriced)

    shown = _best_of_each_kind(found.offers)
    best = shown[0]
    rows = [offer_row(offer, _verdict(offer, best)) for offer in shown]
    rows += _bounded_rows(problem, options, {row.accelerator for row in rows})
    rivals = _rivals(problem, found, options, best)
    weighed = _weighed(problem, rivals, best)
    even_usd = min((usd for usd in map(_even_usd, rivals)), default=best.usd_per_hour)
    doubt_usd = max(best.usd_per_hour - even_usd, 0.0) * MONTH_H if best.is_sure else 0.0
    first = weighed[0] if weighed and weighed[0].saving_usd_per_month > weighed[0].usd else None

    report = Report(
        kind="plan",
        title=_sentence(problem, best, rows[0], doubt_usd, first),
        question=_question(problem),
        rows=tuple(rows),
        marks={"buy": 0} | ({"runner-up": 1} if len(shown) > 1 else {}),
        notes=tuple(_notes(problem, best, first, unpriced, reaches)),
        sources=sources_of(best.candidate.deployment),
    )
    return Plan(
        problem=problem,
        best=rows[0],
        runner_up=rows[1] if len(shown) > 1 else None,
        cost_of_doubt=doubt_usd,
        measure_first=first,
        benchmarks=tuple(weighed),
        report=report,
        offers=tuple(shown),
    )


def _best_of_each_kind(offers: Sequence[Offer]) -> list[Offer]:
    """Return the first offer of every accelerator, engine and format."""
    first: dict[object, Offer] = {}
    for offer in offers:
        first.setdefault(offer.candidate.kind, offer)
    return list(first.values())


def _verdict(offer: Offer, best: Offer) -> str:
    """Say why an offer is bought or not."""
    if offer is best:
        return "buy" if offer.is_sure else "cheapest at even odds"
    if not offer.is_sure:
        return "no number is sure enough"
    more_usd = (offer.usd_per_hour - best.usd_per_hour) * MONTH_H
    if more_usd <= 0:
        return "as dear, less sure"
    return f"${more_usd:,.0f} a month more"


def _bounded_rows(problem: Problem, options: Sequence[Candidate], shown: set[str]) -> list[PlanRow]:
    """Return the cheapest bound of every accelerator of which nothing was simulated."""
    rows: dict[str, PlanRow] = {}
    for candidate in options:
        name = candidate.deployment.cluster.name
        if name not in shown and math.isfinite(candidate.surely_least):
            rows.setdefault(name, bounded_row(candidate, problem))
    return list(rows.values())


def _rivals(
    problem: Problem, found: Found, options: Sequence[Candidate], best: Offer
) -> list[Rival]:
    """Return the best offer, and what may be cheaper once more is known: one of each kind."""
    rivals = [Rival(best.outlook)]
    kinds = {best.candidate.kind}
    offers = {id(offer.candidate): offer for offer in found.offers}
    for candidate in sorted(options, key=lambda c: c.likely_usd_per_hour):
        if len(rivals) >= MAX_RIVALS or candidate.likely_usd_per_hour >= best.usd_per_hour:
            break
        if candidate.kind in kinds:
            continue
        kinds.add(candidate.kind)
        offer = offers.get(id(candidate))
        if offer is None:
            around = min(candidate.likely_replicas, MAX_SIMULATED, candidate.max_replicas)
            curve = Fleet(problem, candidate).curve(around)
            rivals.append(Rival(Outlook.of(problem, candidate, curve)))
        else:
            rivals.append(Rival(offer.outlook))
    return rivals


def _even_usd(rival: Rival) -> float:
    """Return the dollars per hour of a rival at even odds."""
    problem_draws = rival.outlook.needed(*drawn_errors(rival.outlook.problem, rival.candidate))
    return quantile(problem_draws, 0.5) * rival.candidate.usd_per_hour


def _weighed(problem: Problem, rivals: Sequence[Rival], best: Offer) -> list[Benchmark]:
    if not best.is_sure:
        return []
    points = [(rival.candidate, rival.candidate.concurrency) for rival in rivals]
    even_usd = min(map(_even_usd, rivals))
    return benchmarks(
        problem,
        rivals,
        errors_of(problem, points),
        price_usd=best.usd_per_hour,
        even_usd=even_usd,
    )


def _sentence(
    problem: Problem, best: Offer, row: PlanRow, doubt_usd: float, first: Benchmark | None
) -> str:
    """Return the plan in one sentence."""
    verb = "Buy" if best.is_sure else f"No fleet is {problem.sure:.0%} sure; at even odds buy"
    text = (
        f"{verb} {row.num_accelerators} x {row.accelerator} ({row.replicas} x {row.layout}, "
        f"{row.engine or 'data sheet'}) for ${row.usd_per_hour:,.2f}/h, "
        f"${row.usd_per_month:,.0f} a month: all objectives are met with probability "
        f"{best.probability:.0%}"
    )
    if doubt_usd > 0:
        text += (
            f"; being {problem.sure:.0%} sure instead of even odds costs ${doubt_usd:,.0f} of it"
        )
    if first is not None:
        text += (
            f"; measure {first.num_accelerators} x {first.accelerator} ({first.layout}, "
            f"{first.engine or 'data sheet'}) first: {first.duration_s / 60:g} minutes for "
            f"${first.usd:,.2f} save ${first.saving_usd_per_month:,.0f} a month in the mean"
        )
    return text


def _question(problem: Problem) -> dict[str, str | float | int | None]:
    demand = problem.demand
    return {
        "model": problem.model.name,
        "demand": demand.words,
        "prompt_tokens": demand.prompt_tokens,
        "output_tokens": demand.output_tokens,
        "slo": ", ".join(map(str, problem.objectives)),
        "on": ",".join(cluster.name for cluster in problem.clusters),
        "engine": problem.engine,
        "sure": problem.sure,
        "survive": problem.survive,
        "seeds": problem.seeds,
    }


def _notes(
    problem: Problem,
    best: Offer,
    first: Benchmark | None,
    unpriced: Sequence[str],
    reaches: Sequence[Reach],
) -> list[str]:
    """Return what a reader must know besides the rows."""
    notes = [
        asked(problem),
        "times are simulated with the step times as predicted; probabilities are over what these "
        "may be off; 'at least' is a bound, not simulated",
        f"start with max_num_seqs {best.candidate.deployment.limits.max_num_seqs}",
    ]
    if best.replicas > MAX_SIMULATED:
        notes.append(f"a part of {MAX_SIMULATED} replicas is simulated with its share")
    if first is not None:
        notes.append(f"measure first: {first.command}")
        notes.append(f"then: {first.calibrate}, and --calibration headway-calibration.json here")
    if unpriced:
        notes.append(f"no price is known for {', '.join(unpriced)}")
    return notes + [f"{names}: {reason}" for names, reason in killed(reaches).items()]


def _infeasible(problem: Problem, reaches: Sequence[Reach], unpriced: Sequence[str]) -> Plan:
    """Return the answer that nothing meets the objectives, with what could be had instead."""
    near = nearest(problem)
    words = "; ".join(f"{objective} at ${usd:,.2f}/h" for objective, usd in near)
    title = f"Nothing meets {', '.join(map(str, problem.objectives))} for this demand"
    if near:
        title += f"; nearest, each with the others as asked: {words}"
    notes = [asked(problem)]
    notes += [f"{names}: {reason}" for names, reason in killed(reaches).items()]
    if unpriced:
        notes.append(f"no price is known for {', '.join(unpriced)}")
    report: Report[PlanRow] = Report(
        kind="plan", title=title, question=_question(problem), rows=(), notes=tuple(notes)
    )
    return Plan(
        problem=problem,
        best=None,
        runner_up=None,
        cost_of_doubt=0.0,
        measure_first=None,
        benchmarks=(),
        report=report,
        offers=(),
    )


def asked(problem: Problem) -> str:
    """Return the question in a line."""
    demand = problem.demand
    return (
        f"{problem.model.name} for {demand.words}: {demand.prompt_tokens:,.0f} tokens in, "
        f"{demand.output_tokens:,.0f} out in the mean; {', '.join(map(str, problem.objectives))}"
    )
