"""Where the time of an endpoint goes: raw = idealized x software factor + the rest, each in doubt.

The parts of the expected values add up exactly. Intervals come from resampling the probes and from
the doubts of the fitted and the idealized runtimes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headway.ideal.denoised import Denoised, fresh_tokens
from headway.ideal.request_profile import FloatArray
from headway.measure.interval import Interval

DRAWS = 2000
WIDTH_90 = 1.645


class Idealized(Protocol):
    """Whatever says what requests take on reference hardware, with its interval."""

    def interval(
        self, prompt_tokens: FloatArray, output_tokens: FloatArray, confidence: float = 0.9
    ) -> tuple[FloatArray, FloatArray]:
        """Seconds between which it lies."""
        ...

    def predict(self, prompt_tokens: FloatArray, output_tokens: FloatArray) -> FloatArray:
        """Expected seconds."""
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
        factor, doubt = self.software_factor, self.software_factor
        faster = factor.expected < 1
        ratio = 1 / factor.expected if faster else factor.expected
        bounds = sorted(
            (1 / doubt.lower, 1 / doubt.upper) if faster else (doubt.lower, doubt.upper)
        )
        word = "faster" if faster else "slower"
        sure = "" if not doubt.holds(1.0) else "; the interval includes 1, so this is not settled"
        return (
            f"undisturbed, this endpoint is {ratio:.2f} times {word} than the model's idealized "
            f"runtime ({bounds[0]:.2f} to {bounds[1]:.2f}){sure}"
        )


def attribute(denoised: Denoised, idealized: Idealized, seed: int = 0) -> Attribution:
    """Attribute the mean time of the probes behind ``denoised``, against ``idealized``."""
    probes = denoised.probes
    prompts = np.asarray([fresh_tokens(probe) for probe in probes])
    outputs = np.asarray([max(probe.output_tokens, 1) for probe in probes], dtype=np.float64)
    raw = np.asarray([probe.e2e_s for probe in probes], dtype=np.float64)
    core = denoised.runtime.predict(prompts, outputs)
    ideal = idealized.predict(prompts, outputs)
    level = _levels(denoised)
    drift = core * (level - 1)
    network_s = denoised.network_s.expected if denoised.network_s else 0.0
    rest = raw - core - drift - network_s - denoised.queue_s.expected

    source = np.random.default_rng(seed)
    rows = source.integers(0, len(probes), (DRAWS, len(probes)))
    # One error for all requests: the fit's unknowns err together.
    doubt = float(np.sqrt(np.mean(denoised.runtime.relative_sd(prompts, outputs) ** 2)))
    cores = core[rows].mean(axis=1) * np.exp(doubt * source.standard_normal(DRAWS))
    low, high = idealized.interval(prompts, outputs)
    ideal_doubt = np.log(high.mean() / low.mean()) / 2 / WIDTH_90
    ideals = ideal[rows].mean(axis=1) * np.exp(ideal_doubt * source.standard_normal(DRAWS))
    networks = _draws(denoised.network_s, source)
    queues = _draws(denoised.queue_s, source)
    raws, drifts = raw[rows].mean(axis=1), drift[rows].mean(axis=1)
    return Attribution(
        raw_s=_interval(float(raw.mean()), raws),
        idealized_s=_interval(float(ideal.mean()), ideals),
        software_factor=_interval(float(core.mean() / ideal.mean()), cores / ideals),
        served_s=_interval(float(core.mean()), cores),
        # Nobody gives time: where the doubt of the core says so, it is the core that is too long.
        contention_s=_interval(
            float(rest.mean()),
            np.maximum(raws - cores - drifts - networks - queues, min(0.0, float(rest.mean()))),
        ),
        drift_s=_interval(float(drift.mean()), drifts),
        network_s=denoised.network_s,
        queue_s=denoised.queue_s,
    )


def _levels(denoised: Denoised) -> FloatArray:
    """The drift factor at the time of every probe."""
    ends = np.asarray([stretch.end_s for stretch in denoised.drift])
    factors = np.asarray([stretch.factor.expected for stretch in denoised.drift])
    at = np.searchsorted(ends, [probe.sent_at for probe in denoised.probes])
    return np.asarray(factors[np.minimum(at, factors.size - 1)])


def _draws(known: Interval | None, source: np.random.Generator) -> FloatArray:
    if known is None:
        return np.zeros(DRAWS)
    below, above = known.expected - known.lower, known.upper - known.expected
    normal = source.standard_normal(DRAWS)
    return np.asarray(known.expected + normal * np.where(normal < 0, below, above) / WIDTH_90)


def _interval(expected: float, draws: FloatArray) -> Interval:
    lower, upper = np.quantile(draws, [0.05, 0.95])
    return Interval(min(float(lower), expected), expected, max(float(upper), expected))
