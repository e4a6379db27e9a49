"""From a problem to a plan: search, draw the doubt, weigh what could be measured, say it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headway.plan.answer import Plan
from headway.plan.api import api_offers
from headway.plan.bounds import candidates
from headway.plan.candidate import Candidate, Reach
from headway.plan.doubt import quantile
from headway.plan.fleet import Fleet
from headway.plan.infeasible import nearest
from headway.plan.measure_first import Benchmark, benchmarks
from headway.plan.mixed import best_mix
from headway.plan.now import other_flags, today_notes, today_words
from headway.plan.price_doubt import price_notes, with_prices_to_win
from headway.plan.problem import Problem
from headway.plan.row import CHART, UNSURE, PlanRow, bounded_row, offer_row
from headway.plan.search import Found, Offer, offer_of, search
from headway.plan.words import (
    Besides,
    asked,
    doubt_parts,
    left_out,
    notes,
    other_parts,
    sentence,
    verdict,
)
from headway.report.column import Value
from headway.report.report import Report
from headway.serving.report import sources_of
from headway.units import MONTH_H

MAX_RIVALS = 8


def solve(problem: Problem, besides: Besides | None = None, *, or_api: bool = False) -> Plan:
    """Search, draw the doubt, and weigh what could be measured.

    Args:
        problem: what is asked.
        besides: what the answer says beyond the fleet.
        or_api: whether APIs are compared.

    """
    besides = besides or Besides()
    options, reaches = candidates(problem)
    priced = [option for option in options if option.is_priced]
    unpriced = [option for option in options if not option.is_priced]
    found = search(problem, priced)
    if not found.offers and unpriced:  # the fewest accelerators, whatever they cost
        priced, unpriced, found = unpriced, [], search(problem, unpriced)
    if not found.offers:
        return _infeasible(problem, reaches, besides)

    # The best of each kind, and the bounds of accelerators that were never simulated.
    ranked = _best_of_each_kind(found.offers)
    best = ranked[0]
    rows = [offer_row(offer, verdict(offer, best)) for offer in ranked]
    unsure = _unsure_offers(found) if best.is_sure else []
    out = {offer.candidate.deployment.cluster.name for offer in (*ranked, *unsure)}
    bounded = _bounded_rows(problem, priced, out)
    rows += [row for row in bounded if row.verdict != UNSURE]
    rows += [offer_row(offer, verdict(offer, best)) for offer in _fewest(problem, unpriced)]
    rows = with_prices_to_win(rows)
    rows += [offer_row(offer, verdict(offer, best)) for offer in unsure]
    rows += [row for row in bounded if row.verdict == UNSURE]

    # What costs less with two kinds, and what runs now.
    mix = best_mix(found.offers, best) if best.candidate.is_priced else None
    runner_up = rows[1] if len(ranked) > 1 else None
    if mix is not None:
        rows.insert(1, mix.row(best))
    marks = {"buy": 0}
    if runner_up is not None:
        marks["runner-up"] = rows.index(runner_up)
    today = None if besides.today is None else besides.today.offer(problem)
    flags = None if today is None else other_flags(today, found.offers)
    if today is not None:
        rows.append(offer_row(today, "today"))

    # The doubt, and what a measurement would take from it.
    weighed: list[Benchmark] = []
    doubt_usd = 0.0
    if best.is_sure and best.candidate.is_priced:
        rivals = _rivals(problem, found, priced, best)
        even_usd = min(map(_even_usd, rivals))
        weighed = benchmarks(rivals, best.usd_per_hour, even_usd)
        doubt_usd = max(best.usd_per_hour - even_usd, 0.0) * MONTH_H
    first = weighed[0] if weighed and weighed[0].saving_usd_per_month > weighed[0].usd else None

    # All of it in words.
    if or_api:
        besides = _with_api(besides, problem, rows[0])
    parts = [
        sentence(best, rows[0], besides),
        *doubt_parts(best, doubt_usd, first),
        *([] if mix is None else [mix.words(best)]),
        *other_parts(best, rows[0], besides),
        *([] if today is None else [today_words(today, flags)]),
    ]
    report = Report(
        kind="plan",
        title="; ".join(parts),
        question=_question(problem),
        rows=tuple(rows),
        marks=marks,
        notes=(
            *notes(best, first, reaches, besides),
            *price_notes(rows),
            *today_notes(besides.today, flags),
        ),
        sources=sources_of(best.candidate.deployment),
        charts=(CHART,),
    )
    return Plan(
        problem=problem,
        best=rows[0],
        runner_up=runner_up,
        cost_of_doubt=doubt_usd,
        measure_first=first,
        benchmarks=tuple(weighed),
        mixed=mix,
        report=report,
        offers=tuple(ranked),
        layouts=_layouts(priced, best),
    )


def _best_of_each_kind(offers: Sequence[Offer]) -> list[Offer]:
    """Return the first offer of every accelerator, engine and format."""
    first: dict[object, Offer] = {}
    for offer in offers:
        first.setdefault(offer.candidate.kind, offer)
    return list(first.values())


def _unsure_offers(found: Found) -> list[Offer]:
    """Return at even odds the first fleet of every accelerator of which none is sure enough."""
    names = {offer.candidate.deployment.cluster.name for offer in found.offers}
    offers = []
    for fleet in found.unsure:
        name = fleet.candidate.deployment.cluster.name
        if name not in names and (offer := offer_of(fleet, math.inf)) is not None:
            names.add(name)
            offers.append(offer)
    return offers


def _bounded_rows(
    problem: Problem, options: Sequence[Candidate], accelerators: set[str]
) -> list[PlanRow]:
    """Return the cheapest bound of every accelerator of which nothing was simulated."""
    rows: dict[str, PlanRow] = {}
    for candidate in sorted(options, key=lambda c: (c.least_usd_per_hour, c.likely_usd_per_hour)):
        name = candidate.deployment.cluster.name
        if name not in accelerators:
            rows.setdefault(name, bounded_row(candidate, problem))
    return list(rows.values())


def _layouts(options: Sequence[Candidate], best: Offer) -> tuple[Candidate, ...]:
    """Return the best layout, and those of its kind that cost less if predictions are right."""
    rivals = [
        option
        for option in options
        if option.kind == best.candidate.kind
        and option is not best.candidate
        and option.likely_usd_per_hour < best.usd_per_hour
    ]
    rivals.sort(key=lambda option: option.likely_usd_per_hour)
    return (best.candidate, *rivals[: MAX_RIVALS - 1])


def _fewest(problem: Problem, unpriced: Sequence[Candidate]) -> list[Offer]:
    """Return for each accelerator without a price the offer with the fewest of them."""
    by_name: dict[str, list[Candidate]] = {}
    for candidate in unpriced:
        by_name.setdefault(candidate.deployment.cluster.name, []).append(candidate)
    found = (search(problem, options).offers for options in by_name.values())
    return [offers[0] for offers in found if offers]


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
        price = "${:,.2f}/h" if any(c.is_priced for c in problem.clusters) else "{:,.0f} of them"
        words = "; ".join(f"{objective} for {price.format(usd)}" for objective, usd in near)
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
