"""What requests would take on an even footing, as a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headway.errors import InputError, reason
from headway.hardware.cluster import Cluster
from headway.ideal.idealized import Reference, reference
from headway.ideal.measured import fit_measured
from headway.ideal.request_profile import FloatArray
from headway.measure.interval import Interval
from headway.measure.measurement import Measurement
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.papers.narayanan_2023.published import PublishedTable
from headway.report.report import Report, Row

MOST_REQUESTS = 5_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: counts of tokens, and which scenario and model it belongs to (empty: any)."""

    prompt_tokens: float
    output_tokens: float
    scenario: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.output_tokens < 0:
            raise InputError("a request has 1 prompt token or more and no negative output tokens")


@dataclass(frozen=True, slots=True)
class Question:
    """Which models on which accelerators, for which requests; what was measured beside them.

    Attributes:
        engine: the measured engine that runs the models, ``None`` for the data sheet alone.
        each: one row per request instead of their mean.
        profiles: own measurements, by file.
        published: the published table of a model, by name.

    """

    models: tuple[tuple[ModelArchitecture, Precision], ...]
    clusters: tuple[Cluster, ...]
    num_accelerators: int | None
    requests: tuple[Asked, ...]
    engine: str | None = None
    each: bool = False
    profiles: tuple[tuple[Path, tuple[Measurement, ...]], ...] = ()
    published: Mapping[str, PublishedTable] = field(default_factory=dict)


def read_asked(path: Path) -> tuple[Asked, ...]:
    """Requests from JSON lines; raise `InputError` with the number of the first bad line."""
    found = []
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    found.append(_asked(line, f"{path}, line {number}"))
                if len(found) > MOST_REQUESTS:
                    raise InputError(f"{path} has more than {MOST_REQUESTS:,} requests")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None
    if not found:
        raise InputError(f"{path} holds no request")
    return tuple(found)


def ideal_report(question: Question) -> Report:
    """Mean runtime, dollars and joules per model, accelerator and scenario (or per request)."""
    longest = max(r.prompt_tokens + r.output_tokens for r in question.requests)
    rows: list[Row] = []
    prices: dict[str, str] = {}
    for model, precision in question.models:
        for cluster in question.clusters:
            made = reference(
                model, precision, cluster, question.num_accelerators, longest,
                engine=question.engine,
            )  # fmt: skip
            rows += _rows(question, model.name, made)
            source = cluster.sources.get("price_usd_per_accelerator_hour")
            if source is not None:
                prices[f"price of {cluster.name}"] = source.url
    for name, table in question.published.items():
        rows += _published_rows(question, name, table)
    for _, measurements in question.profiles:
        rows += _measured_rows(question, measurements)
    return Report(
        "ideal",
        "Idealized runtime: each request alone on its accelerators",
        {
            "models": ", ".join(model.name for model, _ in question.models),
            "on": ", ".join(cluster.name for cluster in question.clusters),
            "accelerators": question.num_accelerators,
            "requests": len(question.requests),
            "engine": question.engine,
        },
        tuple(rows),
        notes=_notes(question),
        sources=prices,
    )


