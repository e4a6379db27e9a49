"""What requests would take on an even footing: models, accelerators and profiles side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import InputError, reason
from headway.hardware.cluster import Cluster
from headway.hardware.price import unlike_kinds
from headway.ideal.attribute import PartRow, RuntimeModel, endpoint_report
from headway.ideal.estimator import fit_requests
from headway.ideal.reference import Reference, idealize
from headway.ideal.request_profile import FloatArray
from headway.measure.endpoint.ledger import is_ledger
from headway.measure.measurement import Measurement, read_measurements
from headway.model.architecture import ModelArchitecture
from headway.report.chart import Chart
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.report.report import Report
from headway.steptime.calibration import NO_ENGINE, Calibration

MAX_REQUESTS = 5_000_000


@dataclass(frozen=True, slots=True)
class RequestLengths:
    """One request: counts of tokens, and which scenario and model it belongs to (empty: any).

    ``cached_tokens`` of the prompt were found in a prefix cache: they are not computed again, but
    stay in the context.
    """

    prompt_tokens: float
    output_tokens: float
    scenario: str = ""
    model: str = ""
    cached_tokens: float = 0.0

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.output_tokens < 0:
            raise InputError("a request has 1 prompt token or more and no negative output tokens")
        if not 0 <= self.cached_tokens <= self.prompt_tokens:
            raise InputError("cached_tokens are part of the prompt: from 0 to prompt_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """What models are compared on.

    Attributes:
        clusters: reference accelerators, or their names.
        requests: what every model is to answer.
        engine: the serving engine whose measured step times are taken, ``"none"`` for the data
            sheet alone; by default vllm where it was measured.
        precision: of every model; ``None`` for what it was published in.
        num_accelerators: that each model has to itself; as few as hold it by default.
        each: one row per request instead of the mean of a scenario.
        calibration: what was measured of engines; what ships with Headway by default.

    """

    clusters: Sequence[Cluster | str] = ("a100",)
    requests: Sequence[RequestLengths] = (RequestLengths(512, 64),)
    engine: str | None = None
    precision: str | None = None
    num_accelerators: int | None = None
    each: bool = False
    calibration: Calibration | None = None

    def references(self, models: Iterable[ModelArchitecture | str]) -> list[Reference]:
        """Return every model on every accelerator, with room for the longest request."""
        return [
            idealize(
                model,
                cluster,
                engine=self.engine,
                precision=self.precision,
                num_accelerators=self.num_accelerators,
                context_tokens=max(r.prompt_tokens + r.output_tokens for r in self.requests),
                calibration=self.calibration,
            )
            for model in models
            for cluster in self.clusters
        ]


@dataclass(frozen=True, slots=True)
class IdealRow:
    """One model on accelerators, and the mean of the requests of one scenario (or one request)."""

    model: str = column("model", "what is run")
    accelerator: str = column("on", "what it runs on")
    num_accelerators: int = column("count", "accelerators that the model has to itself")
    scenario: str | None = column("scenario", "the requests' own name for their kind")
    num_requests: int = column("requests", "that the means are over")
    prompt_tokens: float = column("prompt", "prompt tokens of a request, cached ones left out")
    output_tokens: float = column("output", "output tokens of a request")
    runtime_s: Estimate = column(
        "runtime", "from the request to its last token, nothing else running", unit="s"
    )
    accelerator_s: float = column("chip time", "runtime times the number of accelerators", unit="s")
    usd: float | None = column(
        "cost", "of the accelerators for the runtime, idle time excluded", unit="cents", scale=100
    )
    energy_j: Estimate | None = column("energy", "of all accelerators", unit="J")
    layout: str | None = column("layout", "parallelism of the fastest layout", detail=True)
    precision: str | None = column("precision", "of weights, activations and cache", detail=True)
    software: str | None = column("software", "the serving engine, or what was measured")
    basis: str = column("basis", "what the runtime rests on")


CHART = Chart(
    x="runtime_s",
    y="energy_j",
    series="model",
    legend="low and to the left is better  ·  a line joins the accelerators of one model  ·  bars: "
    "what the values lie between",
    x_label="idealized runtime of a request",
    y_label="energy of a request",
    intervals=True,
)


def ideal_report(
    models: Iterable[ModelArchitecture | str],
    footing: Footing,
    profiles: Sequence[Sequence[Measurement]] = (),
) -> Report[IdealRow]:
    """Return mean runtime, dollars and joules per model, accelerator and scenario.

    Args:
        models: or their names.
        footing: accelerators, software and requests.
        profiles: own measurements, each of one engine, shown beside. They run in process, so the
            models are without what an engine adds to a request.

    Raises:
        InputError: there is no request for one of the models.
        DoesNotFitError: a model does not fit the accelerators.

    """
    references = footing.references(models)
    if profiles:
        references = [reference.passes_only for reference in references]
    rows = [
        _reference_row(reference, group)
        for reference in references
        for group in _groups(footing, reference.deployment.model.name)
    ]
    rows += [
        _profile_row(measurements, group)
        for measurements in profiles
        for group in _groups(footing, measurements[0].setup.model)
    ]

    clusters = [reference.deployment.cluster for reference in references]
    prices = {c.name: c.price.citation for c in clusters if c.price is not None}
    return Report(
        kind="ideal",
        title="Idealized runtime: each request alone on its accelerators",
        question={
            "models": _listing(r.deployment.model.name for r in references),
            "on": _listing(cluster.name for cluster in clusters),
            "accelerators": footing.num_accelerators,
            "requests": len(footing.requests),
            "engine": _listing(r.engine or NO_ENGINE for r in references),
        },
        rows=tuple(rows),
        notes=_notes(references, profiles),
        sources={f"price of {name}": price.url for name, price in prices.items() if price},
        charts=(CHART,) if any(row.energy_j is not None for row in rows) else (),
    )


def read_requests(path: Path) -> tuple[RequestLengths, ...]:
    """Read requests from JSON lines; raise `InputError` with the number of the first bad line."""
    requests = []
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    requests.append(_request(line, f"{path}, line {number}"))
                if len(requests) > MAX_REQUESTS:
                    raise InputError(f"{path} has more than {MAX_REQUESTS:,} requests")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None

    if not requests:
        raise InputError(f"{path} holds no request")
    return tuple(requests)


def _request(line: str, where: str) -> RequestLengths:
    try:
        tree: Mapping[str, Any] = json.loads(line)
        request = RequestLengths(
            prompt_tokens=float(tree["prompt_tokens"]),
            output_tokens=float(tree["output_tokens"]),
            scenario=str(tree.get("scenario") or ""),
            model=str(tree.get("model") or ""),
            cached_tokens=float(tree.get("cached_tokens") or 0),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: not a request ({error})") from None

    if not np.isfinite(request.prompt_tokens + request.output_tokens):
        raise InputError(f"{where}: not a request (a count is not finite)")
    return request


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Requests that share a row."""

    scenario: str | None
    prompt_tokens: FloatArray
    output_tokens: FloatArray
    cached_tokens: FloatArray

    @property
    def computed_tokens(self) -> FloatArray:
        """Prompt tokens that are not in the cache, at least the last."""
        return np.maximum(self.prompt_tokens - self.cached_tokens, 1.0)


