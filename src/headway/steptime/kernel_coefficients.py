"""What a data sheet does not say about an engine, as a few positive numbers with a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from headway.errors import InputError
from headway.steptime.work import Array


@dataclass(frozen=True, slots=True)
class Coefficients:
    """How near an engine's kernels come to the data sheet, and what it adds around them.

    Attributes:
        flops_16, flops_8, flops_4: fraction of the dense peak of large products, by the bits of
            their arithmetic.
        tile_rows: a product costs as much arithmetic as if it had this many rows more.
        bandwidth_16, bandwidth_8, bandwidth_4: fraction of the memory bandwidth at which weights
            are read, by the bits they are stored in.
        flops_wide, bandwidth_wide: the same of 4-bit weights that are multiplied in 16 bits.
        expert_flops, expert_bandwidth: what routed experts reach of the same for dense products;
            above 1 where requests agree on their experts, so that fewer are read than counted.
        cache_bandwidth, latent_bandwidth: fraction of the memory bandwidth at which the KV cache
            is read, plain and latent.
        score_flops: fraction of the dense peak of attention scores.
        activation_bandwidth: the memory bandwidth over that of activations; above 1 where these
            stay in a cache.
        unhidden: of the shorter of arithmetic and memory time, the part that does not overlap.
        kernel_s, expert_kernel_s, score_kernel_s, latent_kernel_s: launch and ramp of one kernel
            of products, routed experts, attention scores and latent attention scores, seconds.
        prompt_kernel_s: what the host takes to launch one kernel of a step that holds a prompt,
            seconds; those of decode steps are launched together, as a graph.
        exchange_s: latency of one exchange of two ranks in a node, seconds; more ranks add half
            as much with every doubling.
        link: fraction of the link bandwidth that exchanges reach.
        step_s: what the engine adds to every step, seconds.
        mixed_s: what it adds to a step that holds a prompt, seconds.
        sequence_s: what it adds for every sequence of a step, seconds.
        sort_s: what it adds for every number of the vocabulary that it sorts to choose a token of
            a sequence among the likeliest (top-p, top-k), seconds.
        request_s: what it adds before the first token, seconds.
        prompt_token_s: the same for every token of the prompt, seconds.
        held_steps: decode steps for which it holds the first token back before it streams.

    """

    flops_16: float = 0.70
    flops_8: float = 0.55
    flops_4: float = 0.42
    flops_wide: float = 0.5
    tile_rows: float = 16.0
    bandwidth_16: float = 0.78
    bandwidth_8: float = 0.62
    bandwidth_4: float = 0.45
    bandwidth_wide: float = 0.45
    expert_flops: float = 0.6
    expert_bandwidth: float = 0.7
    cache_bandwidth: float = 0.75
    latent_bandwidth: float = 0.5
    score_flops: float = 0.5
    activation_bandwidth: float = 1.0
    unhidden: float = 0.3
    kernel_s: float = 3e-6
    expert_kernel_s: float = 3e-6
    score_kernel_s: float = 4e-6
    latent_kernel_s: float = 3e-6
    prompt_kernel_s: float = 4.5e-5
    exchange_s: float = 7e-6
    link: float = 0.5
    step_s: float = 5e-4
    mixed_s: float = 2e-3
    sequence_s: float = 1e-5
    sort_s: float = 2.2e-10
    request_s: float = 3e-3
    prompt_token_s: float = 1e-6
    held_steps: float = 0.7

    def __post_init__(self) -> None:
        for name, value in zip(NAMES, self.vector(), strict=True):
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"coefficient {name} must be above 0, not {value:g}")

    def vector(self) -> Array:
        """The coefficients in the order of `NAMES`."""
        return np.array([getattr(self, name) for name in NAMES], dtype=np.float64)

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Coefficients:
        """Read what `dataclasses.asdict` wrote; raise `InputError` for anything else."""
        unknown = set(values) - set(NAMES)
        missing = set(NAMES) - set(values) - set(NOTHING)
        if unknown or missing:
            raise InputError(
                f"coefficients must be exactly {', '.join(NAMES)}; "
                f"unknown: {sorted(unknown)}, missing: {sorted(missing)}"
            )
        numbers = dict(NOTHING)
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"coefficient {name} must be a number, not {value!r}")
            numbers[name] = float(value)
        return cls(**numbers)


NAMES = tuple(field.name for field in fields(Coefficients))
AT = {name: position for position, name in enumerate(NAMES)}
# A fraction above 1 would beat the data sheet; activations may stay in a cache.
FRACTIONS = (
    "flops_16",
    "flops_8",
    "flops_4",
    "flops_wide",
    "bandwidth_16",
    "bandwidth_8",
    "bandwidth_4",
    "bandwidth_wide",
    "cache_bandwidth",
    "latent_bandwidth",
    "score_flops",
    "unhidden",
    "link",
)
MAX = np.array([1.0 if name in FRACTIONS else np.inf for name in NAMES])
# What calibrations lack that were written before it was told apart: next to nothing of it.
NOTHING = {"prompt_kernel_s": 1e-12}
# What only the time to first token shows.
FIRST_TOKEN = ("request_s", "prompt_token_s", "held_steps")
