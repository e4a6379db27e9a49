"""`estimate --disaggregate` and `explain --disaggregate`: two stages, their link, their report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from headway.cli.options import find_clusters, layout_of, only
from headway.cli.serving import api_prices, origin, plain, question_of
from headway.cli.show import number
from headway.errors import InputError
from headway.frontier.answer import sources
from headway.hardware.cluster import Cluster, Link
from headway.money.tariff import Tariff
from headway.report.report import Report, Row, Value
from headway.serving.disaggregated_estimate import DisaggregatedEstimate, answer_disaggregated
from headway.serving.estimate import ServingQuestion, answer
from headway.serving.one_engine import Load, as_run, seats
from headway.serving.two_stages import Disaggregated, Workers
from headway.steptime.parallelism import Parallelism
from headway.units import parse_number

AUTO = "auto"
GB_PER_S = 1e9
NOTES = (
    "steady state of a closed loop; the coefficients were fitted to engines that do both stages",
    "time to first token includes the handing over of a request; its interval is the widest",
)


def disaggregated_report(
    load: dict[str, Any], layout: Parallelism | None, total: int | None, options: dict[str, Any]
) -> Report:
    """The answer to one split, or to all of ``total`` accelerators, best first."""
    if len(load["concurrency"]) > 1:
        raise InputError("--disaggregate takes one --concurrency")
    base, tariff, notes = question_of(load, layout, options)
    asked, tariffs = stages(base, tariff, load, base.deployment.parallelism)
    if load["disaggregate"] == AUTO:
        if total is None:
            raise InputError("--disaggregate auto needs --accelerators, how many there are in all")
        rows = list(_splits(asked, base, tariff, tariffs, total, load))
        if not any("prefill_layout" in row for row in rows):
            raise InputError(
                f"{total} accelerators do not make one engine of each stage; "
                "give more --accelerators or smaller layouts"
            )
        rows.sort(key=lambda row: -float(row["output_tok_per_s_per_accelerator"] or 0))
        marks = {"preferred": 0}
    else:
        if total is not None:
            raise InputError("--accelerators goes with --disaggregate auto only")
        prefill, decode = engines(load["disaggregate"])
        split = split_of(asked, prefill, decode)
        rows, marks = [_row(split, answer_disaggregated(split), tariffs, load)], {}
    d = base.deployment
    return Report(
        kind="estimate",
        title=f"{d.model.name} in {d.precision} on {asked.prefill.deployment.cluster.name} for "
        f"prefill and {asked.decode.deployment.cluster.name} for decode with {base.engine}, "
        f"{load['isl']:g} in, {load['osl']:g} out, {number(load['concurrency'][0])} at once",
        question=question_row(load, base, asked),
        rows=tuple(rows),
        marks=marks,
        notes=(*NOTES, *notes),
        sources={**sources([d.cluster]), "calibration": origin(base)},
    )


def question_row(load: dict[str, Any], base: ServingQuestion, asked: Disaggregated) -> Row:
    """The question of a report."""
    return {
        "model": base.deployment.model.name,
        "precision": str(base.deployment.precision),
        "link": asked.link.name,
        **plain(load),
    }


def engines(text: str) -> tuple[int, int]:
    """Read ``2x1``: prefill and decode engines."""
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text.strip())
    if not found or not all(map(int, found.groups())):
        raise InputError(
            f"--disaggregate must say prefill x decode engines, such as 2x1, or auto, not {text!r}"
        )
    return int(found[1]), int(found[2])


def stages(
    base: ServingQuestion, tariff: Tariff, load: dict[str, Any], layout: Parallelism
) -> tuple[Disaggregated, tuple[Tariff, Tariff]]:
    """One engine of each stage, and what an hour of either's accelerators costs."""
    d = base.deployment
    degrees = [load[f"prefill_{name}"] for name in ("tp", "pp", "dp", "ep")]
    cluster, own = d.cluster, tariff
    if load["prefill_on"] is not None:
        cluster = only(find_clusters(load["prefill_on"]))
        own = replace(tariff, usd_per_accelerator_hour=_price(cluster))
    prefill = replace(
        d,
        cluster=cluster,
        precision=as_run(d.precision, cluster.accelerator),
        parallelism=layout_of(*degrees) if any(degrees) else layout,
    )
    asked = Disaggregated(
        Workers(prefill, 1),
        Workers(d, 1),
        base.engine,
        base.load,
        link_called(load["kv_link"], d.cluster),
        load["kv_overlap"],
        limits=base.limits,
        speculation=base.speculation,
        drafted=base.drafted,
        calibration=base.calibration,
    )
    return asked, (own, tariff)


def _price(cluster: Cluster) -> float:
    if cluster.price_usd_per_accelerator_hour is None:
        raise InputError(f"no price is known for {cluster.name}, on which prefill was to run")
    return cluster.price_usd_per_accelerator_hour


def link_called(name: str | None, cluster: Cluster) -> Link:
    """The link of ``cluster`` whose name holds ``name``, its outermost, or one of so many GB/s."""
    outermost = cluster.links[-1]
    if name is None:
        return outermost
    try:
        rate = parse_number(name, "--kv-link")
    except InputError:
        for link in cluster.links:
            if name.lower() in link.name.lower():
                return link
        known = ", ".join(link.name for link in cluster.links)
        raise InputError(
            f"{cluster.name} has no link called {name!r}; it has {known}, or give GB/s"
        ) from None
    return replace(outermost, name=f"{rate:g} GB/s", bandwidth_bytes_per_s=rate * GB_PER_S)


def split_of(asked: Disaggregated, prefill: int, decode: int) -> Disaggregated:
    """The same with so many engines of either stage."""
    return replace(
        asked,
        prefill=replace(asked.prefill, count=prefill),
        decode=replace(asked.decode, count=decode),
    )


