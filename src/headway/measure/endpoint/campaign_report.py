"""A campaign against an endpoint from the first dollar to its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headway.errors import InputError
from headway.measure.endpoint.budget import FREE, Budget, TokenPrice
from headway.measure.endpoint.endpoint import Address, Endpoint
from headway.measure.endpoint.ledger import Ledger
from headway.measure.endpoint.probe import Probe
from headway.measure.endpoint.probing import Campaign, Outcome, Plan, failure_text, seen
from headway.measure.interval import Interval
from headway.measure.trials import lower_envelope
from headway.report.report import Report, Row


@dataclass(frozen=True, slots=True)
class Order:
    """What to ask of whom, where to keep it, and how much it may cost.

    ``price`` is ``None`` where it is not known; then only requests are limited.
    """

    address: Address
    plan: Plan
    out: Path
    max_requests: int
    max_usd: float | None
    price: TokenPrice | None

    def budget(self) -> Budget:
        """A budget of which nothing is spent."""
        return Budget(self.max_requests, self.max_usd, self.price or FREE)


@dataclass(frozen=True, slots=True)
class Campaigned:
    """How it ended, what was spent in all, and everything that was seen."""

    outcome: Outcome
    budget: Budget
    probes: tuple[Probe, ...]
    pings_s: tuple[float, ...]


def expected_cost(order: Order) -> str:
    """The sentence to show before anything is spent."""
    count, limit = order.plan.num_requests, order.max_requests
    asked = f"{count} requests to {order.address.url} (at most {limit} with retries)"
    if order.price is None:
        return f"{asked}; their price is not known: give --prompt-price and --output-price"
    usd = order.plan.expected_usd(order.budget())
    limit_usd = "" if order.max_usd is None else f", and never more than ${order.max_usd:g}"
    return f"{asked}, about ${usd:.4f}{limit_usd}"


def run_campaign(order: Order, notice: Callable[[str], object] = lambda text: None) -> Campaigned:
    """Ask, or go on asking; raise `InputError` where not a single answer was complete."""

    def heard(probe: Probe) -> None:
        if not probe.complete:
            notice(f"{probe.id}: {failure_text(probe)}")

    budget = order.budget()
    subject = f"{order.address.model} at {order.address.url}"
    with Ledger(order.out) as ledger, Endpoint(order.address) as endpoint:
        campaign = Campaign(order.plan, ledger, budget, subject, notice=heard)
        outcome = campaign.run(endpoint)
        probes, pings = seen(ledger.entries)
    if not outcome.num_complete:
        why = outcome.stopped or (failure_text(probes[-1]) if probes else "nothing was asked")
        raise InputError(f"no answer of {subject} was complete; {why}")
    return Campaigned(outcome, budget, tuple(probes), tuple(pings))


def campaign_report(order: Order, done: Campaigned) -> Report:
    """Floors, means and doubts per prompt size; notes say what failed and what was spent."""
    by_size: dict[int, list[Probe]] = {}
    for probe in done.probes:
        if probe.complete:
            by_size.setdefault(int(probe.id.split("/")[1]), []).append(probe)
    model = order.address.model
    rows: list[Row] = [
        {"model": model, **_row(size, group)} for size, group in sorted(by_size.items())
    ]
    notes = []
    if done.outcome.stopped:
        notes.append(f"stopped early: {done.outcome.stopped}; run the same command to go on")
    failed = [probe for probe in done.probes if not probe.complete]
    for kind in sorted({str(probe.failure) for probe in failed}):
        these = [probe for probe in failed if probe.failure == kind]
        notes.append(f"{len(these)} requests failed ({kind}), the last: {these[-1].said}")
    complete = [probe for probe in done.probes if probe.complete]
    if any(probe.usage.output_tokens is None for probe in complete):
        notes.append("the endpoint reports no usage: chunks are counted as tokens")
    cached = sum(1 for probe in complete if probe.usage.cached_tokens)
    if cached:
        notes.append(f"{cached} prompts were cached in part, though no two begin alike")
    if any(probe.usage.reasoning_tokens for probe in complete):
        notes.append("the model spends reasoning tokens, which count as output")
    spent = done.budget.spent_requests
    notes.append(
        f"spent: {spent} requests"
        + ("" if order.price is None else f", ${done.budget.spent_usd:.4f}")
    )
    ping = lower_envelope(done.pings_s).floor_s if done.pings_s else None
    return Report(
        "probes",
        f"{order.address.model} at {order.address.url}",
        {
            "endpoint": order.address.url, "model": order.address.model,
            "max_tokens": order.plan.max_tokens, "trials": order.plan.trials,
            "ledger": str(order.out), "requests": spent,
            "spent_usd": None if order.price is None else done.budget.spent_usd,
            "round_trip_s": None if ping is None else ping.expected,
        },
        tuple(rows),
        notes=tuple(notes),
    )  # fmt: skip


def _row(size: int, group: list[Probe]) -> Row:
    first = lower_envelope([probe.ttft_s or 0.0 for probe in group]).floor_s
    timed = [probe for probe in group if len(probe.chunks_s) > 1]
    means = [probe.mean_tpot_s for probe in group if probe.mean_tpot_s is not None]
    step = _step(timed) if timed else None
    counted = [p.usage.prompt_tokens for p in group if p.usage.prompt_tokens is not None]
    return {
        "asked_prompt_tokens": size,
        "prompt_tokens": sum(counted) / len(counted) if counted else None,
        "answers": len(group),
        "ttft_s": first.expected,
        "ttft_s_lower": first.lower,
        "ttft_s_upper": first.upper,
        "mean_ttft_s": sum(probe.ttft_s or 0.0 for probe in group) / len(group),
        "tpot_s": step.expected if step else None,
        "tpot_s_lower": step.lower if step else None,
        "tpot_s_upper": step.upper if step else None,
        "mean_tpot_s": sum(means) / len(means) if means else None,
    }


def _step(group: list[Probe]) -> Interval:
    """Undisturbed seconds per token: from the floors of the first and of the last token."""
    first = lower_envelope([probe.chunks_s[0] for probe in group]).floor_s
    last = lower_envelope([probe.calm_s for probe in group]).floor_s
    tokens = [(len(probe.chunks_s) - 1) * probe.tokens_per_chunk for probe in group]
    further = sum(tokens) / len(tokens)
    ends = (last.lower - first.upper, last.expected - first.expected, last.upper - first.lower)
    lower, expected, upper = (max(end, 0.0) / further for end in ends)
    return Interval(lower, expected, upper)
