"""The table of RT-LM's claims: every way to serve, in every setting, against first in, first out.

Traces, lengths and predictions are the same for all ways (common random numbers), differences are
paired by seed, and whatever predicts is also fed the same predictions dealt out at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from headway.errors import InputError
from headway.papers.rt_lm_2023.language_models import LANGUAGE_MODELS, PLATFORMS, LanguageModel
from headway.papers.rt_lm_2023.ways import FIFO, WAYS, Engines, Way
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.schedule.view import Floats, View
from headway.sim.predictions import quantiles, shuffled, view_of
from headway.sim.static_batch import BatchTime
from headway.workload.aggregate import paired, span_s
from headway.workload.oracle import Ints, Trace
from headway.workload.record import Records

SHUFFLED = "shuffled"
LEVEL = 0.95  # of intervals over seeds
MALICIOUS_FACTOR = 4.0  # by which a malicious prompt lengthens its answer
VARIANCES = {"low": 0.2, "normal": 0.6, "high": 1.0}  # standard deviation of the log of the length
FINE = 1000  # tokens that stand for the mean where predictions are made
MAX_SEEDS, MAX_REQUESTS = 100, 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the table spans; every combination is one cell.

    Attributes:
        models: of `LANGUAGE_MODELS`.
        platforms: gpu, cpu.
        variances: names of `VARIANCES`.
        malicious: shares of malicious prompts.
        loads: over what batches filled in order of arrival sustain.
        skills: Kendall's tau of predictions; the last one's are also shuffled.
        seeds: runs of everything.
        num_requests: of a run.
        max_batch: requests of one batch.
        slower: how many times slower the second engine is.

    """

    models: tuple[LanguageModel, ...] = LANGUAGE_MODELS
    platforms: tuple[str, ...] = PLATFORMS
    variances: tuple[str, ...] = tuple(VARIANCES)
    malicious: tuple[float, ...] = (0.0,)
    loads: tuple[float, ...] = (0.85, 1.3)
    skills: tuple[float, ...] = (0.35,)
    seeds: int = 5
    num_requests: int = 800
    max_batch: int = 8
    slower: float = 4.0

    def __post_init__(self) -> None:
        if not 2 <= self.seeds <= MAX_SEEDS:
            raise InputError(f"a table needs 2 to {MAX_SEEDS} seeds, not {self.seeds}")
        if not 1 <= self.max_batch <= self.num_requests <= MAX_REQUESTS:
            raise InputError(
                f"a run needs at least as many requests as a batch of {self.max_batch} holds, and "
                f"at most {MAX_REQUESTS:,}, not {self.num_requests:,}"
            )
        if min(self.loads) <= 0 or min(self.skills) <= 0 or max(self.skills) > 1:
            raise InputError("loads and skills must be above 0, and skills at most 1")
        if min(self.malicious) < 0 or max(self.malicious) > 1:
            raise InputError("shares of malicious prompts must lie from 0 to 1")
        if self.slower < 1:
            raise InputError(f"the second engine is slower, not {self.slower:g} times as slow")

    @property
    def num_cells(self) -> int:
        """Cells with the same model, platform, variance, share and load."""
        axes = (self.models, self.platforms, self.variances, self.malicious, self.loads)
        return int(np.prod([len(axis) for axis in axes]))


