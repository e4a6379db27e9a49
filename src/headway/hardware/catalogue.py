"""The hardware catalogue: a name, or the path of a user's own file, becomes a `Cluster`.

One TOML file per entry lies in the folder of the same name; its stem is the entry's name. Only
the file that is asked for is parsed whole: the others cost a start of the command line too much.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from headway.errors import InputError, UnknownNameError
from headway.hardware.accelerator import Citation
from headway.hardware.cluster import Cluster
from headway.hardware.cluster_file import cluster_of_text, read_cluster
from headway.hardware.price import PriceBook, shipped_prices

ALL = "all"
_ROOM = Path(__file__).parent
_COUNT = re.compile(r"^\s*(\d{1,9})\s*x\s*(?=\S)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a list of the catalogue shows: ``name``, ``title``, ``vendor`` and other names."""

    name: str
    title: str
    vendor: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """What a cloud rents under one ``name``: ``contents`` such as ``8xh100``."""

    name: str
    cloud: str
    contents: str
    source: Citation


def names() -> tuple[str, ...]:
    """Return the names of all entries, in alphabetical order."""
    return tuple(sorted(_stems()))


def entries() -> tuple[Entry, ...]:
    """Return all entries, in the order of `names`; only the first lines of a file are parsed."""
    return tuple(_headers().values())


def find_entry(name: str) -> Entry:
    """Return the entry called ``name``, or by one of its aliases, in any case.

    Raises:
        UnknownNameError: there is none; the message carries the nearest names.

    """
    key = _key(name)
    if key in _stems():
        return _headers()[key]

    for entry in entries():
        if key in entry.aliases:
            return entry
    aliases = (alias for entry in entries() for alias in entry.aliases)
    raise UnknownNameError("hardware", name, (*_stems(), *aliases, *instances()))


def find_cluster(
    text: str, usd_per_hour: float | None = None, prices: PriceBook | None = None
) -> Cluster:
    """Return the accelerators that ``text`` names, as many as their outermost link connects.

    Args:
        text: a catalogue name or alias (``h100``), the path of a user's own file (``my_chip.toml``:
            what ends in ``.toml`` or holds a slash), or the name of a cloud's instance
            (``p5.48xlarge``), in any case. A number before it says how many there are (``8xH100``).
        usd_per_hour: price of one accelerator for an hour, instead of a quote.
        prices: quotes, instead of those that come with Headway.

    Raises:
        UnknownNameError: no entry has that name or alias; the message carries the nearest names.
        InputError: the user's own file cannot be used, or its links connect fewer accelerators.

    """
    count, name = _count_and_name(text)
    instance = instances().get(_key(name)) if _key(name) not in _stems() else None
    if instance is not None:
        num_inside, name = _count_and_name(instance.contents)
        count = (count or 1) * (num_inside or 1)

    cluster = read_cluster(name) if _is_path(name) else _catalogue_cluster(find_entry(name).name)
    if count is not None:
        domain_size = cluster.links[-1].domain_size
        if not 1 <= count <= domain_size:
            raise InputError(
                f"{text.strip()[:40]!r} asks for {count:,} accelerators, and the links of "
                f"{cluster.name} connect 1 to {domain_size:,}"
            )
        cluster = cluster.of(count)
    if usd_per_hour is not None:
        return cluster.at_price(usd_per_hour)
    # The price in a file of one's own gives way to quotes that were asked for, and to no others.
    if prices is None and cluster.price is not None:
        return cluster
    return cluster.at_price((prices or shipped_prices()).usual(cluster.name) or cluster.price)


def find_clusters(
    text: str, usd_per_hour: float | None = None, prices: PriceBook | None = None
) -> tuple[Cluster, ...]:
    """Return the clusters that a list names: ``h100,8xh200,my_chip.toml``, or ``all`` there are.

    A folder stands for all TOML files in it. The arguments and errors are those of `find_cluster`.
    """
    cluster_names: list[str] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        if part.lower() == ALL:
            cluster_names += names()
        elif _is_path(part) and Path(part).is_dir():
            cluster_names += sorted(map(str, Path(part).glob("*.toml")))
        else:
            cluster_names.append(part)

    if not cluster_names:
        raise InputError(f"give at least one accelerator, such as h100,mi300x, not {text[:40]!r}")
    return tuple(find_cluster(name, usd_per_hour, prices) for name in dict.fromkeys(cluster_names))


@cache
def instances() -> Mapping[str, Instance]:
    """Return the instances of clouds whose contents are known, by name in lower case."""
    clouds = tomllib.loads((_ROOM / "instances.toml").read_text(encoding="utf-8"))
    return {
        _key(name): Instance(
            name=name,
            cloud=cloud["title"],
            contents=contents,
            source=Citation(cloud["url"], cloud["date"], cloud["note"]),
        )
        for cloud in clouds.values()
        for name, contents in cloud["instances"].items()
    }


def _count_and_name(text: str) -> tuple[int | None, str]:
    """Split ``8xh100`` into 8 and ``h100``; the count is ``None`` where none is written."""
    match = _COUNT.match(text)
    return (int(match.group(1)), text[match.end() :]) if match else (None, text)


def _is_path(text: str) -> bool:
    return text.lower().endswith(".toml") or "/" in text or os.sep in text


def _key(name: str) -> str:
    return "-".join(name.lower().replace("_", " ").split())


@cache
def _stems() -> frozenset[str]:
    return frozenset(file.stem for file in (_ROOM / "catalogue").glob("*.toml"))


def _catalogue_text(stem: str) -> str:
    return (_ROOM / "catalogue" / f"{stem}.toml").read_text(encoding="utf-8")


@cache
def _headers() -> Mapping[str, Entry]:
    """Return the entries by stem, from the lines before the first empty one: words only."""
    headers = {}
    for stem in names():
        table = tomllib.loads(_catalogue_text(stem).partition("\n\n")[0])
        headers[stem] = Entry(
            table["name"], table["title"], table["vendor"], tuple(table["aliases"])
        )
    return headers


@cache
def _catalogue_cluster(stem: str) -> Cluster:
    return cluster_of_text(_catalogue_text(stem), f"{stem}.toml")