def _splits(
    asked: Disaggregated,
    base: ServingQuestion,
    tariff: Tariff,
    tariffs: tuple[Tariff, Tariff],
    total: int,
    load: dict[str, Any],
) -> Iterator[Row]:
    """Every number of prefill engines with the decode engines that fit beside, and neither."""
    each, other = asked.prefill.num_accelerators, asked.decode.num_accelerators
    for prefill in range(1, total // each + 1):
        decode = (total - prefill * each) // other
        if decode >= 1:
            split = split_of(asked, prefill, decode)
            yield _row(split, answer_disaggregated(split), tariffs, load)
    alike = total // other
    if alike >= 1 and float(np.min(seats(base.deployment, base.load, base.limits))) >= 1:
        yield _together(base, tariff, alike)


def _together(base: ServingQuestion, tariff: Tariff, engines: int) -> Row:
    """The same accelerators as alike engines that do both stages, users dealt out evenly."""
    load = base.load
    share = max(float(load.concurrency) / engines, 1.0)
    each = replace(
        base,
        load=Load(load.prompt_tokens, load.output_tokens, share, load.cached_fraction),
    )
    found = answer(each)
    times, d = found.times, base.deployment
    accelerators = engines * int(d.parallelism.num_accelerators)
    busy = min(float(load.concurrency) / share, engines)
    requests = float(times.requests_per_s) * busy
    watts = 0.0 if found.power_w is None else float(found.power_w)
    usd_per_s = accelerators * float(tariff.usd_per_loaded_s(watts))
    total = requests * float(load.prompt_tokens + load.output_tokens)
    return {
        "engines": f"{engines} of both",
        "num_accelerators": accelerators,
        "ttft_s": float(times.ttft_s),
        "tpot_s": float(times.tpot_s),
        "tok_per_s_per_user": 1 / float(times.tpot_s),
        "output_tok_per_s_per_accelerator": requests * float(load.output_tokens) / accelerators,
        "usd_per_mtok_blended": usd_per_s / total * 1e6,
        "binds": "users" if float(found.table.seats) >= share else "seats",
        "basis": found.basis.value,
    }


def _row(
    question: Disaggregated,
    found: DisaggregatedEstimate,
    tariffs: tuple[Tariff, Tariff],
    load: dict[str, Any],
) -> Row:
    """One estimate as a flat row, SI units in the names."""
    times, count = found.times, question.num_accelerators
    watts = 0.0 if found.power_w is None else found.power_w / count
    stages = (question.prefill, question.decode)
    usd_in, usd_out = (
        workers.num_accelerators * float(tariff.usd_per_loaded_s(watts))
        for workers, tariff in zip(stages, tariffs, strict=True)
    )
    prompts = times.requests_per_s * float(question.load.prompt_tokens)
    output, total = found.output_tok_per_s, found.total_tok_per_s
    slow, fast = (side / output for side in found.throughput)

    def pair(name: str, bounds: tuple[float, float] | None) -> dict[str, Value]:
        low, high = bounds or (None, None)
        return {f"{name}_lower": low, f"{name}_upper": high}

    api = api_prices(load)
    sold = None if api is None else times.requests_per_s * api.usd_per_request(question.load)
    return {
        "engines": f"{question.prefill.count}x{question.decode.count}",
        "accelerator": question.decode.deployment.cluster.name,
        "prefill_accelerator": question.prefill.deployment.cluster.name,
        "model": question.decode.deployment.model.name,
        "num_accelerators": count,
        "prefill_accelerators": question.prefill.num_accelerators,
        "prefill_layout": str(question.prefill.deployment.parallelism),
        "decode_layout": str(question.decode.deployment.parallelism),
        "sequences_per_decode_engine": times.sequences,
        "ttft_s": times.ttft_s,
        **pair("ttft_s", found.ttft_s),
        "mean_ttft_s": times.mean_ttft_s,
        "handling_s": times.handling_s,
        "queue_s": times.wait_s,
        "prefill_s": times.prefill_s,
        "transfer_exposed_s": times.transfer_s,
        "transfer_s": times.sent_s,
        "tpot_s": times.tpot_s,
        **pair("tpot_s", found.tpot_s),
        "e2e_s": times.e2e_s,
        **pair("e2e_s", found.e2e_s),
        "tok_per_s_per_user": 1 / times.tpot_s,
        "output_tok_per_s": output,
        "output_tok_per_s_per_accelerator": output / count,
        **pair(
            "output_tok_per_s_per_accelerator",
            (found.throughput[0] / count, found.throughput[1] / count),
        ),
        "total_tok_per_s_per_accelerator": total / count,
        "requests_per_s": times.requests_per_s,
        "prefill_use": times.use["prefill"],
        "transfer_use": times.use["transfer"],
        "decode_use": times.use["decode"],
        "binds": times.binds,
        "usd_per_mtok_input": usd_in / prompts * 1e6,
        "usd_per_mtok_output": usd_out / output * 1e6,
        "usd_per_mtok_blended": (usd_in + usd_out) / total * 1e6,
        "usd_per_mtok_blended_lower": (usd_in + usd_out) / total / fast * 1e6,
        "usd_per_mtok_blended_upper": (usd_in + usd_out) / total / slow * 1e6,
        "power_w": None if found.power_w is None else watts,
        "joules_per_output_token": found.joules_per_token,
        **pair("joules_per_output_token", found.joules),
        "break_even_load": None if sold is None else (usd_in + usd_out) / sold,
        "outside_octaves": found.octaves,
        "novelty": found.novelty,
        "basis": found.basis.value,
    }