def _groups(footing: Footing, model: str) -> list[_Group]:
    """Return the requests for ``model``, by scenario or one by one."""
    own = [request for request in footing.requests if request.model in ("", model)]
    if not own:
        raise InputError(f"no request is for {model}; leave 'model' out for requests of all models")

    groups = [[request] for request in own]
    if not footing.each:
        scenarios = sorted({request.scenario for request in own})
        groups = [[request for request in own if request.scenario == name] for name in scenarios]
    return [
        _Group(
            scenario=group[0].scenario or None,
            prompt_tokens=np.asarray([request.prompt_tokens for request in group]),
            output_tokens=np.asarray([request.output_tokens for request in group]),
            cached_tokens=np.asarray([request.cached_tokens for request in group]),
        )
        for group in groups
    ]


def _reference_row(reference: Reference, group: _Group) -> IdealRow:
    runtime = replace(reference.runtime, cached_tokens=group.cached_tokens)
    reference = replace(reference, runtime=runtime)
    _check_context(reference.deployment.model, group)
    deployment, lengths = reference.deployment, (group.prompt_tokens, group.output_tokens)
    level = 0.9 if deployment.is_measured else None
    runtime_s = _mean_runtime_s(reference.runtime, group, level)
    energy = reference.mean_joules(*lengths)

    has_price = deployment.cluster.usd_per_accelerator_hour is not None
    usd = float(reference.usd(np.asarray(runtime_s.expected))) if has_price else None
    return IdealRow(
        model=deployment.model.name,
        accelerator=deployment.cluster.name,
        num_accelerators=reference.num_accelerators,
        scenario=group.scenario,
        num_requests=group.prompt_tokens.size,
        prompt_tokens=float(group.computed_tokens.mean()),
        output_tokens=float(group.output_tokens.mean()),
        runtime_s=runtime_s,
        accelerator_s=runtime_s.expected * reference.num_accelerators,
        usd=usd,
        energy_j=None if energy is None else energy.estimate(0.8),
        layout=str(deployment.parallelism),
        precision=str(deployment.precision),
        software=reference.engine,
        basis=reference.basis.value,
    )


