"""A TOML file of accelerators and their links becomes a `Cluster`; units become SI here only.

The schema is described in docs/catalogue-hardware.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from headway.dtypes import DType
from headway.errors import InputError, UnknownNameError
from headway.hardware.accelerator import EXCHANGES, Accelerator, Citation
from headway.hardware.cluster import Cluster, Link
from headway.hardware.price import Price
from headway.units import GB, GIB, TFLOPS, US
from headway.user_file import parse_toml, read_text

MAX_FILE_BYTES = 16_000  # entries are below 4,000; the TOML reader is quadratic in long keys


@dataclass(frozen=True, slots=True)
class _Quantity:
    """A number as a file gives it: its name inside, its scale to SI, and what is still sane.

    The bounds are in the unit of the file. They are wide of all hardware there is and narrow
    enough to catch bytes written for GiB, or flops for TFLOPS.
    """

    si_name: str
    scale: float
    minimum: float
    maximum: float


_OWN_QUANTITIES = {
    "memory_gib": _Quantity("memory_bytes", GIB, 1e-6, 1e6),
    "memory_bandwidth_gb_per_s": _Quantity("memory_bandwidth_bytes_per_s", GB, 1e-3, 1e7),
    "tdp_w": _Quantity("tdp_w", 1.0, 1e-3, 1e6),
    "idle_w": _Quantity("idle_w", 1.0, 0.0, 1e6),
    "price_usd_per_hour": _Quantity("usd_per_accelerator_hour", 1.0, 1e-6, 1e6),
}
_LINK_QUANTITIES = {
    "domain_size": _Quantity("domain_size", 1.0, 1, 1e7),
    "bandwidth_gb_per_s": _Quantity("bandwidth_bytes_per_s", GB, 1e-3, 1e7),
    "latency_us": _Quantity("latency_s", US, 1e-4, 1e6),
}
_RATES = {
    dtype.value: _Quantity(f"peak_flops_per_s.{dtype.value}", TFLOPS, 1e-6, 1e6) for dtype in DType
}
_QUANTITIES = {**_OWN_QUANTITIES, **_LINK_QUANTITIES, **_RATES}
_WORDS = ("name", "title", "vendor", "family", "exchanges", "aliases", "unified_gb")
_FIELDS = (*_WORDS, *_OWN_QUANTITIES, "peak_tflops", "links")
_OPTIONAL = (*_WORDS[1:], "tdp_w", "idle_w", "price_usd_per_hour")


def read_cluster(path: str | Path) -> Cluster:
    """Return the accelerators that the TOML file at ``path`` describes.

    Raises:
        InputError: the file is missing, too large, not TOML, or lacks or mistakes a field; the
            message names the file and the field.

    """
    text = read_text(path, "a TOML file", MAX_FILE_BYTES)
    return cluster_of_text(text, Path(path).name)


def cluster_of_text(text: str, where: str) -> Cluster:
    """Return the accelerators that the TOML ``text`` describes; messages call it ``where``.

    Raises:
        InputError: the text is not TOML, or lacks or mistakes a field.

    """
    content = parse_toml(text, where)
    chip, outside = _Table(content, where), _Table(content, where)
    chip.check_fields(_FIELDS, _OPTIONAL)

    accelerator, links = _accelerator(chip), _links(content["links"], outside)
    usd_per_hour = outside.number_or_none("price_usd_per_hour")
    citation = outside.sources.pop("usd_per_accelerator_hour", None)
    price = None if usd_per_hour is None else Price(usd_per_hour, citation=citation)
    try:
        return Cluster(
            accelerator=accelerator,
            num_accelerators=links[-1].domain_size,
            links=links,
            price=price,
            sources=outside.sources,
        )
    except InputError as error:
        raise chip.error(str(error)) from None


def _accelerator(table: _Table) -> Accelerator:
    name, exchanges = table.words("name"), table.words("exchanges", "library")
    table.words("title", name)
    if exchanges not in EXCHANGES:
        raise table.error(f"exchanges must be one of {', '.join(EXCHANGES)}, not {exchanges!r}")
    aliases = table.content.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise table.error("aliases must be a list of names")

    tdp_w, idle_w = table.number_or_none("tdp_w"), table.number_or_none("idle_w")
    if idle_w is not None and tdp_w is not None and idle_w > tdp_w:
        raise table.error(f"idle_w must be at most tdp_w, {tdp_w:g}, not {idle_w:g}")

    return Accelerator(
        name=name,
        vendor=table.words("vendor", "any"),
        memory_bytes=table.number("memory_gib"),
        memory_bandwidth_bytes_per_s=table.number("memory_bandwidth_gb_per_s"),
        peak_flops_per_s=_rates(table.content["peak_tflops"], table),
        tdp_w=tdp_w,
        idle_w=idle_w,
        family=table.words("family", name),
        exchanges=exchanges,
        sources=table.sources,
    )


def _links(content: object, file: _Table) -> tuple[Link, ...]:
    if not isinstance(content, list) or not all(isinstance(link, dict) for link in content):
        raise file.error("links must be tables, each under a line [[links]]")
    if not content:
        raise file.error("links is empty; give at least one, with domain_size 1 if alone")

    links = []
    for i, fields in enumerate(content):
        table = _Table(fields, f"{file.where}, link {i + 1}", file.sources, f"links.{i}.")
        table.check_fields(("name", *_LINK_QUANTITIES))

        domain_size = table.number("domain_size")
        if domain_size != int(domain_size):
            raise table.error(f"domain_size must be a whole number, not {domain_size:g}")
        links.append(
            Link(
                name=table.words("name"),
                bandwidth_bytes_per_s=table.number("bandwidth_gb_per_s"),
                latency_s=table.number("latency_us"),
                domain_size=int(domain_size),
            )
        )
    return tuple(links)


def _rates(content: object, file: _Table) -> dict[DType, float]:
    if not isinstance(content, dict) or not content:
        raise file.error("peak_tflops must be a table with at least one rate, say bf16")
    for name in content:
        if name not in _RATES:
            raise UnknownNameError(f"number format in {file.where}", name, _RATES)

    table = _Table(content, f"{file.where}, peak_tflops", file.sources)
    return {DType(name): table.number(name) for name in content}


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the file: its fields are read, and their citations collected in ``sources``."""

    content: Mapping[str, Any]
    where: str
    sources: dict[str, Citation] = field(default_factory=dict)
    prefix: str = ""

    def error(self, message: str) -> InputError:
        """Return the error to raise, with the place in the file."""
        return InputError(f"{self.where}: {message}")

    def check_fields(self, names: Iterable[str], optional: Iterable[str] = ()) -> None:
        """Raise `InputError` for a field that is not among ``names``, or one that is missing."""
        for key in self.content:
            if key not in names:
                raise UnknownNameError(f"field in {self.where}", key, names)
        missing = [key for key in names if key not in self.content and key not in optional]
        if missing:
            raise InputError(f"{self.where} lacks {', '.join(missing)}")

    def words(self, key: str, default: str = "") -> str:
        """Return the one line of text under ``key``."""
        words = self.content.get(key, default)
        if not isinstance(words, str) or not words.strip() or len(words) > 200:
            raise self.error(f"{key} must be a text of 1 to 200 characters")
        if not words.isprintable():
            raise self.error(f"{key} must be one line of printable characters")
        return words

    def number_or_none(self, key: str) -> float | None:
        """Return `number`, or ``None`` where ``key`` is missing."""
        return self.number(key) if key in self.content else None

    def number(self, key: str) -> float:
        """Return the number under ``key``, in SI; keep its citation if it has one."""
        quantity, value = _QUANTITIES[key], self.content[key]
        if isinstance(value, dict):
            cited = _Table(value, f"{self.where}, {key}")
            cited.check_fields(("value", "url", "date", "note"), optional=("note",))
            self.sources[self.prefix + quantity.si_name] = cited.citation()
            value = value["value"]

        # bool is an int to Python, and no number to a person.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"{key} must be a number, or a table of value, url and date")

        # Compared before it is converted or shown: TOML integers have no bound, floats do.
        if not quantity.minimum <= value <= quantity.maximum:
            actual = f", not {value:g}" if abs(value) < 1e300 or isinstance(value, float) else ""
            raise self.error(
                f"{key} must be from {quantity.minimum:g} to {quantity.maximum:g}{actual}"
            )
        return float(value) * quantity.scale

    def citation(self) -> Citation:
        """Return this table's ``url``, ``date`` and ``note``."""
        day, url, note = self.content["date"], self.content["url"], self.content.get("note", "")
        try:
            # TOML has dates of its own; with or without quotes is the same to us.
            text = day.isoformat() if isinstance(day, date) else date.fromisoformat(day).isoformat()
        except (TypeError, ValueError):
            raise self.error("date must be a day such as 2026-11-20") from None

        if not isinstance(note, str):
            raise self.error("note must be text")
        if not isinstance(url, str) or not url.strip():
            raise self.error("url must be text, or 'assumed: ' and the reason")
        return Citation(url, text, note)
