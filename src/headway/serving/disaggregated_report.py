"""Prefill and decode on engines of their own, as reports: one split, all splits, explained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.hardware.cluster import Cluster, Link
from headway.hardware.price import unlike_kinds
from headway.money.tariff import Tariff
from headway.report.column import Value, column
from headway.report.estimate import Estimate
from headway.report.report import Report
from headway.serving.closed_loop import ClosedLoop
from headway.serving.disaggregated import DisaggregatedTimes, disaggregated_times
from headway.serving.disaggregated_estimate import DisaggregatedEstimate, serve_disaggregated
from headway.serving.estimate import serve
from headway.serving.explain import ExplainedRow
from headway.serving.load import Load
from headway.serving.load_steps import seats
from headway.serving.report import sources_of
from headway.serving.token_prices import ApiPrices
from headway.serving.two_stages import TwoStages, Workers
from headway.steptime.deployment import Deployment
from headway.units import GB, parse_number

NOTES = (
    "steady state of a closed loop; the coefficients were fitted to engines that do both stages",
    "time to first token includes the handing over of a request; its interval is the widest",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisaggregatedRow:
    """One split of the accelerators over prefill and decode engines, under one load."""

    engines: str = column("prefill x decode", "engines of either stage; or engines that do both")
    num_accelerators: int = column("count", "accelerators of all engines")
    prefill_accelerators: int | None = column("prefill", "accelerators that prefill", default=None)
    prefill_layout: str | None = column(
        "prefill layout", "of one engine", detail=True, default=None
    )
    decode_layout: str | None = column("decode layout", "of one engine", detail=True, default=None)
    ttft_s: Estimate = column(
        "TTFT", "arrival to first token, median, handing over included", unit="ms", scale=1e3
    )
    mean_ttft_s: float | None = column(
        "mean TTFT", "over a whole run, its start included", unit="ms", scale=1e3, detail=True,
        default=None,
    )  # fmt: skip
    queue_s: float | None = column(
        "waiting", "of the TTFT", unit="ms", scale=1e3, detail=True, default=None
    )
    handling_s: float | None = column(
        "handling", "of the TTFT, by router and engine", unit="ms", scale=1e3, detail=True,
        default=None,
    )  # fmt: skip
    prefill_s: float | None = column(
        "prefill time", "of the TTFT", unit="ms", scale=1e3, detail=True, default=None
    )
    transfer_exposed_s: float | None = column(
        "cache, exposed", "of the TTFT: what no computation hides", unit="ms", scale=1e3,
        detail=True, default=None,
    )  # fmt: skip
    transfer_s: float | None = column(
        "cache, whole", "transfer of one prompt's cache", unit="ms", scale=1e3, detail=True,
        default=None,
    )  # fmt: skip
    tpot_s: Estimate = column("TPOT", "time per output token after the first", unit="ms", scale=1e3)
    e2e_s: Estimate | None = column(
        "e2e", "arrival to last token", unit="ms", scale=1e3, detail=True, default=None
    )
    tok_per_s_per_user: float = column("tok/s/user", "output tokens of a user after the first")
    output_tok_per_s_per_accelerator: Estimate = column(
        "tok/s/acc.", "output tokens/s of one accelerator"
    )
    requests_per_s: float = column("requests/s", "of all engines", detail=True)
    sequences_per_decode_engine: float | None = column(
        "decoding", "sequences at once on one decode engine", detail=True, default=None
    )
    prefill_use: float | None = column(
        "prefill use", "share of its capacity", unit="%", scale=100, detail=True, default=None
    )
    transfer_use: float | None = column(
        "link use", "share of its capacity", unit="%", scale=100, detail=True, default=None
    )
    decode_use: float | None = column(
        "decode use", "share of its capacity", unit="%", scale=100, detail=True, default=None
    )
    binds: str = column("full", "the station that is full; users where none is")
    usd_per_mtok_output: float | None = column("$/Mtok out", "all cost on output tokens")
    usd_per_mtok_blended: float | None = column("blended", "$/Mtok of prompt and output")
    break_even_load: float | None = column(
        "break-even", "share of this load from which it is cheaper than the API", detail=True,
        default=None,
    )  # fmt: skip
    power_w: float | None = column("power", "mean of one accelerator", unit="W", detail=True)
    joules_per_output_token: Estimate | None = column(
        "energy", "of all accelerators per output token", unit="J/token", detail=True, default=None
    )
    outside_octaves: float = column(
        "distance", "doublings outside the measured range; intervals widen", detail=True
    )
    basis: str = column("basis", "the weakest of what the times rest on")


def parse_engines(text: str) -> tuple[int, int]:
    """Return prefill and decode engines of ``2x1``; raise `InputError` for other text."""
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text.strip())
    if not match or not all(map(int, match.groups())):
        raise InputError(
            f"a split says prefill x decode engines, such as 2x1, or auto, not {text!r}"
        )
    return int(match[1]), int(match[2])


def link_called(name: str | None, cluster: Cluster) -> Link:
    """Return the link of ``cluster`` whose name holds ``name``, or one of so many GB/s.

    Without a name, the outermost.
    """
    outermost = cluster.links[-1]
    if name is None:
        return outermost
    try:
        rate = parse_number(name, "the link")
    except InputError:
        for link in cluster.links:
            if name.lower() in link.name.lower():
                return link
        names = ", ".join(link.name for link in cluster.links)
        raise InputError(
            f"{cluster.name} has no link called {name!r}; it has {names}, or give GB/s"
        ) from None
    return replace(outermost, name=f"{rate:g} GB/s", bandwidth_bytes_per_s=rate * GB)


def two_stages(
    prefill: Deployment, decode: Deployment, link: Link | None = None, *, overlapped: bool = True
) -> TwoStages:
    """Return one engine of each stage; the cache goes over ``link``, or the outermost one."""
    return TwoStages(
        Workers(prefill, 1),
        Workers(decode, 1),
        link_called(None, decode.cluster) if link is None else link,
        overlapped=overlapped,
    )


def estimate_split(
    stages: TwoStages, load: Load, api: ApiPrices | None = None
) -> Report[DisaggregatedRow]:
    """Return what ``load`` takes on ``stages``.

    Raises:
        DoesNotFitError: not one sequence fits a stage.
        InputError: the load has arrays, or a stage names no measured engine.

    """
    return _report(stages, load, [_row(stages, load, api)], {})


def best_split(
    stages: TwoStages, load: Load, num_accelerators: int, api: ApiPrices | None = None
) -> Report[DisaggregatedRow]:
    """Return every split of ``num_accelerators`` over the two stages, best throughput first.

    The same accelerators as alike engines that do both stages stand among them.

    Raises:
        InputError: they do not make one engine of each stage.

    """
    rows = list(_splits(stages, load, num_accelerators, api))
    if not rows:
        raise InputError(
            f"{num_accelerators} accelerators do not make one engine of each stage; "
            "give more accelerators or smaller layouts"
        )
    decode = stages.decode.deployment
    replicas = num_accelerators // stages.decode.num_accelerators
    if replicas >= 1 and float(np.min(seats(decode, _loop(load)))) >= 1:
        rows.append(_together(decode, load, replicas))

    rows.sort(key=lambda row: -row.output_tok_per_s_per_accelerator.expected)
    return _report(stages, load, rows, {"preferred": 0})


def explain_split(stages: TwoStages, load: Load) -> Report[ExplainedRow]:
    """Return where the time to the first token goes over two stages, and what would change it."""
    loop = _loop(load)
    times = disaggregated_times(stages, loop)
    first = {
        "waiting": times.wait_s,
        "handing over and engine": times.handling_s,
        "prefill": times.prefill_s,
        "cache not hidden": times.transfer_s,
    }
    rows = [
        ExplainedRow(part=f"first token: {name}", seconds=seconds, share=seconds / times.ttft_s)
        for name, seconds in sorted(first.items(), key=lambda part: -part[1])
    ]
    rows += [ExplainedRow(part=f"in use: {name}", share=use) for name, use in times.use.items()]
    rows += [_change(name, stages, other, loop, times) for name, other in _changes(stages)]
    return Report(
        kind="explanation",
        title=f"{_title(stages, load)}: {times.ttft_s * 1e3:.3g} ms to the first token, "
        f"{times.tpot_s * 1e3:.3g} ms per token",
        question=_question(stages, load),
        rows=tuple(rows),
        notes=("throughput is per accelerator", *NOTES),
        sources=sources_of(stages.decode.deployment),
    )


def _changes(stages: TwoStages) -> Iterator[tuple[str, TwoStages]]:
    """What one might do instead."""
    prefill, decode = stages.prefill.count, stages.decode.count
    yield "one prefill engine more", stages.with_engines(prefill + 1, decode)
    yield "one decode engine more", stages.with_engines(prefill, decode + 1)
    faster = replace(stages.link, bandwidth_bytes_per_s=stages.link.bandwidth_bytes_per_s * 2)
    yield "link bandwidth x2", replace(stages, link=faster)
    if stages.overlapped:
        yield "the cache sent after the prompt", replace(stages, overlapped=False)


def _change(
    name: str, stages: TwoStages, other: TwoStages, loop: ClosedLoop, before: DisaggregatedTimes
) -> ExplainedRow:
    after = disaggregated_times(other, loop)
    per_accelerator = stages.num_accelerators / other.num_accelerators
    return ExplainedRow(
        part=f"with {name}",
        ttft_change=after.ttft_s / before.ttft_s - 1,
        tpot_change=after.tpot_s / before.tpot_s - 1,
        throughput_change=after.requests_per_s / before.requests_per_s * per_accelerator - 1,
    )


def _splits(
    stages: TwoStages, load: Load, num_accelerators: int, api: ApiPrices | None
) -> Iterator[DisaggregatedRow]:
    """Every number of prefill engines, with the decode engines that fit beside them."""
    one = stages.with_engines(1, 1)
    prefill_size, decode_size = one.prefill.num_accelerators, one.decode.num_accelerators
    for prefill in range(1, num_accelerators // prefill_size + 1):
        decode = (num_accelerators - prefill * prefill_size) // decode_size
        if decode >= 1:
            yield _row(stages.with_engines(prefill, decode), load, api)


def _row(stages: TwoStages, load: Load, api: ApiPrices | None) -> DisaggregatedRow:
    served = serve_disaggregated(stages, _loop(load))
    times, count = served.times, stages.num_accelerators
    per_accelerator = served.output_tok_per_s.scaled(1 / count)
    watts = None if served.power_w is None else served.power_w / count
    usd_per_s = _usd_per_s(stages, load, watts or 0.0)
    joules = served.joules_per_token

    break_even = None
    if api is not None and usd_per_s is not None:
        api_usd_per_s = times.requests_per_s * float(api.usd_per_request(served.loop))
        break_even = usd_per_s / api_usd_per_s
    return DisaggregatedRow(
        engines=f"{stages.prefill.count}x{stages.decode.count}",
        num_accelerators=count,
        prefill_accelerators=stages.prefill.num_accelerators,
        prefill_layout=str(stages.prefill.deployment.parallelism),
        decode_layout=str(stages.decode.deployment.parallelism),
        ttft_s=served.ttft_s.at(),
        mean_ttft_s=times.mean_ttft_s,
        queue_s=times.wait_s,
        handling_s=times.handling_s,
        prefill_s=times.prefill_s,
        transfer_exposed_s=times.transfer_s,
        transfer_s=times.sent_s,
        tpot_s=served.tpot_s.at(),
        e2e_s=served.e2e_s.at(),
        tok_per_s_per_user=1 / times.tpot_s,
        output_tok_per_s_per_accelerator=per_accelerator.at(),
        requests_per_s=times.requests_per_s,
        sequences_per_decode_engine=times.sequences,
        prefill_use=times.use["prefill"],
        transfer_use=times.use["transfer"],
        decode_use=times.use["decode"],
        binds=times.binds,
        usd_per_mtok_output=_per_mtok(usd_per_s, float(served.output_tok_per_s)),
        usd_per_mtok_blended=_per_mtok(usd_per_s, served.total_tok_per_s),
        break_even_load=break_even,
        power_w=watts,
        joules_per_output_token=None if joules is None else joules.at(),
        outside_octaves=served.octaves,
        basis=served.basis.value,
    )


def _together(deployment: Deployment, load: Load, replicas: int) -> DisaggregatedRow:
    """Alike engines that do both stages, with the users dealt out evenly."""
    users = float(_loop(load).concurrency)
    share = max(users / replicas, 1.0)
    served = serve(deployment, load.at(share), load.tariff_on(deployment))
    busy, count = min(users / share, replicas), replicas * int(deployment.num_accelerators)
    requests_per_s = float(served.times.requests_per_s) * busy

    usd_per_s = None if served.usd_per_s is None else float(served.usd_per_s) * replicas
    output_tok_per_s = requests_per_s * float(served.shape.output_tokens)
    total_tok_per_s = requests_per_s * float(served.shape.total_tokens)
    return DisaggregatedRow(
        engines=f"{replicas} of both",
        num_accelerators=count,
        ttft_s=served.ttft_s.at(),
        tpot_s=served.tpot_s.at(),
        tok_per_s_per_user=1 / float(served.tpot_s),
        output_tok_per_s_per_accelerator=served.output_tok_per_s.scaled(busy / count).at(),
        requests_per_s=requests_per_s,
        binds="users" if float(served.shape.seats) >= share else "seats",
        usd_per_mtok_output=_per_mtok(usd_per_s, output_tok_per_s),
        usd_per_mtok_blended=_per_mtok(usd_per_s, total_tok_per_s),
        power_w=None if served.power_w is None else float(served.power_w),
        outside_octaves=float(served.doubt.octaves),
        basis=served.basis.value,
    )


def _usd_per_s(stages: TwoStages, load: Load, watts: float) -> float | None:
    """Dollars of both stages for one second; ``None`` where a price is unknown."""
    usd_per_s = 0.0
    for workers in (stages.prefill, stages.decode):
        tariff: Tariff | None = load.tariff_on(workers.deployment)
        if tariff is None:
            return None
        usd_per_s += workers.num_accelerators * float(tariff.usd_per_loaded_s(watts))
    return usd_per_s


def _per_mtok(usd_per_s: float | None, tok_per_s: float) -> float | None:
    return None if usd_per_s is None else usd_per_s / tok_per_s * 1e6


def _loop(load: Load) -> ClosedLoop:
    if load.concurrency is None:
        raise InputError("two stages take a load with --concurrency: how many requests at once")
    return load.at(load.concurrency)


def _prices(stages: TwoStages) -> tuple[str, ...]:
    """Say what the accelerators of both stages cost, and whether their prices are of one kind."""
    clusters = (stages.prefill.deployment.cluster, stages.decode.deployment.cluster)
    prices = {cluster.name: cluster.price for cluster in clusters}
    notes = [f"{name}: {price}" for name, price in prices.items() if price is not None]
    unlike = unlike_kinds(prices)
    return (*notes, unlike) if unlike else tuple(notes)


def _report(
    stages: TwoStages, load: Load, rows: Sequence[DisaggregatedRow], marks: dict[str, int]
) -> Report[DisaggregatedRow]:
    served: DisaggregatedEstimate = serve_disaggregated(stages, _loop(load))
    return Report(
        kind="estimate",
        title=_title(stages, load),
        question=_question(stages, load),
        rows=tuple(rows),
        marks=marks,
        notes=(*NOTES, *_prices(stages), f"basis {served.basis.value}: {served.words}"),
        sources=sources_of(stages.decode.deployment),
    )


def _title(stages: TwoStages, load: Load) -> str:
    prefill, decode, loop = stages.prefill.deployment, stages.decode.deployment, _loop(load)
    return (
        f"{decode.model.name} in {decode.precision}, prefill on {prefill.cluster.name} and decode "
        f"on {decode.cluster.name} with {decode.engine}: {float(loop.prompt_tokens):g} tokens in, "
        f"{float(loop.output_tokens):g} out, {float(loop.concurrency):g} at once"
    )


def _question(stages: TwoStages, load: Load) -> dict[str, Value]:
    loop, decode = _loop(load), stages.decode.deployment
    return {
        "model": decode.model.name,
        "precision": str(decode.precision),
        "engine": decode.engine,
        "prefill_on": stages.prefill.deployment.cluster.name,
        "on": decode.cluster.name,
        "prefill_layout": str(stages.prefill.deployment.parallelism),
        "layout": str(decode.parallelism),
        "link": stages.link.name,
        "overlapped": stages.overlapped,
        "prompt_tokens": float(loop.prompt_tokens),
        "output_tokens": float(loop.output_tokens),
        "concurrency": float(loop.concurrency),
        "cached_fraction": float(loop.cached_fraction),
    }
