"""What the model catalogue holds, as answers: all models, or one with its sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from headway.model.attention import Attention
from headway.model.catalogue import find_entry, find_model, find_precision
from headway.model.ffn import Ffn
from headway.report.column import column
from headway.report.fact import Fact
from headway.report.report import Report


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model with its size and the memory of its KV cache."""

    model: str = column("model", "name in the catalogue")
    title: str = column("title", "as it is published", detail=True)
    total_params: int = column("parameters", "all stored weights", unit="B", scale=1e-9, digits=4)
    active_params: int = column(
        "active", "weights that one token multiplies with", unit="B", scale=1e-9, digits=4
    )
    num_layers: int = column("layers", "layers of a forward pass")
    kv_bytes_per_token: float = column(
        "KV cache", "cached bytes per token, in the published format", unit="kB/token", scale=1e-3
    )
    max_context_tokens: int | None = column("context", "longest context that is stated")
    precision: str = column("weights/activations/KV", "formats in which it is published")


def models_report(names: Iterable[str]) -> Report[ModelRow]:
    """Return the models called ``names`` with their size and the memory of their KV cache."""
    rows = tuple(map(_model_row, names))
    return Report(kind="models", title=f"{len(rows)} models", question={}, rows=rows)


def model_report(name: str) -> Report[Fact]:
    """Return everything about one model of the catalogue, a line each, with its sources.

    Raises:
        UnknownNameError: no such model; carries the nearest names.

    """
    entry = find_entry(name)
    return Report(
        kind="model",
        title=f"{entry.name} ({entry.title})",
        question={"name": name},
        rows=tuple(_facts(name)),
        notes=(entry.note,) if entry.note else (),
    )


def _model_row(name: str) -> ModelRow:
    model, precision = find_model(name), find_precision(name)
    return ModelRow(
        model=name,
        title=find_entry(name).title,
        total_params=model.total_params,
        active_params=model.active_params,
        num_layers=model.num_layers,
        kv_bytes_per_token=model.kv_elements_per_token * precision.kv_cache.bytes,
        max_context_tokens=model.max_context_tokens,
        precision=str(precision),
    )


def _facts(name: str) -> Iterator[Fact]:
    entry, model = find_entry(name), find_model(name)
    counted = f"{model.total_params:,} ({model.active_params:,} active)"
    yield Fact("parameters", counted, "counted from the configuration")

    published = entry.published
    total = f"{published.total:,}" if isinstance(published.total, int) else published.total
    active = f" ({published.active} active)" if published.active else ""
    yield Fact("published", total + active, published.total_counts, None, published.url)

    yield Fact("hidden", f"{model.hidden_size:,}, vocabulary {model.vocab_size:,}")
    for what, groups in (("layers", model.layers), ("drafting", model.mtp_layers)):
        for group in groups:
            yield Fact(what, f"{group.count} x {_brief(group.attention)}, {_brief(group.ffn)}")

    if model.max_context_tokens is not None:
        yield Fact("context", f"{model.max_context_tokens:,} tokens at most")
    yield Fact("precision", str(find_precision(name)), "weights/activations/KV cache")
    yield Fact("config", "as published", None, entry.source_date, entry.source_url)


def _brief(part: Attention | Ffn | None) -> str:
    """Return the kind of ``part`` with the fields that differ from their defaults."""
    if part is None:
        return "no feed-forward"
    sizes = (
        f"{f.name}={getattr(part, f.name)}"
        for f in fields(part)
        if getattr(part, f.name) != f.default
    )
    return f"{type(part).__name__}({', '.join(sizes)})"
