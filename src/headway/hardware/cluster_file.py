"""A TOML file of accelerators and their links becomes a `Cluster`; units become SI here only.

The schema is described in docs/catalogue-hardware.md.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from headway.dtypes import DType
from headway.errors import InputError, UnknownNameError, reason
from headway.hardware.accelerator import Accelerator, Citation
from headway.hardware.cluster import Cluster
from headway.hardware.fabric import Link
from headway.units import GB, GIB, TFLOPS, US

MOST_FILE_BYTES = 16_000  # entries are below 4,000; the TOML reader is quadratic in long keys
VENDORS = ("nvidia", "amd", "google", "groq", "any")

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Quantity:
    """A number as a file gives it: its name inside, its scale to SI, and what is still sane.

    The bounds are in the unit of the file. They are wide of all hardware there is and narrow
    enough to catch bytes written for GiB, or flops for TFLOPS.
    """

    si_name: str
    scale: float
    least: float
    most: float


_ACCELERATOR = {
    "memory_gib": _Quantity("memory_bytes", GIB, 1e-6, 1e6),
    "memory_bandwidth_gb_per_s": _Quantity("memory_bandwidth_bytes_per_s", GB, 1e-3, 1e7),
    "tdp_w": _Quantity("tdp_w", 1.0, 1e-3, 1e6),
    "idle_w": _Quantity("idle_w", 1.0, 0.0, 1e6),
    "price_usd_per_hour": _Quantity("price_usd_per_accelerator_hour", 1.0, 1e-6, 1e6),
}
_LINK = {
    "domain_size": _Quantity("domain_size", 1.0, 1, 1e7),
    "bandwidth_gb_per_s": _Quantity("bandwidth_bytes_per_s", GB, 1e-3, 1e7),
    "latency_us": _Quantity("latency_s", US, 1e-4, 1e6),
}
_RATES = {
    dtype.value: _Quantity(f"peak_flops_per_s.{dtype.value}", TFLOPS, 1e-6, 1e6) for dtype in DType
}
_OPTIONAL = ("title", "vendor", "aliases", "tdp_w", "idle_w", "price_usd_per_hour")
_FIELDS = ("name", "title", "vendor", "aliases", *_ACCELERATOR, "peak_tflops", "links")


def read_cluster(path: str | Path) -> Cluster:
    """Return the accelerators that the TOML file at ``path`` describes.

    Raises:
        InputError: the file is missing, too large, not TOML, or lacks or mistakes a field; the
            message names the file and the field.

    """
    where = Path(path).name or str(path)
    return cluster_of_text(_read_text(Path(path), where), where)


def cluster_of_text(text: str, where: str) -> Cluster:
    """Return the accelerators that the TOML ``text`` describes; messages call it ``where``.

    Raises:
        InputError: the text is not TOML, or lacks or mistakes a field.

    """
    return _cluster(_parse(text, where), where)


def _read_text(path: Path, where: str) -> str:
    try:
        if path.is_dir():
            raise InputError(f"{where} is a folder; give a TOML file")
        if path.exists() and not path.is_file():
            # A pipe or a device would block or never end.
            raise InputError(f"{where} is not a regular file; give a TOML file")
        with path.open("rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"there is no file {str(path)[:200]!r}; give a TOML file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)[:200]!r} cannot be read: {reason(error)}") from None
    if len(content) > MOST_FILE_BYTES:
        raise InputError(f"{where} is larger than {MOST_FILE_BYTES} bytes; is it a hardware file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{where} is not text in UTF-8; give a TOML file") from None


def _parse(text: str, where: str) -> Table:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{where} is not TOML that can be used: it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where} is not TOML: {error}") from None


def _cluster(table: Table, where: str) -> Cluster:
    _check_fields(table, _FIELDS, _OPTIONAL, where)
    name = _words(table, "name", where)
    _words(table, "title", where, name)
    vendor = _words(table, "vendor", where, "any")
    if vendor not in VENDORS:
        raise InputError(f"{where}: vendor must be one of {', '.join(VENDORS)}, not {vendor!r}")
    aliases = table.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise InputError(f"{where}: aliases must be a list of names")
    chip: dict[str, Citation] = {}
    rest: dict[str, Citation] = {}
    memory_bytes = _number(table, "memory_gib", _ACCELERATOR, where, chip)
    bandwidth = _number(table, "memory_bandwidth_gb_per_s", _ACCELERATOR, where, chip)
    tdp_w, idle_w = (
        _number(table, key, _ACCELERATOR, where, chip) if key in table else None
        for key in ("tdp_w", "idle_w")
    )
    has_price = "price_usd_per_hour" in table
    price = _number(table, "price_usd_per_hour", _ACCELERATOR, where, rest) if has_price else None
    if idle_w is not None and tdp_w is not None and idle_w > tdp_w:
        raise InputError(f"{where}: idle_w must be at most tdp_w, {tdp_w:g}, not {idle_w:g}")
    rates = _rates(table["peak_tflops"], where, chip)
    links = _links(table["links"], where, rest)
    try:
        accelerator = Accelerator(
            name, vendor, memory_bytes, bandwidth, rates, tdp_w, idle_w, sources=chip
        )
        return Cluster(accelerator, links[-1].domain_size, links, price, sources=rest)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _links(found: object, where: str, sources: dict[str, Citation]) -> tuple[Link, ...]:
    if not isinstance(found, list) or not all(isinstance(link, dict) for link in found):
        raise InputError(f"{where}: links must be tables, each under a line [[links]]")
    if not found:
        raise InputError(f"{where}: links is empty; give at least one, with domain_size 1 if alone")
    links = []
    for i, table in enumerate(found):
        at = f"{where}, link {i + 1}"
        _check_fields(table, ("name", *_LINK), (), at)
        prefix = f"links.{i}."
        domain = _number(table, "domain_size", _LINK, at, sources, prefix)
        if domain != int(domain):
            raise InputError(f"{at}: domain_size must be a whole number, not {domain:g}")
        links.append(
            Link(
                name=_words(table, "name", at),
                bandwidth_bytes_per_s=_number(
                    table, "bandwidth_gb_per_s", _LINK, at, sources, prefix
                ),
                latency_s=_number(table, "latency_us", _LINK, at, sources, prefix),
                domain_size=int(domain),
            )
        )
    return tuple(links)


def _rates(found: object, where: str, sources: dict[str, Citation]) -> dict[DType, float]:
    if not isinstance(found, dict) or not found:
        raise InputError(f"{where}: peak_tflops must be a table with at least one rate, say bf16")
    rates = {}
    for key in found:
        if key not in _RATES:
            raise UnknownNameError(f"number format in {where}", key, _RATES)
        rates[DType(key)] = _number(found, key, _RATES, f"{where}, peak_tflops", sources)
    return rates


def _check_fields(table: Table, known: Iterable[str], optional: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise UnknownNameError(f"field in {where}", key, known)
    missing = [key for key in known if key not in table and key not in optional]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}")


def _words(table: Table, key: str, where: str, default: str = "") -> str:
    words = table.get(key, default)
    if not isinstance(words, str) or not words.strip() or len(words) > 200:
        raise InputError(f"{where}: {key} must be a text of 1 to 200 characters")
    if not words.isprintable():
        raise InputError(f"{where}: {key} must be one line of printable characters")
    return words


def _number(
    table: Table,
    key: str,
    quantities: Mapping[str, _Quantity],
    where: str,
    sources: dict[str, Citation],
    prefix: str = "",
) -> float:
    """The number under ``key``, in SI; its citation, if it has one, goes into ``sources``."""
    quantity = quantities[key]
    value = table[key]
    if isinstance(value, dict):
        _check_fields(value, ("value", "url", "date", "note"), ("note",), f"{where}, {key}")
        sources[prefix + quantity.si_name] = _citation(value, f"{where}, {key}")
        value = value["value"]
    # bool is an int to Python, and no number to a person.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {key} must be a number, or a table of value, url and date")
    # Compared before it is converted or shown: TOML integers have no bound, floats do.
    if not quantity.least <= value <= quantity.most:
        shown = f", not {value:g}" if abs(value) < 1e300 or isinstance(value, float) else ""
        raise InputError(
            f"{where}: {key} must be from {quantity.least:g} to {quantity.most:g}{shown}"
        )
    return float(value) * quantity.scale


def _citation(table: Table, where: str) -> Citation:
    day = table["date"]
    try:
        # TOML has dates of its own; with or without quotes is the same to us.
        text = day.isoformat() if isinstance(day, date) else date.fromisoformat(day).isoformat()
    except (TypeError, ValueError):
        raise InputError(f"{where}: date must be a day such as 2026-11-20") from None
    note = table.get("note", "")
    if not isinstance(note, str):
        raise InputError(f"{where}: note must be text")
    url = table["url"]
    if not isinstance(url, str) or not url.strip():
        raise InputError(f"{where}: url must be text, or 'assumed: ' and the reason")
    return Citation(url, text, note)
