"""The hardware catalogue: a name, or the path of a user's own file, becomes a `Cluster`.

One TOML file per entry lies in the folder of the same name; its stem is the entry's name. Only
the file that is asked for is parsed whole: the others cost a start of the command line too much.

People write one chip in many ways. `Form` is what is left of a name without makers, series and
marks ("NVIDIA GeForce RTX 4090" is rtx4090), with the size of the memory apart.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
_MARKS = re.compile(r"[\s_,()+®™\-\u2010-\u2015]+")
_SIZE = re.compile(r"\b(\d{1,4}) ?g(?:i?b)?\b")
_SXM = re.compile(r"\bsxm\d\b")
_SAME_SIZE = 0.15  # data sheets and drivers differ by less, cards of one name by more
# What says nothing that the rest of a name does not say, and is often left out.
_NOISE = re.compile(
    r"\b(nvidia|amd|intel|apple|google|cloud|tpu|aws|amazon|huawei|sambanova|geforce|radeon|instinct|tesla"
    r"|blackwell|generation|edition|series|gpus?|accelerator|graphics|card|module|oam|developer|kit"
    r"|hbm[23]?e?|gddr[67]x?|macbook (pro|air)|mac (studio|mini|pro))\b"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a list of the catalogue shows: ``name``, ``title``, ``vendor`` and other names.

    Where the memory is the machine's and sold in several sizes, ``unified_gb`` is the entry's.
    """

    name: str
    title: str
    vendor: str
    aliases: tuple[str, ...] = ()
    unified_gb: int | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """The one form of all ways to write a name: its ``letters``, and a size of memory if given."""

    letters: str
    size_gb: int | None = None

    @classmethod
    def of(cls, name: str) -> Form:
        """Return the form of ``name``: "H100-SXM5-80GB" is h100sxm of 80 GB."""
        text = _SXM.sub("sxm", _MARKS.sub(" ", name.lower()))
        size = _SIZE.search(text)
        letters = "".join(_NOISE.sub("", _SIZE.sub("", text, count=1)).split(" "))
        return cls(letters, None if size is None else int(size.group(1)))


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
    return tuple(map(_header, names()))


def find_entry(name: str) -> Entry:
    """Return the entry called ``name``, or by one of its aliases, in any way of writing it.

    Raises:
        UnknownNameError: there is none; the message carries the nearest names.

    """
    entry = _entry_or_none(name)
    if entry is not None:
        return entry
    aliases = (
        alias
        for entry in entries()
        for alias in entry.aliases
        if Form.of(alias).letters != Form.of(entry.name).letters  # not one name twice
    )
    raise UnknownNameError(
        "hardware", name, (*_stems(), *aliases, *instances()), like=Form.of(name).letters
    )


def _entry_or_none(name: str) -> Entry | None:
    """Return the entry that ``name`` stands for."""
    own_name = "-".join(name.lower().replace("_", " ").split())
    if own_name in _stems():
        return _header(own_name)

    # A size is part of some names (a100-40g); elsewhere it must be that of the one entry.
    form = Form.of(name)
    if form in _forms():
        return _header(_forms()[form])
    stem = None if form.size_gb is None else _forms().get(Form(form.letters))
    if form.size_gb is None or stem is None:
        return None
    entry = _header(stem)
    size = _SIZE.search(entry.title.lower())
    is_same = size is None or abs(form.size_gb / int(size.group(1)) - 1) < _SAME_SIZE
    is_part = entry.unified_gb is not None and 0 < form.size_gb <= entry.unified_gb
    return entry if is_same or is_part else None


@cache
def _forms() -> Mapping[Form, str]:
    """Return the entry of every form of a name or alias."""
    return {Form.of(name): e.name for e in entries() for name in (*e.aliases, e.name)}


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
    if _is_path(name):
        cluster = read_cluster(name)
    else:
        entry = _entry_or_none(name)
        instance = _instances_by_form().get(Form.of(name)) if entry is None else None
        if instance is not None:
            num_inside, name = _count_and_name(instance.contents)
            count = (count or 1) * (num_inside or 1)
        cluster = _sized_cluster(entry or find_entry(name), Form.of(name).size_gb)

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
        name.lower(): Instance(
            name=name,
            cloud=cloud["title"],
            contents=contents,
            source=Citation(cloud["url"], cloud["date"], cloud["note"]),
        )
        for cloud in clouds.values()
        for name, contents in cloud["instances"].items()
    }


@cache
def _instances_by_form() -> Mapping[Form, Instance]:
    return {Form.of(name): instance for name, instance in instances().items()}


def _count_and_name(text: str) -> tuple[int | None, str]:
    """Split ``8xh100`` into 8 and ``h100``; the count is ``None`` where none is written."""
    match = _COUNT.match(text)
    return (int(match.group(1)), text[match.end() :]) if match else (None, text)


def _is_path(text: str) -> bool:
    return text.lower().endswith(".toml") or "/" in text or os.sep in text


@cache
def _stems() -> frozenset[str]:
    return frozenset(file.stem for file in (_ROOM / "catalogue").glob("*.toml"))


def _catalogue_text(stem: str) -> str:
    return (_ROOM / "catalogue" / f"{stem}.toml").read_text(encoding="utf-8")


@cache
def _header(stem: str) -> Entry:
    """Return an entry from the lines before the first empty one: words only."""
    table = tomllib.loads(_catalogue_text(stem).partition("\n\n")[0])
    return Entry(
        name=table["name"],
        title=table["title"],
        vendor=table["vendor"],
        aliases=tuple(table["aliases"]),
        unified_gb=table.get("unified_gb"),
    )


@cache
def _sized_cluster(entry: Entry, size_gb: int | None) -> Cluster:
    """Return the cluster of ``entry``; a machine of less memory leaves less to the accelerator."""
    cluster = cluster_of_text(_catalogue_text(entry.name), f"{entry.name}.toml")
    if size_gb is None or entry.unified_gb is None:
        return cluster
    chip = cluster.accelerator
    memory_bytes = chip.memory_bytes * size_gb / entry.unified_gb
    return replace(cluster, accelerator=replace(chip, memory_bytes=memory_bytes))
