"""Answers of the published method: runtimes from its tables, and a table fitted to a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headway.errors import UnknownNameError
from headway.ideal.request_profile import RequestProfile
from headway.papers.narayanan_2023.costs import A100_USD_PER_HOUR, idealized_usd
from headway.papers.narayanan_2023.published import Estimator, PublishedTable, fit_published
from headway.report.column import column
from headway.report.report import Report

SOURCE = {"method": "Narayanan et al. 2023, arXiv 2305.02440, and HELM"}


@dataclass(frozen=True, slots=True)
class RuntimeRow:
    """Requests of one length by the table of one model."""

    model: str = column("model", "the table's name for it")
    prompt_tokens: float = column("prompt", "prompt tokens of a request")
    output_tokens: float = column("output", "output tokens of a request")
    runtime_s: float = column("runtime", "of the whole request, alone", unit="s")
    prompt_s: float = column("prompt time", "alpha: the prompt with its first token", unit="s")
    token_s: float = column("token time", "beta: every further token", unit="s")
    overhead_s: float = column("overhead", "of the API; 0 for an idealized table", unit="s")
    usd: float | None = column("cost", "of its accelerators, never idle", unit="cents", scale=100)


def runtime_report(
    tables: Mapping[str, PublishedTable],
    lengths: Sequence[tuple[float, float]],
    *,
    models: Sequence[str] = (),
    num_accelerators: int | None = None,
    usd_per_hour: float = A100_USD_PER_HOUR,
) -> Report[RuntimeRow]:
    """Return the runtime of requests by ``tables``, one row per model and length.

    Args:
        tables: by name, as `read_tables` gives them.
        lengths: prompt tokens and output tokens of each request.
        models: only these, by name with or without their maker; all by default.
        num_accelerators: that a request has to itself; without it no cost is known.
        usd_per_hour: of one accelerator.

    Raises:
        UnknownNameError: no table has one of the names.

    """

    def row(name: str, prompt: float, output: float) -> RuntimeRow:
        table = tables[name]
        runtime_s, usd = float(table.runtime_s(prompt, output)), None
        if num_accelerators is not None:
            usd = float(idealized_usd(runtime_s, num_accelerators, usd_per_hour))
        return RuntimeRow(
            model=name,
            prompt_tokens=prompt,
            output_tokens=output,
            runtime_s=runtime_s,
            prompt_s=float(table.alpha_s(prompt)),
            token_s=table.beta_s,
            overhead_s=table.overhead_s,
            usd=usd,
        )

    return Report(
        kind="published-runtime",
        title="Runtime of requests by published tables",
        question={
            "models": ", ".join(models) or "all",
            "accelerators": num_accelerators,
            "usd_per_hour": usd_per_hour,
        },
        rows=tuple(row(name, *both) for name in _names(tables, models) for both in lengths),
        notes=("between two prompt sizes the throughput of the larger counts: a sawtooth",),
        sources=SOURCE,
    )


@dataclass(frozen=True, slots=True)
class TableRow:
    """One prompt size of a published table."""

    prompt_tokens: int = column("prompt", "prompt tokens")
    prompt_s: float = column("prompt time", "alpha: the prompt with its first token", unit="s")
    token_s: float = column("token time", "beta: every further token", unit="s")


def fit_report(profile: RequestProfile, estimator: Estimator = Estimator.E1) -> Report[TableRow]:
    """Return the table that the published code makes of ``profile``, and how well it fits."""
    table, quality = fit_published(profile, estimator)
    return Report(
        kind="published-fit",
        title=f"Published table of a profile of {len(profile)} points, estimator {estimator.value}",
        question={"estimator": estimator.value, "points": len(profile)},
        rows=tuple(
            TableRow(prompt_tokens=size, prompt_s=seconds, token_s=table.beta_s)
            for size, seconds in table.prompt_s.items()
        ),
        notes=(
            f"R2 {quality.r2:.4f}, squared error {quality.mean_squared_error_s2:.3g} s2 in the "
            f"mean and {quality.max_squared_error_s2:.3g} s2 at most",
        ),
        sources=SOURCE,
    )


def _names(tables: Mapping[str, PublishedTable], models: Sequence[str]) -> list[str]:
    """Return the names of the tables of ``models``."""
    if not models:
        return list(tables)

    names = []
    for model in models:
        own = [name for name in tables if model in (name, name.rpartition("/")[2])]
        if not own:
            raise UnknownNameError("published table", model, tuple(tables))
        names += own
    return names
