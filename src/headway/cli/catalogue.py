"""`headway catalogue`: what is known by name, and where it was read."""

from __future__ import annotations

import click

from headway.cli.files import json_option
from headway.cli.show import Column, deliver, number
from headway.dtypes import DType
from headway.errors import UnknownNameError
from headway.hardware import catalogue as hardware
from headway.hardware.accelerator import Citation
from headway.model import catalogue as models
from headway.model.catalogue import find_model, find_precision
from headway.report.report import Report, Row, Value
from headway.units import GIB, TFLOPS


@click.group()
def catalogue() -> None:
    """Show the models and accelerators that are known by name."""


@catalogue.command("models")
@json_option()
def list_models(json_path: str | None) -> None:
    """List the models with their size and the memory of their KV cache."""
    rows: list[Row] = []
    for name in models.names():
        model, precision = find_model(name), find_precision(name)
        per_token = model.kv_elements_per_token * precision.kv_cache.bytes
        rows.append(
            {
                "model": name,
                "title": models.find_entry(name).title,
                "params": model.total_params,
                "active_params": model.active_params,
                "layers": model.num_layers,
                "kv_bytes_per_token": per_token,
                "precision": str(precision),
            }
        )
    columns: list[Column] = [
        ("<", "model", lambda row: str(row["model"])),
        (">", "parameters", lambda row: _billions(row["params"])),
        (">", "active", lambda row: _billions(row["active_params"])),
        (">", "layers", lambda row: number(row["layers"])),
        (">", "KV kB/token", lambda row: f"{float(row['kv_bytes_per_token'] or 0) / 1e3:,.1f}"),
        ("<", "weights/activations/KV", lambda row: str(row["precision"])),
    ]
    report = Report("models", f"{len(rows)} models", {}, tuple(rows))
    deliver(report, columns, json_path, None, None)


@catalogue.command("accelerators")
@json_option()
def list_accelerators(json_path: str | None) -> None:
    """List the accelerators with their dense rates, memory and price."""
    rows: list[Row] = []
    clusters = [hardware.find_cluster(entry.name) for entry in hardware.entries()]
    for cluster, entry in zip(clusters, hardware.entries(), strict=True):
        chip = cluster.accelerator
        rates = {d.value: rate / TFLOPS for d, rate in chip.peak_flops_per_s.items()}
        rows.append(
            {
                "accelerator": entry.name,
                "title": entry.title,
                **{f"{d.value}_tflops": rates.get(d.value) for d in DType},
                "memory_gib": chip.memory_bytes / GIB,
                "memory_bandwidth_gb_per_s": chip.memory_bandwidth_bytes_per_s / 1e9,
                "domain_size": cluster.links[0].domain_size,
                "tdp_w": chip.tdp_w,
                "price_usd_per_hour": cluster.price_usd_per_accelerator_hour,
            }
        )
    columns: list[Column] = [
        ("<", "accelerator", lambda row: str(row["accelerator"])),
        (">", "16-bit", lambda row: _whole(row["bf16_tflops"] or row["fp16_tflops"])),
        (">", "fp8", lambda row: _whole(row["fp8_tflops"])),
        (">", "GiB", lambda row: number(row["memory_gib"])),
        (">", "GB/s", lambda row: _whole(row["memory_bandwidth_gb_per_s"])),
        (">", "domain", lambda row: number(row["domain_size"])),
        (">", "W", lambda row: _whole(row["tdp_w"])),
        (">", "$/h", lambda row: number(row["price_usd_per_hour"])),
        ("<", "", lambda row: str(row["title"])),
    ]
    title = f"{len(rows)} accelerators; rates are dense TFLOPS, links and sources with `show`"
    deliver(Report("accelerators", title, {}, tuple(rows)), columns, json_path, None, None)


@catalogue.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Show everything about NAME with its sources."""
    try:
        _show_accelerator(name)
    except UnknownNameError:
        try:
            _show_model(name)
        except UnknownNameError:
            known = (*models.names(), *hardware.names())
            raise UnknownNameError("model or accelerator", name, known) from None


def _show_accelerator(name: str) -> None:
    cluster = hardware.find_cluster(name)
    chip = cluster.accelerator
    click.echo(f"{chip.name} ({hardware.find_entry(name).title})")
    _fact("memory", f"{chip.memory_bytes / GIB:g} GiB", chip.sources.get("memory_bytes"))
    bandwidth = f"{chip.memory_bandwidth_bytes_per_s / 1e9:g} GB/s"
    _fact("bandwidth", bandwidth, chip.sources.get("memory_bandwidth_bytes_per_s"))
    for dtype, rate in chip.peak_flops_per_s.items():
        source = chip.sources.get(f"peak_flops_per_s.{dtype.value}")
        _fact(dtype.value, f"{rate / TFLOPS:g} TFLOPS dense", source)
    for what, watts in (("tdp", chip.tdp_w), ("idle", chip.idle_w)):
        _fact(what, "-" if watts is None else f"{watts:g} W", chip.sources.get(f"{what}_w"))
    for i, link in enumerate(cluster.links):
        text = (
            f"{link.name}: {link.bandwidth_bytes_per_s / 1e9:g} GB/s one way, "
            f"{link.latency_s * 1e6:g} us a hop, among {link.domain_size:,}"
        )
        _fact(f"link {i + 1}", text, cluster.sources.get(f"links.{i}.bandwidth_bytes_per_s"))
    price = cluster.price_usd_per_accelerator_hour
    source = cluster.sources.get("price_usd_per_accelerator_hour")
    _fact("price", "-" if price is None else f"${price:g} an hour", source)


def _show_model(name: str) -> None:
    entry, model = models.find_entry(name), find_model(name)
    click.echo(f"{model.name} ({entry.title})")
    _fact("parameters", f"{model.total_params:,} ({model.active_params:,} active)", None)
    click.echo(f"{'published':<11} {entry.published.total}, active {entry.published.active or '-'}")
    click.echo(f"{'':<11}   {entry.published.url}")
    _fact("hidden", f"{model.hidden_size}, vocabulary {model.vocab_size:,}", None)
    for group in model.layers:
        _fact("layers", f"{group.count} x {group.attention}, {group.ffn}", None)
    for group in model.mtp_layers:
        _fact("drafting", f"{group.count} x {group.attention}, {group.ffn}", None)
    _fact("precision", str(find_precision(name)), None)
    click.echo(f"{'config':<11} {entry.source_url} ({entry.source_date})")


def _fact(label: str, value: str, source: Citation | None) -> None:
    click.echo(f"{label:<11} {value}")
    if source is not None:
        note = f"; {source.note}" if source.note else ""
        click.echo(f"{'':<11}   {source.url} ({source.date}){note}")


def _billions(params: Value) -> str:
    return f"{float(params or 0) / 1e9:.4g}B"


def _whole(value: Value) -> str:
    return "-" if value is None else f"{float(value):,.0f}"
