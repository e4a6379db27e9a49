"""What a token must cost so that all of them pay for the engine: input, cached input, output.

Prompts pay for the time that they take, answers for the rest. Of a prompt, the cached tokens pay
for what reading their cache adds to its computation, the others for what they would have cost
without them. Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.serving.estimate import ServingEstimate, ServingQuestion
from headway.serving.one_engine import Load, serving_times, tabulate_serving

ASSUMED_CACHED = 0.5  # of a prompt, where the price of a cached token is asked and none is cached


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """Dollars per million tokens; ``blended`` over all, prompts counted whole."""

    input: float
    cached_input: float
    output: float
    blended: float


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

    def usd_per_request(self, load: Load) -> float:
        """Dollars that a request of ``load`` costs there."""
        prompt, cached = float(load.prompt_tokens), float(load.cached_fraction)
        held = self.input if self.cached_input is None else self.cached_input
        per_prompt = (1 - cached) * self.input + cached * held
        return (prompt * per_prompt + float(load.output_tokens) * self.output) / 1e6


def token_prices(
    question: ServingQuestion, found: ServingEstimate, usd_per_s: float
) -> TokenPrices:
    """Prices at which the tokens of ``found`` pay ``usd_per_s`` exactly."""
    load, requests = question.load, float(found.times.requests_per_s)
    prompt, cached = float(load.prompt_tokens), float(load.cached_fraction)
    prompts_usd = usd_per_s * float(found.prompt_share) / requests
    asked = cached or ASSUMED_CACHED
    without_s, with_s = (
        prompt_s(question, prompt * (1 - asked), 0.0),
        prompt_s(question, prompt, asked),
    )
    if cached:
        input_usd = prompts_usd * without_s / with_s
        cached_usd = prompts_usd - input_usd
    else:
        input_usd = prompts_usd
        cached_usd = prompts_usd * (with_s - without_s) / prompt_s(question, prompt, 0.0)
    output_usd = (usd_per_s / requests - prompts_usd) / float(load.output_tokens)
    total = prompt + float(load.output_tokens)
    return TokenPrices(
        input=input_usd / (prompt * (1 - cached)) * 1e6,
        cached_input=cached_usd / (prompt * asked) * 1e6,
        output=output_usd * 1e6,
        blended=usd_per_s / requests / total * 1e6,
    )


def prompt_s(question: ServingQuestion, prompt_tokens: float, cached_fraction: float) -> float:
    """Seconds of the steps of one prompt alone."""
    load = Load(max(prompt_tokens, 1.0), 1, 1, cached_fraction)
    table = tabulate_serving(question.deployment, load, replace(question.limits, mixes=False))
    logs, stretch = question.calibration.logs(question.subject)
    times = serving_times(table, np.exp(logs), np.exp(stretch))
    return float(times.mixed_step_s * table.prompt_steps)
