"""A campaign against an endpoint from the first dollar to its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headway.errors import InputError
from headway.measure.endpoint.budget import Budget
from headway.measure.endpoint.campaign import Campaign, Outcome, Plan, probes_and_pings
from headway.measure.endpoint.endpoint import Address, Endpoint
from headway.measure.endpoint.ledger import Ledger
from headway.measure.endpoint.probe import Probe
from headway.measure.trials import Interval, lower_envelope
from headway.report.chart import Chart
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.report.report import Report


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """What was seen of one prompt size."""

    model: str = column("model", "as the endpoint calls it", detail=True)
    planned_tokens: int = column("planned", "prompt tokens that were wanted", detail=True)
    prompt_tokens: float | None = column("prompt", "prompt tokens, mean of the endpoint's counts")
    num_answers: int = column("answers", "complete ones")
    ttft_s: Estimate = column(
        "first token", "undisturbed time to the first token", unit="ms", scale=1e3
    )
    mean_ttft_s: float = column("mean", "time to the first token, mean", unit="ms", scale=1e3)
    tpot_s: Estimate | None = column(
        "per token", "undisturbed time per further token", unit="ms", scale=1e3
    )
    mean_tpot_s: float | None = column("mean", "time per further token", unit="ms", scale=1e3)


CHART = Chart(
    x="planned_tokens",
    y="ttft_s",
    series="model",
    legend="lower envelope over the trials  ·  bars: what it lies between (90%)",
    x_label="prompt tokens",
    y_label="undisturbed time to first token",
    intervals=True,
)


def expected_cost(address: Address, plan: Plan, budget: Budget) -> str:
    """Return the sentence to show before anything is spent."""
    requests = (
        f"{plan.num_requests} requests to {address.url} (at most {budget.max_requests} with "
        "retries)"
    )
    if budget.price is None:
        return f"{requests}; their price is not known: give --prompt-price and --output-price"

    limit = "" if budget.max_usd is None else f", and never more than ${budget.max_usd:g}"
    return f"{requests}, about ${plan.expected_usd(budget):.4f}{limit}"


def profile_endpoint(
    address: Address,
    plan: Plan,
    *,
    budget: Budget,
    ledger_path: Path,
    notice: Callable[[str], object] = lambda sentence: None,
) -> Report[ProbeRow]:
    """Ask an endpoint, or go on asking, and report floors, means and doubts per prompt size.

    Args:
        address: whom to ask.
        plan: what to ask.
        budget: never exceeded, kills included.
        ledger_path: where every request and answer is kept; the same campaign goes on there.
        notice: hears of every failure.

    Raises:
        InputError: not a single answer was complete, or the ledger is of another campaign.

    """

    def report_failure(probe: Probe) -> None:
        if not probe.complete:
            notice(f"{probe.id}: {probe.failure_text}")

    subject = f"{address.model} at {address.url}"
    with Ledger(ledger_path) as ledger, Endpoint(address) as endpoint:
        campaign = Campaign(plan, ledger, budget, subject, notice=report_failure)
        outcome = campaign.run(endpoint)
        probes, pings_s = probes_and_pings(ledger.entries)
    if not outcome.num_complete:
        why = outcome.stopped or (probes[-1].failure_text if probes else "nothing was asked")
        raise InputError(f"no answer of {subject} was complete; {why}")

    by_size: dict[int, list[Probe]] = {}
    for probe in probes:
        if probe.complete:
            by_size.setdefault(probe.planned_tokens, []).append(probe)
    return Report(
        kind="probes",
        title=subject,
        question={
            "endpoint": address.url,
            "model": address.model,
            "max_tokens": plan.max_tokens,
            "trials": plan.trials,
            "ledger": str(ledger_path),
            "requests": budget.spent_requests,
            "spent_usd": None if budget.price is None else budget.spent_usd,
            "round_trip_s": lower_envelope(pings_s).floor_s.expected if pings_s else None,
        },
        rows=tuple(_row(address.model, size, group) for size, group in sorted(by_size.items())),
        notes=_notes(outcome, probes, budget),
        charts=(CHART,),
    )


def _row(model: str, planned_tokens: int, probes: Sequence[Probe]) -> ProbeRow:
    ttfts_s = [probe.ttft_s or 0.0 for probe in probes]
    mean_tpots_s = [p.mean_tpot_s for p in probes if p.mean_tpot_s is not None]
    counts = [p.usage.prompt_tokens for p in probes if p.usage.prompt_tokens is not None]
    several = [probe for probe in probes if len(probe.chunks_s) > 1]
    return ProbeRow(
        model=model,
        planned_tokens=planned_tokens,
        prompt_tokens=sum(counts) / len(counts) if counts else None,
        num_answers=len(probes),
        ttft_s=lower_envelope(ttfts_s).floor_s.estimate(0.9),
        mean_ttft_s=sum(ttfts_s) / len(ttfts_s),
        tpot_s=_tpot_s(several).estimate(0.9) if several else None,
        mean_tpot_s=sum(mean_tpots_s) / len(mean_tpots_s) if mean_tpots_s else None,
    )


def _tpot_s(probes: Sequence[Probe]) -> Interval:
    """Return undisturbed seconds per token: from the floors of the first and of the last token."""
    first = lower_envelope([probe.chunks_s[0] for probe in probes]).floor_s
    last = lower_envelope([probe.calm_s for probe in probes]).floor_s
    tokens = [(len(probe.chunks_s) - 1) * probe.tokens_per_chunk for probe in probes]
    further = sum(tokens) / len(tokens)

    return Interval(
        max(last.lower - first.upper, 0.0) / further,
        max(last.expected - first.expected, 0.0) / further,
        max(last.upper - first.lower, 0.0) / further,
    )


def _notes(outcome: Outcome, probes: Sequence[Probe], budget: Budget) -> tuple[str, ...]:
    notes = []
    if outcome.stopped:
        notes.append(f"stopped early: {outcome.stopped}; run the same command to go on")
    by_kind: dict[str, list[Probe]] = {}
    for probe in probes:
        if not probe.complete:
            by_kind.setdefault(str(probe.failure), []).append(probe)
    for kind, failures in sorted(by_kind.items()):
        notes.append(f"{len(failures)} requests failed ({kind}), the last: {failures[-1].message}")

    complete = [probe for probe in probes if probe.complete]
    if any(probe.usage.output_tokens is None for probe in complete):
        notes.append("the endpoint reports no usage: chunks are counted as tokens")
    if num_cached := sum(1 for probe in complete if probe.usage.cached_tokens):
        notes.append(f"{num_cached} prompts were cached in part, though no two begin alike")
    if any(probe.usage.reasoning_tokens for probe in complete):
        notes.append("the model spends reasoning tokens, which count as output")

    spent_usd = "" if budget.price is None else f", ${budget.spent_usd:.4f}"
    notes.append(f"spent: {budget.spent_requests} requests{spent_usd}")
    return tuple(notes)
