"""The plan: what to buy, all that was weighed, and what would be worth knowing first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headway.errors import InputError
from headway.plan.api import api_offers
from headway.plan.bounds import candidates
from headway.plan.candidate import Candidate, Reach
from headway.plan.day import Day, DayRow, day_rows
from headway.plan.doubt import quantile
from headway.plan.emit import emit
from headway.plan.features import FeatureRow, features
from headway.plan.fleet import Fleet
from headway.plan.infeasible import nearest
from headway.plan.measure_first import Benchmark, benchmarks
from headway.plan.mixed import Mix, best_mix
from headway.plan.now import flags_note, other_flags, today_words
from headway.plan.price_doubt import price_notes, with_prices_to_win
from headway.plan.problem import MONTH_H, Problem
from headway.plan.row import CHART, PlanRow, bounded_row, offer_row
from headway.plan.search import Found, Offer, search
from headway.plan.words import Besides, asked, left_out, notes, sentence, verdict
from headway.report.column import Value
from headway.report.report import Report
from headway.serving.report import sources_of

MAX_RIVALS = 8


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
        mixed: a fleet of two kinds that costs less; ``None`` where none does.
        report: all that was weighed; its title is the plan in one sentence.
        offers: what was simulated, in the order of the report.

    """

    problem: Problem
    best: PlanRow | None
    runner_up: PlanRow | None
    cost_of_doubt: float
    measure_first: Benchmark | None
    benchmarks: tuple[Benchmark, ...]
    mixed: Mix | None
    report: Report[PlanRow]
    offers: tuple[Offer, ...]

    def features(self) -> Report[FeatureRow]:
        """Return what each feature is worth on the fleet that is bought."""
        best = self._bought
        return Report(
            kind="plan-features",
            title=f"What features are worth on {best.candidate.deployment}",
            question=dict(self.report.question),
            rows=tuple(features(best)),
            notes=(asked(self.problem),),
        )

    def measurements(self) -> Report[Benchmark]:
        """Return what each benchmark that could be made first is worth."""
        return Report(
            kind="plan-benchmarks",
            title="What a benchmark saves before buying",
            question=dict(self.report.question),
            rows=self.benchmarks,
            notes=(asked(self.problem),),
        )

    def day(self, day: Day | None = None) -> Report[DayRow]:
        """Return what scaling the fleet over a day saves, and what a perfect autoscaler costs."""
        best, day = self._bought, day or Day()
        rows = day_rows(best.fleet, best.replicas, day)
        return Report(
            kind="plan-day",
            title=f"Scaled over the day the fleet costs ${rows[1].usd_per_month:,.0f} a month "
            f"instead of ${rows[0].usd_per_month:,.0f}; a perfect autoscaler would cost "
            f"${rows[2].usd_per_month:,.0f}",
            question=dict(self.report.question),
            rows=tuple(rows),
            notes=(
                asked(self.problem) + ", in the busiest hour",
                f"a replica serves {day.cold_start_s(best.fleet) / 60:.1f} minutes after its order"
                f" ({day.provision_s / 60:.1f} to be given accelerators, its weights at "
                f"{day.load_bytes_per_s / 1e9:g} GB/s and node, {day.start_s:g} s to get ready)"
                + (f", {day.loss_per_hour:.1%} of them lost an hour" if day.loss_per_hour else ""),
            ),
        )

    def emit(self, target: str) -> Mapping[str, str]:
        """Return files that start the fleet, by name, for ``vllm``, ``kubernetes`` and others."""
        best = self._bought
        return emit(target, best.candidate, best.replicas, self.problem.objectives)

    def html(self, path: str | Path | None = None) -> str:
        """Return the report as a page; write it to ``path`` if given."""
        return self.report.html(path)

    @property
    def _bought(self) -> Offer:
        if not self.offers:
            raise InputError("nothing meets the objectives, so there is no fleet to ask about")
        return self.offers[0]

    def __str__(self) -> str:
        return self.report.summary()

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def solve(problem: Problem, besides: Besides | None = None, *, or_api: bool = False) -> Plan:
    """Search, draw the doubt, and weigh what could be measured.

    Args:
        problem: what is asked.
        besides: what the answer says beyond the fleet.
        or_api: whether APIs are compared.

    """
    besides = besides or Besides()
    options, reaches = candidates(problem)
    found = search(problem, options)
    if not found.offers:
        return _infeasible(problem, reaches, besides)

    # The best of each kind, and the bounds of accelerators that were never simulated.
    ranked = _best_of_each_kind(found.offers)
    best = ranked[0]
    rows = [offer_row(offer, verdict(offer, best)) for offer in ranked]
    rows += _bounded_rows(problem, options, {row.accelerator for row in rows})
    rows = with_prices_to_win(rows)

    # What runs now, beside what could.
    today = None if besides.today is None else besides.today.offer(problem)
    flags = None if today is None else other_flags(today, found.offers)
    if today is not None:
        rows.append(offer_row(today, "today"))

    # The doubt, and what a measurement would take from it.
    rivals = _rivals(problem, found, options, best)
    even_usd = min(map(_even_usd, rivals))
    weighed = benchmarks(rivals, best.usd_per_hour, even_usd) if best.is_sure else []
    doubt_usd = max(best.usd_per_hour - even_usd, 0.0) * MONTH_H if best.is_sure else 0.0
    first = weighed[0] if weighed and weighed[0].saving_usd_per_month > weighed[0].usd else None

    if or_api:
        besides = _with_api(besides, problem, rows[0])
    mix = best_mix(found.offers, best)
    title = sentence(best, rows[0], doubt_usd, first, besides)
    if mix is not None:
        saving = (best.usd_per_hour - mix.usd_per_hour) * MONTH_H
        title += f"; {mix} together cost ${saving:,.0f} a month less ({mix.probability:.0%} sure)"
    report = Report(
        kind="plan",
        title=title if today is None else f"{title}; {today_words(today, flags)}",
        question=_question(problem),
        rows=tuple(rows),
        marks={"buy": 0} | ({"runner-up": 1} if len(ranked) > 1 else {}),
        notes=(
            *notes(best, first, reaches, besides),
            *price_notes(rows),
            *(() if flags is None else (flags_note(flags),)),
            *_unread(besides),
        ),
        sources=sources_of(best.candidate.deployment),
        charts=(CHART,),
    )
    return Plan(
        problem=problem,
        best=rows[0],
        runner_up=rows[1] if len(ranked) > 1 else None,
        cost_of_doubt=doubt_usd,
        measure_first=first,
        benchmarks=tuple(weighed),
        mixed=mix,
        report=report,
        offers=tuple(ranked),
    )