FULL = Settings(
    malicious=(0.0, 0.2, 0.5, 1.0),
    loads=(0.7, 0.85, 1.0, 1.15, 1.3, 1.5),
    skills=(0.12, 0.35, 0.6),
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Where ways to serve are compared."""

    model: str = column("model", "language model")
    platform: str = column("platform", "gpu or cpu")
    variance: str = column("variance", "of the length of answers: low, normal, high")
    malicious: float = column("malicious", "share of prompts with a longer answer")
    load: float = column("load", "over what batches in order of arrival sustain")


@dataclass(frozen=True, kw_only=True)
class Served:
    """How requests are served."""

    predictions: str = column("predictions", "Kendall's tau with the truth; or shuffled")
    order: str = column("order", "who goes first")
    batches: str = column("batches", "who shares a batch with the first")
    offload: bool = column("offload", "whether a second, slower engine helps")


@dataclass(frozen=True, kw_only=True)
class CellRow(Served, Cell):
    """One way to serve in one cell, against first in, first out in the same cell."""

    mean_vs_fifo: Estimate = column("mean", "mean response", unit="%", scale=100, digits=2)
    p99_vs_fifo: Estimate = column("P99", "99% of responses below", unit="%", scale=100, digits=2)
    throughput_vs_fifo: Estimate = column(
        "throughput",
        "requests per second, first arrival to last answer",
        unit="%",
        scale=100,
        digits=2,
    )
    mean_s: float = column("mean", "response: arrival to answer", unit="s", detail=True)
    p99_s: float = column("P99", "99% of responses below", unit="s", detail=True)
    requests_per_s: float = column("requests/s", "first arrival to last answer", detail=True)


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """Mean response, its P99 and requests per second, by seed."""

    mean_s: Floats
    p99_s: Floats
    requests_per_s: Floats

    @classmethod
    def of(cls, runs: list[Records]) -> Figures:
        """Return the figures of one run per seed."""
        return cls(
            mean_s=np.array([run.e2e_s.mean() for run in runs]),
            p99_s=np.array([np.percentile(run.e2e_s, 99) for run in runs]),
            requests_per_s=np.array([len(run) / span_s(run) for run in runs]),
        )


def cells(settings: Settings) -> Iterator[CellRow]:
    """Yield the rows of every cell; the first row of each is first in, first out itself."""
    for variance, share in product(settings.variances, settings.malicious):
        # The same draws for all models, platforms and loads, as multiples of the mean.
        drawn = [
            _relative_lengths(VARIANCES[variance], share, settings.num_requests, seed)
            for seed in range(settings.seeds)
        ]
        fine = [np.maximum(np.rint(own * FINE), 1).astype(np.int64) for own in drawn]
        predicted = {
            f"tau {tau:g}": [quantiles(own, tau, seed) / FINE for seed, own in enumerate(fine)]
            for tau in settings.skills
        }
        strongest = list(predicted.values())[-1]
        predicted[SHUFFLED] = [shuffled(rows, seed) for seed, rows in enumerate(strongest)]

        axes = product(settings.models, settings.platforms, settings.loads)
        for model, platform, load in axes:
            cell = Cell(
                model=model.name,
                platform=platform,
                variance=variance,
                malicious=share,
                load=load,
            )
            yield from _rows(settings, cell, model, drawn, predicted)


def _rows(
    settings: Settings,
    cell: Cell,
    model: LanguageModel,
    drawn: list[Floats],
    predicted: dict[str, list[Floats]],
) -> Iterator[CellRow]:
    """Yield the rows of ``cell``; lengths and predictions are multiples of the mean, by seed."""
    size, time = settings.max_batch, model.batch_time(cell.platform)
    engines = Engines(
        time=time,
        slow=time.slower(settings.slower),
        max_batch=size,
        usual_s=float(time.of(size, model.mean_tokens)),
    )

    lengths = [np.maximum(np.rint(own * model.mean_tokens), 1).astype(np.int64) for own in drawn]
    traces = [_trace(own, time, cell.load, size, seed) for seed, own in enumerate(lengths)]
    views = {
        name: [
            view_of(trace, own * model.mean_tokens, time.service(size))
            for trace, own in zip(traces, rows, strict=True)
        ]
        for name, rows in predicted.items()
    }

    def figures(way: Way, views_by_seed: list[View]) -> Figures:
        runs = zip(traces, views_by_seed, strict=True)
        return Figures.of([way.serve(trace, view, engines) for trace, view in runs])

    blind = next(iter(views.values()))
    base = figures(FIFO, blind)
    for way in WAYS:
        for name, own_views in views.items() if way.predicts else (("-", blind),):
            own = figures(way, own_views)
            yield CellRow(
                model=cell.model,
                platform=cell.platform,
                variance=cell.variance,
                malicious=cell.malicious,
                load=cell.load,
                predictions=name,
                order=way.order,
                batches=way.batches,
                offload=way.offload,
                mean_vs_fifo=_change(own.mean_s, base.mean_s),
                p99_vs_fifo=_change(own.p99_s, base.p99_s),
                throughput_vs_fifo=_change(own.requests_per_s, base.requests_per_s),
                mean_s=float(own.mean_s.mean()),
                p99_s=float(own.p99_s.mean()),
                requests_per_s=float(own.requests_per_s.mean()),
            )


def _change(ours: Floats, base: Floats) -> Estimate:
    difference = paired(ours.tolist(), base.tolist())
    return Estimate(difference.mean, difference.lower, difference.upper, LEVEL, basis="simulated")


def _relative_lengths(spread: float, malicious: float, count: int, seed: int) -> Floats:
    """Return lognormal lengths over their mean; those of malicious prompts are longer."""
    random = np.random.default_rng([seed, 3])
    lengths = random.lognormal(-(spread**2) / 2, spread, count)
    is_malicious = random.random(count) < malicious
    return np.where(is_malicious, MALICIOUS_FACTOR * lengths, lengths)


def _trace(output_tokens: Ints, time: BatchTime, load: float, max_batch: int, seed: int) -> Trace:
    """Return Poisson arrivals at ``load``; 1 is what batches in order of arrival sustain."""
    count = len(output_tokens)
    whole = output_tokens[: count // max_batch * max_batch].reshape(-1, max_batch)
    longest = float(whole.max(axis=1).mean())
    rate_rps = load * max_batch / float(time.of(max_batch, longest))

    random = np.random.default_rng([seed, 5])
    return Trace(
        arrival_s=np.cumsum(random.exponential(1 / rate_rps, count)),
        prompt_tokens=random.integers(5, 60, count),
        output_tokens=output_tokens,
    )
