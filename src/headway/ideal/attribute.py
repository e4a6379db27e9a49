"""Where the time of an endpoint goes: raw = idealized x software factor + the rest, each in doubt.

The parts of the expected values add up exactly. Intervals come from resampling the probes and from
the doubts of the fitted and the idealized runtimes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from headway.ideal.denoise import Denoised, denoise, fresh_tokens
from headway.ideal.reference import Reference
from headway.ideal.request_profile import FloatArray
from headway.ideal.runtime_fit import normal_width
from headway.measure.endpoint.campaign import probes_and_pings
from headway.measure.endpoint.ledger import read_ledger
from headway.measure.trials import Interval
from headway.report.chart import Bars
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.report.report import Report

NUM_DRAWS = 2000
SDS_OF_90_PERCENT = normal_width(0.9)


class RuntimeModel(Protocol):
    """Whatever says what requests take on reference hardware, with its interval."""

    def predict(self, prompt_tokens: FloatArray, output_tokens: FloatArray) -> FloatArray:
        """Return expected seconds."""
        ...

    def interval(
        self, prompt_tokens: FloatArray, output_tokens: FloatArray, confidence: float = 0.9
    ) -> tuple[FloatArray, FloatArray]:
        """Return seconds between which it lies."""
        ...


@dataclass(frozen=True, slots=True)
class Attribution:
    """Mean seconds of the probed requests, by cause.

    Attributes:
        raw_s: as seen by the user.
        idealized_s: of the same requests on reference hardware and software.
        software_factor: endpoint without disturbance over idealized; below 1 it is faster.
        served_s: the endpoint without disturbance: idealized times software factor.
        contention_s: what other users of the endpoint add.
        drift_s: what slower stretches of the campaign add.
        network_s: round trips; ``None`` where none was timed (then part of the queue).
        queue_s: front end and scheduling.

    """

    raw_s: Interval
    idealized_s: Interval
    software_factor: Interval
    served_s: Interval
    contention_s: Interval
    drift_s: Interval
    network_s: Interval | None
    queue_s: Interval

    @property
    def sentence(self) -> str:
        """The answer in words."""
        factor, word = self.software_factor, "slower"
        if factor.expected < 1:
            word = "faster"
            factor = Interval(1 / factor.upper, 1 / factor.expected, 1 / factor.lower)

        unsettled = "; the interval includes 1, so this is not settled" if factor.holds(1.0) else ""
        return (
            f"undisturbed, this endpoint is {factor.expected:.2f} times {word} than the model's "
            f"idealized runtime ({factor.lower:.2f} to {factor.upper:.2f}){unsettled}"
        )


def attribute(denoised: Denoised, idealized: RuntimeModel, seed: int = 0) -> Attribution:
    """Attribute the mean time of the probes behind ``denoised``, against ``idealized``."""
    probes = denoised.probes
    prompts = np.asarray([fresh_tokens(probe) for probe in probes])
    outputs = np.asarray([max(probe.output_tokens, 1) for probe in probes], dtype=np.float64)
    raw_s = np.asarray([probe.e2e_s for probe in probes], dtype=np.float64)

    # Expected seconds of each probe, by cause; contention is what nothing else explains.
    served_s = denoised.runtime.predict(prompts, outputs)
    idealized_s = idealized.predict(prompts, outputs)
    drift_s = served_s * (_drift_factors(denoised) - 1)
    network_s = denoised.network_s or Interval.exactly(0.0)
    contention_s = raw_s - served_s - drift_s - network_s.expected - denoised.queue_s.expected

    # Resampled probes, each sample with one error of the fit for all of them: its unknowns err
    # together.
    source = np.random.default_rng(seed)
    samples = source.integers(0, len(probes), (NUM_DRAWS, len(probes)))
    served_sd = float(np.sqrt(np.mean(denoised.runtime.relative_sd(prompts, outputs) ** 2)))
    served_draws = served_s[samples].mean(axis=1) * _log_normal(served_sd, source)
    low, high = idealized.interval(prompts, outputs)
    idealized_sd = float(np.log(high.mean() / low.mean())) / 2 / SDS_OF_90_PERCENT
    idealized_draws = idealized_s[samples].mean(axis=1) * _log_normal(idealized_sd, source)
    network_draws = _draws(denoised.network_s, source)
    queue_draws = _draws(denoised.queue_s, source)
    raw_draws, drift_draws = raw_s[samples].mean(axis=1), drift_s[samples].mean(axis=1)

    # Nobody gives time: where a draw of contention says so, the served runtime is too long in it.
    contention_draws = raw_draws - served_draws - drift_draws - network_draws - queue_draws
    contention_draws = np.maximum(contention_draws, min(0.0, float(contention_s.mean())))

    mean_factor = float(served_s.mean() / idealized_s.mean())
    return Attribution(
        raw_s=_interval(float(raw_s.mean()), raw_draws),
        idealized_s=_interval(float(idealized_s.mean()), idealized_draws),
        software_factor=_interval(mean_factor, served_draws / idealized_draws),
        served_s=_interval(float(served_s.mean()), served_draws),
        contention_s=_interval(float(contention_s.mean()), contention_draws),
        drift_s=_interval(float(drift_s.mean()), drift_draws),
        network_s=denoised.network_s,
        queue_s=denoised.queue_s,
    )


def _drift_factors(denoised: Denoised) -> FloatArray:
    """Return the drift factor at the time of every probe."""
    ends_s = np.asarray([stretch.end_s for stretch in denoised.drift])
    factors = np.asarray([stretch.factor.expected for stretch in denoised.drift])
    index = np.searchsorted(ends_s, [probe.sent_at for probe in denoised.probes])
    return np.asarray(factors[np.minimum(index, factors.size - 1)])


def _log_normal(sd: float, source: np.random.Generator) -> FloatArray:
    return np.exp(sd * source.standard_normal(NUM_DRAWS))


def _draws(part: Interval | None, source: np.random.Generator) -> FloatArray:
    """Draw from a normal law on either side of the expected value."""
    if part is None:
        return np.zeros(NUM_DRAWS)
    below, above = part.expected - part.lower, part.upper - part.expected
    normal = source.standard_normal(NUM_DRAWS)
    width = np.where(normal < 0, below, above) / SDS_OF_90_PERCENT
    return np.asarray(part.expected + normal * width)


def _interval(expected: float, draws: FloatArray) -> Interval:
    lower, upper = np.quantile(draws, [0.05, 0.95])
    return Interval(min(float(lower), expected), expected, max(float(upper), expected))


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part of an endpoint's mean time."""

    part: str = column("part", "what the time goes to")
    seconds: Estimate | None = column("time", "mean over the probed requests", unit="s")
    share: float | None = column("of raw", "share of the raw time", unit="%", digits=2, scale=100)
    factor: Estimate | None = column("factor", "endpoint without disturbance over idealized")
    is_total: bool = column("total", "whether it is a total and not a part of raw", detail=True)