def _best_of_each_kind(offers: Sequence[Offer]) -> list[Offer]:
    """Return the first offer of every accelerator, engine and format."""
    first: dict[object, Offer] = {}
    for offer in offers:
        first.setdefault(offer.candidate.kind, offer)
    return list(first.values())


def _bounded_rows(
    problem: Problem, options: Sequence[Candidate], accelerators: set[str]
) -> list[PlanRow]:
    """Return the cheapest bound of every accelerator of which nothing was simulated."""
    rows: dict[str, PlanRow] = {}
    for candidate in options:
        name = candidate.deployment.cluster.name
        if name not in accelerators and math.isfinite(candidate.surely_least):
            rows.setdefault(name, bounded_row(candidate, problem))
    return list(rows.values())


def _rivals(
    problem: Problem, found: Found, options: Sequence[Candidate], best: Offer
) -> list[Fleet]:
    """Return the best fleet, and what may be cheaper once more is known: one of each kind."""
    rivals, kinds = [best.fleet], {best.candidate.kind}
    simulated = {id(fleet.candidate): fleet for fleet in found.fleets}
    for candidate in sorted(options, key=lambda c: c.likely_usd_per_hour):
        if len(rivals) >= MAX_RIVALS or candidate.likely_usd_per_hour >= best.usd_per_hour:
            break
        if candidate.kind not in kinds:
            kinds.add(candidate.kind)
            rivals.append(simulated.get(id(candidate)) or Fleet(problem, candidate))
    return rivals


def _even_usd(rival: Fleet) -> float:
    """Return the dollars per hour of a rival at even odds."""
    replicas = float(quantile(rival.needed(), 0.5)) + rival.problem.survive
    return replicas * rival.candidate.usd_per_hour


def _unread(besides: Besides) -> list[str]:
    """Say which options of what runs now were not read."""
    unread = () if besides.today is None else besides.today.started.unread
    return [f"not read of what runs now: {' '.join(unread)}"] if unread else []


def _with_api(besides: Besides, problem: Problem, row: PlanRow) -> Besides:
    demand = problem.demand
    offers = api_offers(
        problem.model.name,
        row.requests_per_s or float(demand.requests_per_s(np.ones(()))),
        demand.prompt_tokens,
        demand.output_tokens,
    )
    return replace(besides, api=offers, has_api=True)


def _question(problem: Problem) -> dict[str, Value]:
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


def _infeasible(problem: Problem, reaches: Sequence[Reach], besides: Besides) -> Plan:
    """Return the answer that nothing meets the objectives, with what could be had instead."""
    title = f"Nothing meets {', '.join(map(str, problem.objectives))} for this demand"
    near = nearest(problem)
    if near:
        words = "; ".join(f"{objective} for ${usd:,.2f}/h" for objective, usd in near)
        title += f"; nearest, each with the others as asked: {words}"
    report: Report[PlanRow] = Report(
        kind="plan",
        title=title,
        question=_question(problem),
        rows=(),
        notes=(asked(problem), *left_out(reaches, besides.unpriced)),
    )
    return Plan(
        problem=problem,
        best=None,
        runner_up=None,
        cost_of_doubt=0.0,
        measure_first=None,
        benchmarks=(),
        mixed=None,
        report=report,
        offers=(),
    )
