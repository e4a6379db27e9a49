"""The hardware catalogue: a name, or the path of a user's own file, becomes a `Cluster`.

One TOML file per entry lies in the folder of the same name; its stem is the entry's name. Only
the file that is asked for is parsed whole: the others cost a start of the command line too much.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from headway.errors import UnknownNameError
from headway.hardware.cluster import Cluster
from headway.hardware.cluster_file import cluster_of_text, read_cluster


@dataclass(frozen=True, slots=True)
class Entry:
    """What a list of the catalogue shows: ``name``, ``title``, ``vendor`` and other names."""

    name: str
    title: str
    vendor: str
    aliases: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """The names of all entries, in alphabetical order."""
    return tuple(sorted(_stems()))


def entries() -> tuple[Entry, ...]:
    """All entries, in the order of `names`; only the first lines of each file are parsed."""
    return tuple(_headers().values())


def find_entry(name: str) -> Entry:
    """Return the entry called ``name``, or by one of its aliases, in any case.

    Raises:
        UnknownNameError: there is none; the message carries the nearest names.

    """
    return _headers()[_stem_of(name)]


def find_cluster(name_or_path: str) -> Cluster:
    """Return the accelerators called ``name_or_path``, as many as their outermost link connects.

    What ends in ``.toml`` or holds a slash is the path of a user's own file.

    Raises:
        UnknownNameError: no entry has that name or alias; the message carries the nearest names.
        InputError: the user's own file cannot be used.

    """
    if name_or_path.lower().endswith(".toml") or "/" in name_or_path or os.sep in name_or_path:
        return read_cluster(name_or_path)
    return _catalogue_cluster(_stem_of(name_or_path))


@cache
def _stems() -> frozenset[str]:
    folder = files("headway.hardware") / "catalogue"
    return frozenset(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml"))


def _catalogue_text(stem: str) -> str:
    path = files("headway.hardware") / "catalogue" / f"{stem}.toml"
    return path.read_text(encoding="utf-8")


@cache
def _headers() -> Mapping[str, Entry]:
    """Entry by stem, from the lines before the first empty one, which hold words only."""
    headers = {}
    for stem in names():
        table = tomllib.loads(_catalogue_text(stem).partition("\n\n")[0])
        aliases = tuple(table["aliases"])
        headers[stem] = Entry(table["name"], table["title"], table["vendor"], aliases)
    return headers


def _stem_of(name: str) -> str:
    key = "-".join(name.lower().replace("_", " ").split())
    if key in _stems():
        return key
    by_alias = {alias: stem for stem, entry in _headers().items() for alias in entry.aliases}
    if key not in by_alias:
        raise UnknownNameError("hardware", name, (*_stems(), *by_alias))
    return by_alias[key]


@cache
def _catalogue_cluster(stem: str) -> Cluster:
    return cluster_of_text(_catalogue_text(stem), f"{stem}.toml")
