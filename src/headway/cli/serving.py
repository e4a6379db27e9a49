"""What `estimate --engine` and `explain` share: a load is a question, an answer a report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headway.cli.options import asked, only
from headway.cli.show import number
from headway.errors import InputError
from headway.frontier.answer import precision_notes, sources
from headway.money.tariff import Tariff
from headway.report.report import Report, Row, Value
from headway.serving.estimate import ServingEstimate, ServingQuestion, answer
from headway.serving.one_engine import (
    MAX_NUM_BATCHED_TOKENS,
    MAX_NUM_SEQS,
    UNMIXED,
    Limits,
    Load,
    as_run,
)
from headway.serving.token_prices import ApiPrices, token_prices
from headway.steptime.acceptance import acceptance_of
from headway.steptime.calibration import read_calibration, shipped
from headway.steptime.deployment import Deployment, smallest_tensor_parallel
from headway.steptime.parallelism import Parallelism
from headway.steptime.work import Array


def question_of(
    load: dict[str, Any], layout: Parallelism | None, options: dict[str, Any]
) -> tuple[ServingQuestion, Tariff, list[str]]:
    """Turn the options into a question, what an hour costs, and notes.

    Without a ``layout``, the fewest tensor-parallel ranks that hold the model are taken.
    """
    for name, flag in (("isl", "--isl"), ("osl", "--osl"), ("concurrency", "--concurrency")):
        if load[name] is None:
            raise InputError(f"{flag} is needed with --engine")
    given = asked(**options)
    cluster, question = only(given.clusters), given.question
    longest = load["isl"] + load["osl"]
    most = question.model.max_context_tokens
    if most is not None and longest > most:
        raise InputError(f"{question.model.name} takes at most {most} tokens, not {longest:g}")
    if cluster.price_usd_per_accelerator_hour is None:
        raise InputError(f"no price is known for {cluster.name}; give one with --price")
    path = load["calibration_path"]
    calibration = shipped() if path is None else read_calibration(path)
    calibration.check_engine(load["engine"])
    precision = as_run(question.precision, cluster.accelerator)
    if layout is None:
        layout = smallest_tensor_parallel(cluster, question.model, precision, longest)
    deployment = Deployment(cluster, question.model, precision, layout, question.assumptions)
    limits = Limits(
        int(load["max_num_seqs"] or MAX_NUM_SEQS),
        int(load["max_num_batched_tokens"] or MAX_NUM_BATCHED_TOKENS),
        mixes=load["engine"] not in UNMIXED,
    )
    drafted = int(load["draft_tokens"] or 0)
    if drafted and question.speculation is None:
        raise InputError("--draft-tokens needs --speculate, such as --speculate mtp")
    if question.speculation is not None and not drafted:
        drafted = 1
    notes = precision_notes(question, cluster)
    if drafted and question.speculation is not None and question.speculation.spread:
        known = acceptance_of(question.model)
        notes.append(
            f"acceptance is assumed, {known.first:g} for the first drafted token: {known.source}"
        )
    return (
        ServingQuestion(
            deployment,
            load["engine"],
            load_of(load, max(load["concurrency"])),
            limits,
            question.speculation,
            drafted,
            calibration,
        ),
        Tariff(
            cluster.price_usd_per_accelerator_hour,
            load["duty_cycle"],
            load["usd_per_kwh"],
            load["pue"],
        ),
        notes,
    )


def serving_report(
    question: ServingQuestion, tariff: Tariff, load: dict[str, Any], notes: list[str]
) -> Report:
    """The answer to one load, or to the same at several concurrencies, one row each."""
    d, users = question.deployment, load["concurrency"]
    rows, notes = [], list(notes)
    for level in users:
        one = replace(question, load=load_of(load, level))
        found = answer(one)
        rows.append(serving_row(one, found, tariff, api_prices(load)))
        if float(found.table.seats) < level:
            notes.append(
                f"only {number(float(found.table.seats))} of {number(level)} requests run at "
                "once; the others queue"
            )
    furthest = max(float(row["outside_octaves"] or 0) for row in rows)
    if furthest > 0:
        notes.append(
            f"{'up to ' * (len(rows) > 1)}{number(furthest)} doublings outside the measured range: "
            "the interval is wider for it"
        )
    return Report(
        kind="estimate" if len(rows) == 1 else "serving",
        title=f"{d.model.name} in {d.precision} on {d.cluster.name} with {question.engine}, "
        f"{load['isl']:g} in, {load['osl']:g} out, {said(users)} at once",
        question={
            "model": d.model.name,
            "on": d.cluster.name,
            "precision": str(d.precision),
            "layout": str(d.parallelism),
            "price_usd_per_accelerator_hour": tariff.usd_per_accelerator_hour,
            **plain(load),
        },
        rows=tuple(rows),
        notes=(
            "steady state of a closed loop; intervals hold 80% of the points that were left out "
            "of the fit",
            *notes,
        ),
        sources={**sources([d.cluster]), "calibration": origin(question)},
    )


def said(users: tuple[int, ...]) -> str:
    """The concurrencies in a title."""
    first = number(users[0])
    return first if len(users) == 1 else f"{first} to {number(max(users))}"


def load_of(load: dict[str, Any], users: int) -> Load:
    """The load of the options at one concurrency."""
    return Load(load["isl"], load["osl"], users, load["cached_fraction"])


def api_prices(load: dict[str, Any]) -> ApiPrices | None:
    """What an API asks, if both its prices were given."""
    if load["api_in"] is None and load["api_out"] is None and load["api_cached"] is None:
        return None
    if load["api_in"] is None or load["api_out"] is None:
        raise InputError("the price of an API needs both --api-in and --api-out")
    return ApiPrices(load["api_in"], load["api_out"], load["api_cached"])


def plain(load: dict[str, Any]) -> dict[str, Value]:
    """The options of a load as a report keeps them."""
    kept = {**load, "concurrency": ",".join(map(str, load["concurrency"]))}
    return {
        name: value if value is None or isinstance(value, str | int | float) else str(value)
        for name, value in kept.items()
    }


def origin(question: ServingQuestion) -> str:
    """What the calibration rests on."""
    kept = question.calibration.provenance
    text = f"{kept['points']} measured points, {kept['fitted_by']}, {kept['fitted_on']}"
    own = question.calibration.own
    return text if own is None else f"{text}; {own.points} points of your own"


def serving_row(
    question: ServingQuestion,
    found: ServingEstimate,
    tariff: Tariff,
    api: ApiPrices | None = None,
) -> Row:
    """One estimate as a flat row, SI units in the names."""
    times, table = found.times, found.table
    layout = question.deployment.parallelism
    power = None if found.power_w is None else float(found.power_w)
    count = float(table.num_accelerators)
    usd_per_s = count * float(tariff.usd_per_loaded_s(power or 0.0))
    output, total = float(found.output_tok_per_s), float(found.total_tok_per_s)
    slow, fast = (float(side) / output for side in found.throughput)
    requests = float(times.requests_per_s)
    prices = token_prices(question, found, usd_per_s)

    def pair(name: str, bounds: tuple[Array, Array] | None) -> dict[str, Value]:
        low, high = (None, None) if bounds is None else (float(bounds[0]), float(bounds[1]))
        return {f"{name}_lower": low, f"{name}_upper": high}

    joules = found.joules_per_token
    sold = None if api is None else requests * api.usd_per_request(question.load)
    return {
        "accelerator": question.deployment.cluster.name,
        "model": question.deployment.model.name,
        "num_accelerators": int(count),
        **{name: int(getattr(layout, name)) for name in ("tp", "pp", "dp", "ep", "rows")},
        "concurrency": int(question.load.concurrency),
        "running": float(table.seats),
        "draft_tokens": question.drafted or None,
        "tokens_per_pass": float(table.tokens_per_pass),
        "ttft_s": float(times.ttft_s),
        **pair("ttft_s", found.ttft_s),
        "mean_ttft_s": float(times.mean_ttft_s),
        "queue_s": float(times.queue_s),
        "tpot_s": float(times.tpot_s),
        **pair("tpot_s", found.tpot_s),
        "e2e_s": float(times.e2e_s),
        **pair("e2e_s", found.e2e_s),
        "tok_per_s_per_user": 1 / float(times.tpot_s),
        "output_tok_per_s": output,
        "output_tok_per_s_per_accelerator": output / count,
        "total_tok_per_s_per_accelerator": total / count,
        **pair(
            "output_tok_per_s_per_accelerator",
            (found.throughput[0] / count, found.throughput[1] / count),
        ),
        "requests_per_s": requests,
        "usd_per_mtok_output": prices.output,
        "usd_per_mtok_input": prices.input,
        "usd_per_mtok_cached_input": prices.cached_input,
        "usd_per_mtok_blended": prices.blended,
        "usd_per_mtok_blended_lower": prices.blended / fast,
        "usd_per_mtok_blended_upper": prices.blended / slow,
        "power_w": power,
        "joules_per_output_token": None if joules is None else float(joules),
        **pair("joules_per_output_token", found.joules),
        "break_even_load": None if sold is None else usd_per_s / sold,
        "outside_octaves": float(found.octaves),
        "novelty": found.novelty,
        "basis": found.basis.value,
    }
