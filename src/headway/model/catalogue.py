"""The models that come with Headway: one JSON file each, with the source of its numbers.

Each file holds the published `config.json` and is read only when it is asked for. What else a model
is called stands for all of them in `other_names.json`, so that a name is looked up in one file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from headway.errors import InputError, UnknownNameError
from headway.model.architecture import ModelArchitecture
from headway.model.huggingface.config import architecture_from_config, read_config
from headway.model.huggingface.quantization import native_precision, read_precision
from headway.model.precision import Precision

ModelSource = str | Path | Mapping[str, object]
"""A name, a Hugging Face id, the path of a `config.json` or of its folder, or its content."""

_FOLDER = Path(__file__).with_name("catalogue")
_OTHER_NAMES = Path(__file__).with_name("other_names.json")
# What publishers add to a base model's name without changing its layers.
# MLPerf adds how much of the accuracy must be kept, and llama-bench "mostly".
_TUNING = re.compile(
    r"-(instruct|chat|it|base|hf|pt|latest|turbo|interactive|mostly|99(\.9)?)(?=-|$)"
)
_UNCOUNTED = "not said"
# What those who quantize a checkpoint add, and in what it is then stored; the first that matches.
_QUANTIZED = {
    r"-fp8-kv": "fp8/fp8/fp8",
    r"-wmxfp4-amxfp4-kvfp8[a-z0-9-]*": "mxfp4/mxfp4/fp8",
    r"-fp8(-dynamic|-block|-static(-pertensor)?)?": "fp8",
    r"-(nv)?fp4(-v\d+|-preview)?": "nvfp4",
    r"-mxfp4(-v\d+|-preview)?": "mxfp4",
    r"-gptq-(int8|8bit)|-(quantized-)?w8a16|-((bnb|mlx|awq)-)?8bit|-q8-0": "int8/bf16",
    r"-(quantized-)?w8a8|-int8": "int8",
    r"-(awq|gptq)(-int4|-4bit|-4b)?(-g?128g?)?|-int4(-awq)?|-nf4": "int4",
    r"-(quantized-)?w4a16(-g128)?|-(unsloth-)?((bnb|mlx)-)?4bit": "int4",
    r"(-qat)?-(iq4-(nl|xs)|q4-(0|1|k(-[ms]|-medium|-small)?))(-unquantized)?": "int4",
    r"-bf16": "bf16",
    r"-fp16": "fp16",
    # Several formats side by side, and formats between those that are counted.
    r"(-i1)?-gguf|-iq[1235][a-z0-9-]*|-q[2356]-[a-z0-9-]+": _UNCOUNTED,
}


@dataclass(frozen=True, slots=True)
class Published:
    """What the publisher counts.

    A whole number is exact, text such as ``"12.9B"`` is rounded as printed; ``active`` is ``None``
    for dense models. The two texts say what is in the counts, ``url`` and ``quote`` where they are.
    """

    total: int | str
    total_counts: str
    active: str | None
    active_counts: str | None
    url: str
    quote: str | None


@dataclass(frozen=True, slots=True)
class Variant:
    """In what a tuned model of an entry differs: its published precision, its longest context."""

    precision: str | None = None
    max_context_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue: its configuration, and where every number comes from."""

    name: str
    title: str
    aliases: tuple[str, ...]
    source_url: str
    source_date: str
    published: Published
    config: Mapping[str, object]
    precision: str | None
    note: str | None
    variants: Mapping[str, Variant]


def names() -> tuple[str, ...]:
    """Return the names of all models in the catalogue, sorted."""
    return tuple(sorted(file.stem for file in _files().values()))


def find_model(source: ModelSource) -> ModelArchitecture:
    """Return the model that ``source`` names, or that a `config.json` describes.

    A name may be that of a catalogue entry, one of its aliases, or a Hugging Face id, of which the
    last part counts (``meta-llama/Llama-3.1-70B-Instruct``). Case, spaces, ``_`` and ``-`` do not
    matter (``Llama 3.1 70B Instruct``, ``llama3.1:70b``). Tuned and quantized variants
    (``-Instruct``, ``-FP8-dynamic``, ``-AWQ``) have the layers of their base.

    Raises:
        UnknownNameError: no such model; carries the nearest names.
        InputError: the configuration cannot be used.

    """
    if isinstance(source, Mapping):
        model = architecture_from_config(source, str(source.get("_name_or_path") or "model"))
    elif _is_path(str(source)):
        model = read_config(source)
    else:
        entry = find_entry(str(source))
        model = architecture_from_config(entry.config, entry.name)
        variant = _variant(entry, str(source))
        if variant.max_context_tokens is not None:
            model = replace(model, max_context_tokens=variant.max_context_tokens)
    return replace(model, precision=_stated_precision(source))


def find_precision(source: ModelSource, precision: str | None = None) -> Precision:
    """Return ``precision``, or the one in which the model of ``source`` is published.

    A quantized variant's name says it (``-FP8-dynamic`` is fp8, ``-AWQ`` int4).

    Raises:
        UnknownNameError: no such model or number format; carries the nearest names.
        InputError: the configuration cannot be used, or states no precision.

    """
    if precision is not None:
        return Precision.parse(precision)
    if isinstance(source, Mapping):
        return native_precision(source)
    if _is_path(str(source)):
        return read_precision(source)

    entry, ending = _find(str(source))
    if ending == _UNCOUNTED:
        raise InputError(
            f"{str(source)[:80]!r} does not say one number format that is counted here; say which "
            "with --precision, int4/bf16 for Q4"
        )
    stated = ending or _variant(entry, str(source)).precision or entry.precision
    if stated is not None:
        return Precision.parse(stated)
    return native_precision(entry.config)


