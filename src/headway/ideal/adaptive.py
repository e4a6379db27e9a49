"""Which request to measure next, and when to stop: the estimator's own doubt decides.

A candidate is worth the variance that it removes from the requests one cares about, given the
covariance of the unknowns (I-optimal design, greedily; Fedorov 1972, chapter 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.ideal.estimator import fit_requests
from headway.ideal.request_profile import FloatArray
from headway.ideal.runtime_fit import MIN_SPREAD, RuntimeFit, normal_width
from headway.measure.measurement import Measurement, RequestLoad

START_OUTPUT_TOKENS = 64
MAX_REQUESTS = 24
# Of requests that were measured before, in a row.
MAX_REPEATS_IN_A_ROW = 3
Measure = Callable[[Sequence[RequestLoad]], Sequence[Measurement]]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The requests that matter, arrays of shape (requests,); and the largest that may be run.

    The mean squared relative doubt over them is what a measurement should lower.
    """

    prompt_tokens: FloatArray
    output_tokens: FloatArray

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "output_tokens"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or values.size == 0 or np.any(values < 1):
                raise InputError(f"{name} of a target must be a list of numbers of at least 1")
            object.__setattr__(self, name, values)
        if self.prompt_tokens.shape != self.output_tokens.shape:
            raise InputError("a target needs as many prompt lengths as output lengths")

    @classmethod
    def up_to(cls, prompt_tokens: int, output_tokens: int) -> Target:
        """Return requests of all lengths up to these: half of them even, half in log scale."""
        prompts = np.concatenate(
            [np.geomspace(1, prompt_tokens, 8), np.linspace(1, prompt_tokens, 8)]
        )
        outputs = np.unique(np.round(np.geomspace(1, max(output_tokens, 2), 4)))
        return cls(np.repeat(prompts, outputs.size), np.tile(outputs, prompts.size))

    @property
    def decode_tokens(self) -> int:
        """Output tokens of a request that tells the time of a decode step."""
        return int(min(max(self.output_tokens.max(), 2), START_OUTPUT_TOKENS))


def first_requests(target: Target) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the two requests to begin with: the shortest prompt's decode, the longest prompt."""
    return (1, target.decode_tokens), (max(int(target.prompt_tokens.max()), 2), 1)


def next_request(fit: RuntimeFit, target: Target) -> tuple[int, int]:
    """Return prompt and output tokens of the request whose measurement would help most."""
    largest = float(target.prompt_tokens.max())
    sizes = np.unique(np.round(np.geomspace(1, largest, 48)))

    # A full tile is measured without the step's ramp.
    if fit.form.tiles is not None:
        tile = fit.form.tiles.tokens
        sizes = np.where(sizes < tile, sizes, np.maximum(np.round(sizes / tile), 1) * tile)
        sizes = np.unique(sizes)
        sizes = sizes[sizes <= max(largest, 1)]
    candidates = [(size, output) for size in sizes for output in (1.0, float(target.decode_tokens))]
    prompts, outputs = np.asarray(candidates).T

    # The variance over the target that each candidate would remove.
    target_slopes = fit.slopes(target.prompt_tokens, target.output_tokens)
    slopes = fit.slopes(prompts, outputs)
    covariance = target_slopes @ fit.covariance @ slopes.T
    noise = max(fit.misfit, MIN_SPREAD) ** 2
    variance = np.einsum("ij,jk,ik->i", slopes, fit.covariance, slopes) + noise
    gain = np.sum(covariance**2, axis=0) / variance

    # Machine time counts too, but with the root: a few long requests are better than many short.
    best = int(np.argmax(gain / np.sqrt(fit.predict(prompts, outputs))))
    return int(prompts[best]), int(outputs[best])


def half_width(fit: RuntimeFit, target: Target, confidence: float = 0.9) -> float:
    """Return the relative half-width of the interval, root mean square over the target."""
    sd = fit.relative_sd(target.prompt_tokens, target.output_tokens)
    return float(normal_width(confidence) * np.sqrt(np.mean(sd**2)))


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """What was measured, the fit to it, and the relative half-width of its 90% interval."""

    measurements: tuple[Measurement, ...]
    fit: RuntimeFit
    half_width: float
    last_request: tuple[int, int]


def measure_until(
    measure: Measure,
    target: Target,
    within: float,
    max_requests: int = MAX_REQUESTS,
    notice: Callable[[Progress], object] = lambda progress: None,
) -> Progress:
    """Measure until runtimes over ``target`` are known ``within``, a fraction.

    A request that is chosen again adds to its trials. Noise may leave more doubt than was asked
    for, so it ends as well after ``max_requests`` runs, or when the last few were all repeats.

    Raises:
        InputError: ``within`` is not between 0 and 1.

    """
    if not 0 < within < 1:
        raise InputError(f"runtimes can be known within more than 0 and less than 1, not {within}")
    measurements = list(measure([RequestLoad(1, *lengths) for lengths in first_requests(target)]))
    num_runs, num_repeats = len(measurements), 0
    last_request = first_requests(target)[-1]

    while True:
        fit = fit_requests(measurements)
        progress = Progress(
            measurements=tuple(measurements),
            fit=fit,
            half_width=half_width(fit, target),
            last_request=last_request,
        )
        notice(progress)
        if progress.half_width <= within or num_runs >= max_requests:
            return progress
        if num_repeats >= MAX_REPEATS_IN_A_ROW:
            return progress

        last_request = next_request(fit, target)
        (new,) = measure([RequestLoad(1, *last_request)])
        num_runs += 1
        repeated = [i for i, old in enumerate(measurements) if old.load == new.load]
        if repeated:
            old = measurements[repeated[0]]
            measurements[repeated[0]] = replace(new, trials_s=old.trials_s + new.trials_s)
            num_repeats += 1
        else:
            measurements.append(new)
            num_repeats = 0