PARTS = Bars(
    names=("part",),
    value="seconds",
    total="is_total",
    legend="the parts add up to raw  ·  lines: what they lie between (90%)",
)


def endpoint_report(path: Path, reference: Reference) -> Report[PartRow]:
    """Return where the time of the endpoint goes whose ledger lies at ``path``.

    Raises:
        InputError: the ledger cannot be read, or holds too little.

    """
    entries = read_ledger(path)
    denoised = denoise(*probes_and_pings(entries))

    # The queue holds what the endpoint's front end adds, so passes are held against passes.
    attribution = attribute(denoised, reference.passes_only.runtime)
    deployment, engine = reference.deployment, reference.engine
    source = f", as {engine} runs it" if engine else ", from the data sheet"

    return Report(
        kind="endpoint",
        title=attribution.sentence,
        question={
            "endpoint_profile": path.name,
            "against": deployment.model.name,
            "on": f"{reference.num_accelerators} {deployment.cluster.name}",
            "engine": engine,
            "probes": len(denoised.probes),
        },
        rows=_part_rows(attribution),
        notes=(
            *denoised.notes,
            f"the idealized runtime is {reference.basis.value}{source}; its doubt is in the "
            "interval of the factor",
            "model and software, contention, drift, queue and network add up to raw",
            "idealized are the passes alone; what an engine adds to a request is in the queue",
        ),
        sources={"endpoint": str(entries[0].get("subject", "")) if entries else ""},
        charts=(PARTS,),
    )


def _part_rows(attribution: Attribution) -> tuple[PartRow, ...]:
    parts = (
        ("raw", attribution.raw_s),
        ("idealized", attribution.idealized_s),
        ("model and software", attribution.served_s),
        ("contention", attribution.contention_s),
        ("drift", attribution.drift_s),
        ("queue", attribution.queue_s),
        ("network", attribution.network_s),
    )
    raw_s, factor = attribution.raw_s.expected, attribution.software_factor.estimate(0.9)

    return tuple(
        PartRow(
            part=name,
            seconds=None if seconds is None else seconds.estimate(0.9),
            share=None if seconds is None or name == "idealized" else seconds.expected / raw_s,
            factor=factor if name == "model and software" else None,
            is_total=name in ("raw", "idealized"),
        )
        for name, seconds in parts
    )