def _stated_precision(source: ModelSource) -> Precision | None:
    """Return the precision that ``source`` states, if it does."""
    try:
        return find_precision(source)
    except InputError:
        return None


def find_entry(name: str) -> Entry:
    """Return the catalogue entry called ``name``; raise `UnknownNameError` with the nearest names.

    The whole name comes first, then the name without its number format and its tuning, so that an
    alias counts before the base model that it is tuned from.
    """
    return _find(name)[0]


def _find(name: str) -> tuple[Entry, str | None]:
    """Return the entry called ``name``, and the number format that an ending of ``name`` says."""
    files = _files()
    for key, ending in _readings(name):
        file = files.get(key) or _aliases().get(key)
        if file is not None:
            return _read(file), ending
    raise UnknownNameError("model", name, names(), like=_TUNING.sub("", _dashed(name)))


def _readings(name: str) -> Iterator[tuple[str, str | None]]:
    """Yield normal forms of ``name``, from the whole to its base, and the format of the endings."""
    # An underscore between digits is a dot on the Hub (Llama-3_3-Nemotron), elsewhere a dash.
    for text in dict.fromkeys((name, re.sub(r"(?<=\d)_(?=\d)", ".", name))):
        key, ending = _dashed(text), None
        yield from _spellings(key, ending)

        shorter = _without_format(key)
        while shorter is not None:
            key, of_ending = shorter
            # A file of several formats may say which of them is meant.
            ending = of_ending if ending in (None, _UNCOUNTED) else ending
            yield from _spellings(key, ending)
            shorter = _without_format(key)

        yield from _spellings(_TUNING.sub("", key), ending)


def _spellings(key: str, ending: str | None) -> Iterator[tuple[str, str | None]]:
    """Yield ``key`` in normal form: as it is, with 3.1 for 3-1, and without its publisher."""
    for text in (key, key.removeprefix("meta-")):
        yield _normal(text), ending
        yield _normal(re.sub(r"(?<=\d)-(?=\d)", ".", text, count=1)), ending


def _dashed(name: str) -> str:
    """Return the last part of ``name`` in lower case, with one dash between its words."""
    text = re.sub(r"\(.*?\)", "", name.lower().replace("+", "-plus")).strip()
    last = re.split(r"/|--", text)[-1]
    return re.sub(r"[\s_:-]+|\.(?=[a-z])", "-", last).strip("-")


def _normal(key: str) -> str:
    """Return ``key`` without dashes: llama-3.1-70b and llama3.1-70b are one name."""
    return re.sub(r"-|\.(?=[a-z])", "", key)


def _without_format(key: str) -> tuple[str, str] | None:
    """Split a quantized checkpoint's name into the name of its base and its precision."""
    for pattern, precision in _QUANTIZED.items():
        match = re.search(f"({pattern})$", key)
        if match:
            return key[: match.start()], precision
    return None


def _variant(entry: Entry, name: str) -> Variant:
    """Return in what the model called ``name`` differs from its entry: mostly in nothing."""
    variants = {_normal(alias): variant for alias, variant in entry.variants.items()}
    return next((variants[key] for key, _ in _readings(name) if key in variants), Variant())


@cache
def _files() -> dict[str, Path]:
    """Return the file of each entry by the normal form of its name."""
    return {_normal(file.stem): file for file in _FOLDER.iterdir() if file.suffix == ".json"}


@cache
def _other_names() -> dict[str, list[str]]:
    """Return what each entry is called besides."""
    names: dict[str, list[str]] = json.loads(_OTHER_NAMES.read_text(encoding="utf-8"))
    return names


@cache
def _aliases() -> dict[str, Path]:
    """Return the file of each entry by its aliases in normal form, with and without tuning."""
    aliases = [
        (alias, _FOLDER / f"{name}.json") for name, own in _other_names().items() for alias in own
    ]
    bases = {_normal(_TUNING.sub("", alias)): file for alias, file in aliases}
    return bases | {_normal(alias): file for alias, file in aliases}


@cache
def _read(file: Path) -> Entry:
    content = json.loads(file.read_text(encoding="utf-8"))
    source = content["source"]
    return Entry(
        name=content["name"],
        title=content["title"],
        aliases=tuple(_other_names().get(content["name"], ())),
        source_url=source["url"],
        source_date=source["date"],
        published=Published(**content["published"]),
        config=content["config"],
        precision=content.get("precision"),
        note=content.get("note"),
        variants={key: Variant(**own) for key, own in content.get("variants", {}).items()},
    )


def _is_path(text: str) -> bool:
    if text.endswith(".json"):
        return True
    try:
        path = Path(text)
        return (path / "config.json").is_file() or ("/" in text and path.exists())
    except (OSError, ValueError):  # too long a name, or a null character in it
        return False
