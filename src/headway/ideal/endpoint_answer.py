"""Where the time of a probed endpoint goes, as a report."""

from __future__ import annotations

from pathlib import Path

from headway.errors import InputError
from headway.ideal.attribution import attribute
from headway.ideal.denoised import denoise
from headway.ideal.idealized import Reference
from headway.measure.endpoint.ledger import read_entries
from headway.measure.endpoint.probing import seen
from headway.measure.interval import Interval
from headway.report.report import Report, Row


def endpoint_report(path: Path, made: Reference) -> Report:
    """Where the time of the endpoint goes whose ledger lies at ``path``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    entries = read_entries(content[: content.rfind(b"\n") + 1], path)
    probes, pings = seen(entries)
    denoised = denoise(probes, pings)
    found = attribute(denoised, made.runtime)
    raw_s = found.raw_s.expected
    rows: list[Row] = [
        _part("raw", found.raw_s, raw_s),
        _part("idealized", found.idealized_s, None),
    ]
    factor = found.software_factor
    rows.append(
        {"part": "software factor", "value": factor.expected, "lower": factor.lower,
         "upper": factor.upper, "unit": "x", "share": None}
    )  # fmt: skip
    rows.append(_part("model and software", found.served_s, raw_s))
    for name, part in (
        ("contention", found.contention_s),
        ("drift", found.drift_s),
        ("queue", found.queue_s),
        ("network", found.network_s),
    ):
        rows.append(_part(name, part, raw_s))
    deployment = made.deployment
    return Report(
        "endpoint",
        found.sentence,
        {
            "endpoint_profile": path.name,
            "against": deployment.model.name,
            "on": f"{made.num_accelerators} {deployment.cluster.name}",
            "probes": len(denoised.probes),
        },
        tuple(rows),
        notes=(
            *denoised.notes,
            f"the idealized runtime is {made.basis.value}"
            + (f", as {made.engine} runs it" if made.engine else ", from the data sheet")
            + "; its doubt is in the interval of the factor",
            "model and software, contention, drift, queue and network add up to raw",
        ),
        sources={"endpoint": str(entries[0].get("subject", "")) if entries else ""},
    )


def _part(name: str, part: Interval | None, raw_s: float | None) -> Row:
    if part is None:
        return {
            "part": name,
            "value": None,
            "lower": None,
            "upper": None,
            "unit": "s",
            "share": None,
        }
    return {
        "part": name,
        "value": part.expected,
        "lower": part.lower,
        "upper": part.upper,
        "unit": "s",
        "share": None if raw_s is None else part.expected / raw_s,
    }
