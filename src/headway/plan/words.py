"""A plan in words: the one sentence, why each fleet lost, and what a reader must know besides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headway.hardware.price import unlike_kinds
from headway.plan.api import ApiOffer
from headway.plan.candidate import Reach
from headway.plan.fleet import MAX_SIMULATED
from headway.plan.infeasible import killed
from headway.plan.measure_first import Benchmark
from headway.plan.now import Today
from headway.plan.problem import Problem
from headway.plan.row import UNSURE, PlanRow
from headway.plan.search import Offer
from headway.units import MONTH_H


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Besides:
    """What a plan says beyond the fleet.

    Attributes:
        unpriced: accelerators that were left out for want of a price.
        growth: of the demand, per month.
        api: APIs for the same requests, cheapest first.
        budget_volume: of the demand that was asked, what a budget serves; ``None`` without one.
        has_api: whether APIs were asked about.
        today: what runs now; ``None`` where that was not said.

    """

    unpriced: Sequence[str] = ()
    growth: float = 0.0
    api: Sequence[ApiOffer] = ()
    has_api: bool = False
    budget_volume: float | None = None
    today: Today | None = None


def verdict(offer: Offer, best: Offer) -> str:
    """Say why an offer is bought or not."""
    if offer is best:
        return "buy" if offer.is_sure else "cheapest at even odds"
    if not offer.is_sure:
        return UNSURE
    if not offer.candidate.is_priced:
        num_accelerators = offer.replicas * offer.candidate.num_accelerators
        if best.candidate.is_priced:
            limit_usd = best.usd_per_hour / num_accelerators
            return f"no price: cheapest below ${limit_usd:.2f} each"
        return f"{num_accelerators} without a price"
    more_usd = (offer.usd_per_hour - best.usd_per_hour) * MONTH_H
    return f"${more_usd:,.0f} a month more" if more_usd > 0 else "as dear, less sure"


def sentence(best: Offer, row: PlanRow, besides: Besides) -> str:
    """Return what to buy, in one sentence."""
    problem = best.fleet.problem
    start = "Buy" if best.is_sure else f"No fleet is {problem.sure:.0%} sure; at even odds buy"
    if besides.budget_volume is not None:
        start = f"The budget serves {problem.demand.words}: buy"
    price = "at a price that is not known"
    if row.usd_per_hour is not None:
        price = f"for ${row.usd_per_hour:,.2f}/h, ${row.usd_per_month:,.0f} a month"
    return (
        f"{start} {row.num_accelerators} x {row.accelerator} ({row.replicas} x {row.layout}, "
        f"{row.engine or 'data sheet'}) {price}: all objectives are met with probability "
        f"{best.probability:.0%}"
    )


def doubt_parts(best: Offer, doubt_usd: float, first: Benchmark | None) -> list[str]:
    """Return what the doubt costs, and what to measure before."""
    parts = []
    if doubt_usd > 0:
        sure = best.fleet.problem.sure
        parts.append(f"being {sure:.0%} sure instead of even odds costs ${doubt_usd:,.0f} of it")
    if first is not None:
        parts.append(
            f"measure {first.num_accelerators} x {first.accelerator} ({first.layout}, "
            f"{first.engine or 'data sheet'}) first: {first.duration_s / 60:g} minutes for "
            f"${first.usd:,.2f} save ${first.saving_usd_per_month:,.0f} a month in the mean"
        )
    return parts


def other_parts(best: Offer, row: PlanRow, besides: Besides) -> list[str]:
    """Return what else would serve, and until when it is enough."""
    parts = []
    if besides.api and row.usd_per_month is not None:
        share = row.usd_per_month / besides.api[0].usd_per_month
        parts.append(
            f"the cheapest API ({besides.api[0].provider}) costs "
            f"${besides.api[0].usd_per_month:,.0f} a month and is cheaper below {share:.0%} of "
            "this load"
        )
    if besides.growth > 0:
        months = math.log1p(best.headroom) / math.log1p(besides.growth)
        parts.append(
            f"at {besides.growth:.0%} more a month the fleet is full in {months:.0f} months"
        )
    return parts


def notes(
    best: Offer, first: Benchmark | None, reaches: Sequence[Reach], besides: Besides
) -> list[str]:
    """Return what a reader must know besides the rows."""
    lines = [
        asked(best.fleet.problem),
        "times are simulated with the step times as predicted; probabilities are over what these "
        "may be off; 'at least' is a bound, not simulated",
        f"start with max_num_seqs {best.candidate.deployment.limits.max_num_seqs}",
    ]

    # What it costs, and which of one's own accelerators it leaves unused.
    cluster = best.candidate.deployment.cluster
    lines.append(f"{cluster.name}: {cluster.price or 'no price is known; give one with --price'}")
    unlike = unlike_kinds({one.name: one.price for one in best.fleet.problem.clusters})
    if unlike is not None:
        lines.append(unlike)
    spare = cluster.num_accelerators - best.replicas * best.candidate.num_accelerators
    if cluster.num_accelerators < cluster.links[-1].domain_size and spare > 0:
        lines.append(
            f"of the {cluster.num_accelerators} {cluster.name} that there are, {spare} are not "
            "needed: the objectives hold without them"
        )

    # Whose step times these are, how the fleet was chosen, and what to do next.
    own_words = best.candidate.deployment.own_words
    if own_words is not None:
        lines.append(f"{cluster.name}: {own_words}")
    if best.replicas > MAX_SIMULATED:
        lines.append(f"a part of {MAX_SIMULATED} replicas is simulated with its share")
    if first is not None:
        lines.append(f"measure first: {first.command}")
        lines.append(f"then: {first.calibrate}, and --calibration headway-calibration.json here")
    if besides.has_api and not besides.api:
        lines.append(f"no API in the price lists serves {best.fleet.problem.model.name}")
    return lines + left_out(reaches, besides.unpriced)


def left_out(reaches: Sequence[Reach], unpriced: Sequence[str]) -> list[str]:
    """Say what rules accelerators out."""
    lines = []
    if unpriced:
        others = f" and {len(unpriced) - 6} others" if len(unpriced) > 6 else ""
        lines.append(f"no price is known for {', '.join(unpriced[:6])}{others}")
    return lines + [f"{names}: {reason}" for names, reason in killed(reaches).items()]


def asked(problem: Problem) -> str:
    """Return the question in a line."""
    demand = problem.demand
    return (
        f"{problem.model.name} for {demand.words}: {demand.prompt_tokens:,.0f} tokens in, "
        f"{demand.output_tokens:,.0f} out in the mean; {', '.join(map(str, problem.objectives))}"
    )
