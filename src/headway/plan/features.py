"""What each feature of an engine is worth for a demand: the best fleet with it and without."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from headway.errors import InputError
from headway.model.precision import Precision
from headway.plan.drafted import own_drafts
from headway.plan.fleet import Fleet
from headway.plan.search import Offer, offer_of
from headway.plan.users import Users
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.schedule.route import LEAST_LOADED
from headway.steptime.placed_model import Drafting
from headway.units import MONTH_H

SAME = 0.02  # relative difference of price and tails below which there is none


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One feature, changed alone on the fleet that is bought."""

    feature: str = column("feature", "what is changed, all else as it is")
    replicas: int | None = column("replicas", "for the asked certainty", default=None)
    usd_per_month: float | None = column("$/month", "of all replicas", default=None)
    saving_usd_per_month: float | None = column(
        "saves $/month", "over the fleet as it is", default=None
    )
    tail_ratio: Estimate | None = column(
        "tail",
        "worst statistic over its bound, against the fleet as it is, same replicas; range "
        "over seeds",
        default=None,
    )
    verdict: str = column("verdict", "in words", default="")


def features(best: Offer) -> list[FeatureRow]:
    """Return the features that can be had for the fleet of ``best``, most saving first."""
    rows = [_row(best, words, fleet) for words, fleet in _variants(best)]
    return sorted(rows, key=lambda row: -(row.saving_usd_per_month or -math.inf))


def _variants(best: Offer) -> Iterator[tuple[str, Fleet]]:
    """Yield every feature in words, with a fleet that has it."""
    problem, candidate = best.fleet.problem, best.candidate
    deployment, limits = candidate.deployment, candidate.deployment.limits

    for tokens in (2048, 16_384):
        changed = replace(limits, max_num_batched_tokens=tokens)
        yield (
            f"chunks of {tokens:,} instead of {limits.max_num_batched_tokens:,} tokens",
            Fleet(problem, replace(candidate, deployment=deployment.with_limits(changed))),
        )
    for drafting in own_drafts(deployment.model):
        if _drafted(drafting) != _drafted(deployment.drafting):
            other = deployment.with_drafting(drafting)
            words = (
                f"{_drafted(drafting)} tokens drafted instead of {_drafted(deployment.drafting)}"
            )
            yield words, Fleet(problem, replace(candidate, deployment=other))
    for text in ("fp8", "fp8/fp8/fp8"):
        try:
            precision = Precision.parse(text)
            other = replace(deployment, precision=precision)
        except InputError:
            continue  # this chip or engine does not have the format
        if str(other.precision) != str(deployment.precision):
            words = f"{other.precision} (weights/activations/KV cache; its quality loss is unknown)"
            yield words, Fleet(problem, replace(candidate, deployment=other))
    if isinstance(problem.demand, Users) and problem.demand.turns > 1:
        plain = replace(problem.demand, placement_rule=LEAST_LOADED)
        yield "without prefix-affine routing", Fleet(replace(problem, demand=plain), candidate)


def _drafted(drafting: Drafting | None) -> int:
    return 0 if drafting is None else int(drafting.tokens)


def _row(best: Offer, words: str, fleet: Fleet) -> FeatureRow:
    offer = offer_of(fleet, math.inf)
    if offer is None or not offer.is_sure:
        return FeatureRow(feature=words, verdict="no number is sure enough")
    saving = (best.usd_per_hour - offer.usd_per_hour) * MONTH_H
    tail = _tail_ratio(best.fleet, fleet, best.even_replicas)

    is_same = abs(saving) < SAME * best.usd_per_hour * MONTH_H and tail.lower <= 1 <= tail.upper
    if is_same:
        verdict = "no difference"
    elif saving > 0:
        verdict = f"saves ${saving:,.0f} a month"
    elif saving < 0:
        verdict = f"costs ${-saving:,.0f} a month"
    else:
        verdict = (
            "shorter tails" if tail.upper < 1 else "longer tails" if tail.lower > 1 else "same"
        )
    return FeatureRow(
        feature=words,
        replicas=offer.replicas,
        usd_per_month=offer.usd_per_hour * MONTH_H,
        saving_usd_per_month=saving,
        tail_ratio=tail,
        verdict=verdict,
    )


def _tail_ratio(base: Fleet, other: Fleet, replicas: int) -> Estimate:
    """Return the ratio of the worst statistics, paired by seed."""
    seeds = range(max(base.problem.seeds, 2))
    ratios = [
        math.exp(other.margin(replicas, seed) - base.margin(replicas, seed)) for seed in seeds
    ]
    return Estimate(sum(ratios) / len(ratios), min(ratios), max(ratios))
