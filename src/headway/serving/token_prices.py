"""What a token must cost so that all of them pay for the engine: input, cached input, output.

Prompts pay for the time that they take, answers for the rest. Of a prompt, the cached tokens pay
for what reading their cache adds to its computation, the others for what they would have cost
without them. Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import ServingEstimate
from headway.serving.load_steps import load_steps
from headway.steptime.deployment import Deployment
from headway.steptime.work import Array, Number

ASSUMED_CACHED = 0.5  # of a prompt, where the price of a cached token is asked and none is cached


@dataclass(frozen=True, slots=True, eq=False)
class BreakEvenPrices:
    """Dollars per million tokens at which tokens pay exactly for the engine that serves them."""

    input: Array
    cached_input: Array
    output: Array


@dataclass(frozen=True, slots=True)
class ApiPrices:
    """What an API asks, in dollars per million tokens; cached input as any, where not said."""

    input: float
    output: float
    cached_input: float | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1e6:
                raise InputError(
                    f"an API price must lie between $0 and $1e6 per million tokens, not {value:g}"
                )

    def usd_per_request(self, loop: ClosedLoop) -> Array:
        """Return the dollars that a request of ``loop`` costs there."""
        cached_tokens = loop.prompt_tokens * loop.cached_fraction
        return self.usd(loop.prompt_tokens, loop.output_tokens, cached_tokens)

    def usd(
        self, prompt_tokens: Number, output_tokens: Number, cached_tokens: Number = 0.0
    ) -> Array:
        """Return the dollars of so many tokens; hidden reasoning tokens are output tokens."""
        cached = self.input if self.cached_input is None else self.cached_input
        fresh_tokens = np.maximum(prompt_tokens - cached_tokens, 0.0)
        prompt_usd = fresh_tokens * self.input + cached_tokens * cached
        return np.asarray((prompt_usd + output_tokens * self.output) / 1e6)

    def max_usd(self, prompt_tokens: float, output_tokens: float) -> float:
        """Return the most that a request with at most so many tokens can cost."""
        prompt = max(self.input, self.cached_input or 0.0)
        return (prompt_tokens * prompt + output_tokens * self.output) / 1e6


def break_even_prices(served: ServingEstimate) -> BreakEvenPrices:
    """Return the prices at which the tokens of ``served`` pay for its accelerators exactly.

    Raises:
        InputError: no price is known.

    """
    loop, deployment = served.loop, served.deployment
    if served.usd_per_s is None:
        raise InputError(f"no price is known for {deployment.cluster.name}; give one with --price")
    request_usd = served.usd_per_s / served.times.requests_per_s
    prompt_usd = request_usd * served.prompt_share

    # A prompt with some tokens cached, the same without those tokens, and without any cached.
    prompt = loop.prompt_tokens
    cached = np.where(loop.cached_fraction > 0, loop.cached_fraction, ASSUMED_CACHED)
    short_s = prompt_s(deployment, prompt * (1 - cached), 0.0)
    cached_s = prompt_s(deployment, prompt, cached)
    whole_s = prompt_s(deployment, prompt, 0.0)

    some = loop.cached_fraction > 0
    input_usd = np.where(some, prompt_usd * short_s / cached_s, prompt_usd)
    cached_usd = np.where(some, prompt_usd - input_usd, prompt_usd * (cached_s - short_s) / whole_s)
    return BreakEvenPrices(
        input=np.asarray(input_usd / (prompt * (1 - loop.cached_fraction)) * 1e6),
        cached_input=np.asarray(cached_usd / (prompt * cached) * 1e6),
        output=np.asarray((request_usd - prompt_usd) / loop.output_tokens * 1e6),
    )


def break_even_load(served: ServingEstimate, api: ApiPrices) -> Array:
    """Return the share of this load from which the deployment is cheaper than ``api``."""
    if served.usd_per_s is None:
        raise InputError(f"no price is known for {served.deployment.cluster.name}")
    api_usd_per_s = served.times.requests_per_s * api.usd_per_request(served.loop)
    return np.asarray(served.usd_per_s / api_usd_per_s)


def prompt_s(deployment: Deployment, prompt_tokens: Number, cached_fraction: Number) -> Array:
    """Return the seconds of the steps of one prompt alone."""
    loop = ClosedLoop(np.maximum(prompt_tokens, 1.0), 1, 1, cached_fraction)
    steps = load_steps(deployment, loop, mixes=False)
    step_s = deployment.step_time_model.step_time(steps.mixed).expected_s
    return np.asarray(step_s * steps.shape.prompt_steps)
