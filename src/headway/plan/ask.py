"""A plan as people ask for it: texts become objects here, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headway.errors import InputError
from headway.hardware.catalogue import ALL, find_clusters
from headway.hardware.cluster import Cluster
from headway.hardware.price import PriceBook
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model, find_precision
from headway.model.precision import Precision
from headway.plan.answer import Plan
from headway.plan.asked_demand import demand_of
from headway.plan.budget import within_budget
from headway.plan.demand import SHAPE
from headway.plan.drafted import own_drafts
from headway.plan.engine_flags import read_arguments
from headway.plan.now import Today
from headway.plan.problem import DEFAULT_SLO, Problem, check_priced
from headway.plan.solve import solve
from headway.plan.words import Besides
from headway.steptime.calibration import Calibration, shipped
from headway.units import check_positive, parse_time_s
from headway.user_file import read_text
from headway.workload.objective import Objective, parse_objectives
from headway.workload.oracle import Trace

USUAL_USERS = 100  # where only a budget says how many


def plan(
    model: str | ModelArchitecture | None = None,
    *,
    users: int | None = None,
    think: str | float = 30.0,
    turns: int = 1,
    rate: float | None = None,
    trace: str | Path | Trace | None = None,
    prometheus: str | Path | None = None,
    workload: str | None = None,
    prompt: float | None = None,
    output: float | None = None,
    lengths: str = SHAPE,
    slo: str | Sequence[Objective] = DEFAULT_SLO,
    on: str | Sequence[str | Cluster] = "all",
    precision: str | Precision | None = None,
    engine: str | None = None,
    price: float | None = None,
    prices: PriceBook | None = None,
    sure: float = 0.9,
    survive: int = 0,
    budget: float | None = None,
    growth: float = 0.0,
    or_api: bool = False,
    now: str | Path | None = None,
    replicas: int = 1,
    apart: bool = False,
    seeds: int = 5,
    calibration: Calibration | None = None,
) -> Plan:
    """Return the cheapest fleet that meets the objectives with the asked probability.

    Args:
        model: what is served: a name, a hub's name, or the object; that of ``now`` if not given.
        users: people in a closed loop, each of whom thinks between an answer and the next turn.
        think: seconds, in the mean, or text such as ``30s``.
        turns: of a conversation, which a prompt carries along.
        rate: requests per second, whatever becomes of them.
        trace: requests as they came: a file, a gateway's record, or the object.
        prometheus: what engines counted: a file with an answer of Prometheus's query_range.
        workload: the name of a profile, for ``rate`` or at its own.
        prompt: tokens that a user sends, in the mean; 2000 where nothing is said.
        output: tokens of an answer, in the mean; 400 where nothing is said.
        lengths: the profile as whose lengths these vary, or ``fixed``.
        slo: objectives, such as ``ttft p95 < 1s, tpot p95 < 33ms``.
        on: accelerators: names, ``8xh100`` for as many as there are, ``all``, or objects.
        precision: number formats; as the model was published where not given.
        engine: the only serving engine considered.
        price: dollars per accelerator-hour instead of a quote.
        prices: quotes, instead of those that come with Headway.
        sure: probability with which all objectives must be met, from 0.5 on.
        survive: replicas that may fail at once.
        budget: dollars per hour: the answer is how much of the demand they serve.
        growth: of the demand, as a fraction per month: the answer says when the fleet is full.
        or_api: compare with the price lists of APIs (extra ``api``).
        now: a file with the command line that runs today, on the first of ``on``.
        replicas: of what runs today.
        apart: consider prefill and decode on engines of their own, too.
        seeds: runs that decide close calls.
        calibration: what was measured of engines; what ships with Headway by default.

    Raises:
        InputError: a name is not known, or arguments do not go together.

    """
    if not 0 <= growth <= 10:
        raise InputError(f"growth must be a fraction per month, such as 0.08, not {growth:g}")
    if (
        budget is not None
        and users is None
        and rate is None
        and trace is None
        and prometheus is None
    ):
        users = USUAL_USERS if workload is None else None

    # Text becomes objects, once.
    clusters, unpriced = _clusters(on, price, prices)
    today = None
    if now is not None:
        check_priced(clusters[0])
        check_positive(replicas, "replicas of what runs today", maximum=100_000)
        started = read_arguments(read_text(now, "a file with a command line"), clusters[0])
        today = Today(started, replicas)
        if model is None:
            model, precision = started.deployment.model, precision or started.deployment.precision
    if model is None:
        raise InputError("say which model, such as llama-3.1-8b")
    architecture = find_model(model) if isinstance(model, str) else model
    objectives = parse_objectives(slo) if isinstance(slo, str) else tuple(slo)
    if isinstance(precision, str):
        precision = Precision.parse(precision)
    elif precision is None and isinstance(model, str):
        precision = find_precision(model)

    problem = Problem(
        model=architecture,
        demand=demand_of(
            users=users,
            think_s=parse_time_s(think, "think", zero=True) if isinstance(think, str) else think,
            turns=turns,
            rate=rate,
            trace=trace,
            prometheus=prometheus,
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
        drafts=tuple(own_drafts(architecture)),
        apart=apart,
        engine=engine,
        sure=sure,
        survive=survive,
        seeds=seeds,
        calibration=shipped() if calibration is None else calibration,
    )
    volume = None
    if budget is not None:
        check_priced(next((c for c in clusters if c.is_priced), clusters[0]))
        affordable = within_budget(problem, budget)
        problem, volume = affordable.problem, affordable.volume
    besides = Besides(unpriced=unpriced, growth=growth, budget_volume=volume, today=today)
    return solve(problem, besides, or_api=or_api)


def _clusters(
    on: str | Sequence[str | Cluster], price: float | None, prices: PriceBook | None
) -> tuple[tuple[Cluster, ...], tuple[str, ...]]:
    """Return the accelerators that may be bought, and the names of those that are left out.

    Of all there are, those with a price; one that is named is considered without, too.
    """
    if isinstance(on, str):
        clusters = find_clusters(on, price, prices)
    else:
        clusters = tuple(
            one
            for item in on
            for one in (
                (item,) if isinstance(item, Cluster) else find_clusters(item, price, prices)
            )
        )
    if on != ALL:
        return clusters, ()
    priced = tuple(cluster for cluster in clusters if cluster.is_priced)
    return priced, tuple(cluster.name for cluster in clusters if not cluster.is_priced)
