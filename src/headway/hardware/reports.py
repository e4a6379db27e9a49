"""What the hardware catalogue holds, as answers: accelerators, prices, instances, one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from headway.dtypes import DType
from headway.hardware.accelerator import Citation
from headway.hardware.catalogue import entries, find_cluster, instances
from headway.hardware.cluster import Cluster
from headway.hardware.price import Price, PriceBook, shipped_prices
from headway.hardware.stacks import stacks
from headway.report.column import column
from headway.report.fact import Fact
from headway.report.report import Report
from headway.units import GB, GIB, TFLOPS, US


def _rate(dtype: str) -> float | None:
    meaning = f"dense peak rate in {dtype}"
    rate: float | None = column(dtype, meaning, unit="TFLOPS", scale=1 / TFLOPS, detail=True)
    return rate


@dataclass(frozen=True, slots=True)
class AcceleratorRow:
    """One accelerator as its data sheet describes it; what it does not state is ``None``."""

    accelerator: str = column("accelerator", "name in the catalogue")
    vendor: str = column("vendor", "who makes it", detail=True)
    family: str = column("family", "chips of one architecture", detail=True)
    flops_per_s: float = column(
        "16-bit", "dense peak rate in bf16, or else fp16", unit="TFLOPS", scale=1 / TFLOPS
    )
    fp32_flops_per_s: float | None = _rate("fp32")
    bf16_flops_per_s: float | None = _rate("bf16")
    fp16_flops_per_s: float | None = _rate("fp16")
    fp8_flops_per_s: float | None = column(
        "fp8", "dense peak rate in fp8", unit="TFLOPS", scale=1 / TFLOPS
    )
    int8_flops_per_s: float | None = _rate("int8")
    nvfp4_flops_per_s: float | None = _rate("nvfp4")
    mxfp4_flops_per_s: float | None = _rate("mxfp4")
    int4_flops_per_s: float | None = _rate("int4")
    memory_bytes: float = column(
        "memory", "device memory that software can use", unit="GiB", scale=1 / GIB
    )
    memory_bandwidth_bytes_per_s: float = column(
        "bandwidth", "peak memory bandwidth", unit="GB/s", scale=1 / GB
    )
    domain_size: int = column("domain", "accelerators that the innermost link connects")
    tdp_w: float | None = column("TDP", "power limit of the board", unit="W")
    usd_per_accelerator_hour: float | None = column("$/h", "price of one for an hour")
    title: str = column("", "as it is sold")


@dataclass(frozen=True, slots=True)
class PriceRow:
    """What one accelerator costs, from whom, and when that was read."""

    accelerator: str = column("accelerator", "name in the catalogue")
    usd_per_accelerator_hour: float = column("$/h", "price of one for an hour")
    kind: str = column("kind", "on demand, reserved, spot or owned")
    term_months: int | None = column("months", "of a reservation")
    provider: str | None = column("provider", "who asks for it")
    region: str | None = column("region", "where", detail=True)
    is_usual: bool = column("usual", "whether answers take this one")
    over_shipped: float | None = column(
        "of ours", "over the usual price that comes with Headway, for prices of a file of one's own"
    )
    date: str | None = column("date", "when the source was read, or its own date")
    note: str | None = column("note", "what the source says besides", detail=True)
    source: str | None = column("source", "where it was read")


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """What a cloud rents under one name."""

    instance: str = column("instance", "name that the cloud gives; works wherever a cluster does")
    cloud: str = column("cloud", "who rents it")
    contents: str = column("contents", "accelerators in it, as a name for --on")
    date: str = column("date", "when this was written down", detail=True)
    source: str = column("source", "the cloud's page", detail=True)


@dataclass(frozen=True, slots=True)
class StackRow:
    """One row of which engine runs where."""

    engine: str = column("engine", "serving engine")
    vendor: str = column("vendor", "whose chips")
    families: str = column("chips", "families of chips, as the catalogue calls them")
    weights: str = column("weights", "formats in which weights may be stored")
    without: str | None = column("without", "kinds of models that do not run", detail=True)
    since: str = column("since", "first version")
    until: str | None = column("until", "first version that no longer runs there")
    note: str | None = column("note", "what the source says besides", detail=True)
    date: str = column("date", "when the source was read", detail=True)
    source: str = column("source", "where it was read", detail=True)


def accelerators_report(clusters: Iterable[Cluster]) -> Report[AcceleratorRow]:
    """Return ``clusters`` with their dense rates, memory and price."""
    rows = tuple(map(_accelerator_row, clusters))
    title = f"{len(rows)} accelerators; rates are dense, links and sources with `show`"
    return Report(kind="accelerators", title=title, question={}, rows=rows)


def prices_report(clusters: Iterable[Cluster], prices: PriceBook | None = None) -> Report[PriceRow]:
    """Return every quote for each of ``clusters``, the cheapest first, with its source.

    Args:
        clusters: at the price that answers take.
        prices: the book of the quotes; by default the one that comes with Headway, which others
            are compared with.

    """
    book, rows, unpriced = prices or shipped_prices(), [], []
    for cluster in clusters:
        quotes = book.prices_of(cluster.name) or ((cluster.price,) if cluster.price else ())
        rows += [_price_row(cluster, price) for price in quotes]
        if not quotes:
            unpriced.append(cluster.name)

    rows.sort(key=lambda row: row.usd_per_accelerator_hour)
    notes = [
        "answers take the usual price; give your own with --price, a file of quotes or a kind such "
        "as spot with --prices"
    ]
    if unpriced:
        notes.append(f"no price is known for {', '.join(unpriced)}")
    days = sorted(row.date for row in rows if row.date)
    span = f", read from {days[0]} to {days[-1]}" if days else ""
    return Report(
        kind="prices",
        title=f"what one accelerator costs for an hour, the cheapest first{span}",
        question={},
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _price_row(cluster: Cluster, price: Price) -> PriceRow:
    ours = shipped_prices().usual(cluster.name)
    is_ours = price in shipped_prices().prices_of(cluster.name)
    ratio = price.usd_per_accelerator_hour / ours.usd_per_accelerator_hour if ours else None
    citation = price.citation
    return PriceRow(
        accelerator=cluster.name,
        usd_per_accelerator_hour=price.usd_per_accelerator_hour,
        kind=price.kind,
        term_months=price.term_months or None,
        provider=price.provider or None,
        region=price.region or None,
        is_usual=price == cluster.price,
        over_shipped=None if is_ours else ratio,
        date=citation.date if citation else None,
        note=citation.note or None if citation else None,
        source=citation.url if citation else None,
    )


def instances_report() -> Report[InstanceRow]:
    """Return the instances of clouds whose contents are known."""
    rows = tuple(
        InstanceRow(
            instance=instance.name,
            cloud=instance.cloud,
            contents=instance.contents,
            date=instance.source.date,
            source=instance.source.url,
        )
        for instance in instances().values()
    )
    return Report(
        kind="instances", title=f"{len(rows)} instances of clouds", question={}, rows=rows
    )


def stacks_report() -> Report[StackRow]:
    """Return which serving engine runs where, in which formats, since which version."""
    # One row for each of the table, with its sets written out.
    rows = tuple(
        StackRow(
            engine=stack.engine,
            vendor=stack.vendor,
            families=", ".join(sorted(stack.families)),
            weights=", ".join(sorted(dtype.value for dtype in stack.weights)),
            without=", ".join(stack.without) or None,
            since=stack.since,
            until=stack.until,
            note=stack.source.note or None,
            date=stack.source.date,
            source=stack.source.url,
        )
        for stack in stacks()
    )
    return Report(
        kind="stacks",
        title="which serving engine runs where; what is in no row is refused",
        question={},
        rows=rows,
    )


def accelerator_report(name: str) -> Report[Fact]:
    """Return everything about one accelerator, a line each, with its sources.

    Raises:
        UnknownNameError: no such accelerator; carries the nearest names.

    """
    cluster = find_cluster(name)
    chip = cluster.accelerator
    return Report(
        kind="accelerator",
        title=f"{chip.name} ({_title(chip.name)})",
        question={"name": name},
        rows=tuple(_facts(cluster)),
    )


def _accelerator_row(cluster: Cluster) -> AcceleratorRow:
    chip = cluster.accelerator
    rates: Mapping[DType, float] = chip.peak_flops_per_s
    wide = next(rates[d] for d in (DType.BF16, DType.FP16, *rates) if d in rates)
    return AcceleratorRow(
        accelerator=cluster.name,
        vendor=chip.vendor,
        family=chip.family,
        flops_per_s=wide,
        **{f"{dtype.value}_flops_per_s": rates.get(dtype) for dtype in DType},
        memory_bytes=chip.memory_bytes,
        memory_bandwidth_bytes_per_s=chip.memory_bandwidth_bytes_per_s,
        domain_size=cluster.links[0].domain_size,
        tdp_w=chip.tdp_w,
        usd_per_accelerator_hour=cluster.usd_per_accelerator_hour,
        title=_title(cluster.name),
    )


def _title(name: str) -> str:
    return next((entry.title for entry in entries() if entry.name == name), name)


def _facts(cluster: Cluster) -> Iterator[Fact]:
    chip, of_chip, outside = cluster.accelerator, cluster.accelerator.sources, cluster.sources
    yield Fact("vendor", chip.vendor)
    yield Fact("family", chip.family)
    yield _fact("memory", f"{chip.memory_bytes / GIB:g} GiB", of_chip.get("memory_bytes"))

    bandwidth = f"{chip.memory_bandwidth_bytes_per_s / GB:g} GB/s"
    yield _fact("bandwidth", bandwidth, of_chip.get("memory_bandwidth_bytes_per_s"))
    for dtype, rate in chip.peak_flops_per_s.items():
        source = of_chip.get(f"peak_flops_per_s.{dtype.value}")
        yield _fact(dtype.value, f"{rate / TFLOPS:g} TFLOPS dense", source)
    for what, power_w in (("tdp", chip.tdp_w), ("idle", chip.idle_w)):
        if power_w is not None:
            yield _fact(what, f"{power_w:g} W", of_chip.get(f"{what}_w"))

    yield Fact("exchanges", chip.exchanges)
    for i, link in enumerate(cluster.links):
        text = (
            f"{link.name}: {link.bandwidth_bytes_per_s / GB:g} GB/s one way, "
            f"{link.latency_s / US:g} us a hop, among {link.domain_size:,}"
        )
        yield _fact(f"link {i + 1}", text, outside.get(f"links.{i}.bandwidth_bytes_per_s"))
    if cluster.price is not None:
        price = f"${cluster.price.usd_per_accelerator_hour:g} an hour, {cluster.price.terms}"
        yield _fact("price", price, cluster.price.citation)


def _fact(what: str, value: str, citation: Citation | None) -> Fact:
    if citation is None:
        return Fact(what, value)
    return Fact(what, value, citation.note or None, citation.date, citation.url)