def _asked(line: str, where: str) -> Asked:
    try:
        tree = json.loads(line)
        cached = float(tree.get("cached_tokens") or 0)
        prompt = max(float(tree["prompt_tokens"]) - cached, 1.0)
        made = Asked(
            prompt, float(tree["output_tokens"]), str(tree.get("scenario") or ""),
            str(tree.get("model") or ""),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: not a request ({error})") from None
    if not np.isfinite(made.prompt_tokens + made.output_tokens):
        raise InputError(f"{where}: not a request (a count is not finite)")
    return made


def _groups(question: Question, model: str) -> list[tuple[str, list[Asked]]]:
    own = [r for r in question.requests if r.model in ("", model)]
    if not own:
        raise InputError(f"no request is for {model}; leave 'model' out for requests of all models")
    if question.each:
        return [(request.scenario, [request]) for request in own]
    scenarios = sorted({request.scenario for request in own})
    return [(scenario, [r for r in own if r.scenario == scenario]) for scenario in scenarios]


def _tokens(requests: list[Asked]) -> tuple[FloatArray, FloatArray]:
    return (
        np.asarray([r.prompt_tokens for r in requests]),
        np.asarray([r.output_tokens for r in requests]),
    )


def _notes(question: Question) -> tuple[str, ...]:
    said = ["batch 1, as the idealized runtime is defined: a shared server costs far less a token"]
    if question.models and question.engine is None:
        said.append("the range is from the hardware's bound to poor kernels")
    elif question.models:
        said.append(
            f"as {question.engine} runs it, by the shipped calibration; the range holds 90%. "
            "An accelerator or model that was not measured borrows from its relatives"
        )
    if question.models:
        said.append("joules are of all accelerators at modelled power; their range holds 80%")
    if question.published:
        said.append("published: Megatron-LM of 2022 on A100s, by the rule of the published table")
    return tuple(said)


def _rows(question: Question, model: str, made: Reference) -> list[Row]:
    deployment = made.deployment
    priced = deployment.cluster.price_usd_per_accelerator_hour is not None
    rows: list[Row] = []
    for scenario, requests in _groups(question, model):
        prompts, outputs = _tokens(requests)
        runtime_s = made.runtime.predict(prompts, outputs).mean()
        ends_s = [float(end.mean()) for end in made.runtime.interval(prompts, outputs)]
        rows.append(
            {
                **_row(model, deployment.cluster.name, made.num_accelerators, scenario, requests),
                **_seconds(float(runtime_s), ends_s, made.num_accelerators),
                "usd": float(made.usd(runtime_s)) if priced else None,
                **_joules(made.mean_joules(prompts, outputs)),
                "layout": str(deployment.parallelism),
                "precision": str(deployment.precision),
                "software": made.engine,
                "basis": made.basis.value,
            }
        )
    return rows


def _measured_rows(question: Question, measurements: tuple[Measurement, ...]) -> list[Row]:
    fit, setup = fit_measured(measurements), measurements[0].setup
    rows: list[Row] = []
    for scenario, requests in _groups(question, setup.model):
        prompts, outputs = _tokens(requests)
        runtime_s = float(fit.predict(prompts, outputs).mean())
        ends_s = [float(end.mean()) for end in fit.interval(prompts, outputs)]
        rows.append(
            {
                **_row(setup.model, setup.device, setup.num_accelerators, scenario, requests),
                **_seconds(runtime_s, ends_s, setup.num_accelerators),
                "usd": None,
                **_joules(None),
                "layout": None,
                "precision": setup.dtype,
                "software": setup.engine,
                "basis": "fitted",
            }
        )
    return rows


def _published_rows(question: Question, name: str, table: PublishedTable) -> list[Row]:
    rows: list[Row] = []
    for scenario, requests in _groups(question, name):
        runtime_s = float(table.runtime_s(*_tokens(requests)).mean())
        rows.append(
            {
                **_row(name, "a100", None, scenario, requests),
                **_seconds(runtime_s, (None, None), None),
                "usd": None,
                **_joules(None),
                "layout": None,
                "precision": "fp16",
                "software": "published table",
                "basis": "fitted",
            }
        )
    return rows


def _row(
    model: str, accelerator: str, count: int | None, scenario: str, requests: list[Asked]
) -> Row:
    prompts, outputs = _tokens(requests)
    return {
        "model": model,
        "accelerator": accelerator,
        "num_accelerators": count,
        "scenario": scenario or None,
        "requests": len(requests),
        "prompt_tokens": float(prompts.mean()),
        "output_tokens": float(outputs.mean()),
    }


def _seconds(runtime_s: float, ends_s: Sequence[float | None], count: int | None) -> Row:
    return {
        "runtime_s": runtime_s,
        "runtime_s_lower": ends_s[0],
        "runtime_s_upper": ends_s[1],
        "accelerator_s": None if count is None else runtime_s * count,
    }


def _joules(found: Interval | None) -> Row:
    return {
        "energy_j": None if found is None else found.expected,
        "energy_j_lower": None if found is None else found.lower,
        "energy_j_upper": None if found is None else found.upper,
    }