def _check_context(model: ModelArchitecture, group: _Group) -> None:
    """Raise `InputError` for a request that is longer than the model's context."""
    longest = float(np.max(group.prompt_tokens + group.output_tokens))
    if model.max_context_tokens is not None and longest > model.max_context_tokens:
        raise InputError(
            f"{model.name} takes at most {model.max_context_tokens:,} tokens of context, and a "
            f"request has {longest:,.0f}, cached ones included"
        )


def _profile_row(measurements: Sequence[Measurement], group: _Group) -> IdealRow:
    setup = measurements[0].setup
    # Profiles hold whole prompts: what was cached is taken as if it had never been there.
    group = replace(group, prompt_tokens=group.computed_tokens)
    runtime_s = _mean_runtime_s(fit_requests(measurements), group, 0.9)

    return IdealRow(
        model=setup.model,
        accelerator=setup.device,
        num_accelerators=setup.num_accelerators,
        scenario=group.scenario,
        num_requests=group.prompt_tokens.size,
        prompt_tokens=float(group.prompt_tokens.mean()),
        output_tokens=float(group.output_tokens.mean()),
        runtime_s=runtime_s,
        accelerator_s=runtime_s.expected * setup.num_accelerators,
        usd=None,
        energy_j=None,
        layout=None,
        precision=setup.dtype,
        software=setup.engine,
        basis="fitted",
    )


def _mean_runtime_s(runtime: RuntimeModel, group: _Group, level: float | None) -> Estimate:
    lengths = (group.prompt_tokens, group.output_tokens)
    lower_s, upper_s = (float(end_s.mean()) for end_s in runtime.interval(*lengths))
    return Estimate(float(runtime.predict(*lengths).mean()), lower_s, upper_s, level)


def _notes(references: Sequence[Reference], profiles: Sized) -> tuple[str, ...]:
    engines = sorted({str(r.engine) for r in references if r.deployment.is_measured})
    notes = ["batch 1, as the idealized runtime is defined: a shared server costs far less a token"]
    if references and not engines:
        notes.append("the range is from the hardware's bound to poor kernels")
    elif references:
        notes.append(
            f"as {', '.join(engines)} runs it, by the calibration; the range holds 90%. "
            "An accelerator or model that was not measured borrows from its relatives"
        )
    places = [reference.deployment for reference in references]
    notes += [f"{p.model.name} on {p.cluster.name}: {p.own_words}" for p in places if p.own_words]

    if references:
        notes.append("joules are of all accelerators at modelled power; their range holds 80%")
    prices = {r.deployment.cluster.name: r.deployment.cluster.price for r in references}
    notes += [f"{name}: {price}" for name, price in prices.items() if price is not None]
    sentence = unlike_kinds(prices)
    if sentence is not None:
        notes.append(sentence)
    if references and profiles:
        notes.append("passes alone, as profiles are: what an engine adds to a request is left out")
    return tuple(notes)


def _listing(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def compare_report(
    paths: Sequence[Path], models: Sequence[ModelArchitecture | str], footing: Footing
) -> Report[IdealRow] | Report[PartRow]:
    """Hold what `headway profile` wrote against models on reference hardware.

    Measurements of an engine stand beside the models; the ledger of an endpoint is split into
    model, software, contention, queue and network.

    Raises:
        InputError: a file is neither, or an endpoint is not alone against one model.

    """
    if not any(is_ledger(path) for path in paths):
        return ideal_report(models, footing, [read_measurements(path) for path in paths])

    references = footing.references(models)
    if len(paths) != 1 or len(references) != 1:
        raise InputError("an endpoint is held against one model on one accelerator")
    return endpoint_report(paths[0], references[0])
