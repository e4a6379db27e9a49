"""The models that come with Headway: one JSON file each, with the source of its numbers.

Each file holds the published `config.json` and is read only when it is asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headway.errors import InputError, UnknownNameError
from headway.model.architecture import ModelArchitecture
from headway.model.huggingface.config import architecture_from_config, read_config
from headway.model.huggingface.quantization import native_precision, read_precision
from headway.model.precision import Precision

ModelSource = str | Path | Mapping[str, object]
"""A name, a Hugging Face id, the path of a `config.json` or of its folder, or its content."""

# What publishers add to a base model's name without changing its layers.
_TUNING = re.compile(r"-(instruct|chat|it|base|hf|pt)$")
# Files in which several formats of one checkpoint lie side by side.
_SEVERAL_FORMATS = re.compile(r"-gguf$")
# What those who quantize a checkpoint add, and in what it is then stored; the first that matches.
_QUANTIZED = {
    r"-fp8-kv": "fp8/fp8/fp8",
    r"-fp8(-dynamic|-block)?": "fp8",
    r"-(nv)?fp4(-v\d+|-preview)?": "nvfp4",
    r"-mxfp4(-v\d+|-preview)?": "mxfp4",
    r"-gptq-int8|-(quantized\.)?w8a16": "int8/bf16",
    r"-(quantized\.)?w8a8|-int8": "int8",
    r"-(awq|gptq)(-int4|-4bit)?|-int4(-awq)?|-(quantized\.)?w4a16|-((bnb|mlx)-)?4bit": "int4",
    r"(-qat)?(-q4[_-](0|k[_-]m))(-unquantized)?(-gguf)?": "int4",
    r"-bf16": "bf16",
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
    return tuple(sorted(_files()))


def find_model(source: ModelSource) -> ModelArchitecture:
    """Return the model that ``source`` names, or that a `config.json` describes.

    A name may be that of a catalogue entry, one of its aliases, or a Hugging Face id, of which the
    last part counts (``meta-llama/Llama-3.1-70B-Instruct``); neither case nor ``_`` for ``-``
    matters. Tuned and quantized variants (``-Instruct``, ``-FP8-dynamic``, ``-AWQ``) have the
    layers of their base.

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

    entry = find_entry(str(source))
    quantized = None if _is_entry(entry, str(source)) else _quantized_suffix(str(source))
    if quantized is not None:
        return Precision.parse(quantized[1])
    if _SEVERAL_FORMATS.search(_key(str(source))):
        raise InputError(
            f"{str(source)[:80]!r} holds one model in several formats; say which with --precision, "
            "int4/bf16 for Q4"
        )
    stated = _variant(entry, str(source)).precision or entry.precision
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

    Aliases are looked up only where no file has the name, and base models only where no alias has.
    """
    files = _files()
    by_alias: dict[str, Entry] = {}
    for key in _keys(name):
        if key in files:
            return _read(files[key])
        if not by_alias:
            entries = map(_read, files.values())
            by_alias = {alias: entry for entry in entries for alias in entry.aliases}
        if key in by_alias:
            return by_alias[key]
    raise UnknownNameError("model", name, names())


def _keys(name: str) -> Iterator[str]:
    """Yield the names to look up: as written, without its precision, without its tuning."""
    key = _key(name)
    yield key

    key = _SEVERAL_FORMATS.sub("", key)
    yield key

    quantized = _quantized_suffix(key)
    if quantized is not None:
        key = quantized[0]
        yield key

    yield _TUNING.sub("", key)
    yield _TUNING.sub("", key).removeprefix("meta-")


def _quantized_suffix(name: str) -> tuple[str, str] | None:
    """Split a quantized checkpoint's name into the name of its base and its precision."""
    key = _key(name)
    for pattern, precision in _QUANTIZED.items():
        match = re.search(f"({pattern})$", key)
        if match:
            return key[: match.start()], precision
    return None


def _variant(entry: Entry, name: str) -> Variant:
    """Return in what the model called ``name`` differs from its entry: mostly in nothing."""
    matches = (entry.variants[key] for key in _keys(name) if key in entry.variants)
    return next(matches, Variant())


def _is_entry(entry: Entry, name: str) -> bool:
    return _key(name) in (entry.name, *entry.aliases)


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "-").rpartition("/")[2]


def _files() -> dict[str, Path]:
    return {file.stem: file for file in Path(__file__).with_name("catalogue").glob("*.json")}


def _read(file: Path) -> Entry:
    content = json.loads(file.read_text(encoding="utf-8"))
    source = content["source"]
    return Entry(
        name=content["name"],
        title=content["title"],
        aliases=tuple(content["aliases"]),
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
