"""How long a prompt takes, as a shape with few unknowns: a floor, a slope, a rounded corner, tiles.

While a prompt is short its time is that of reading the weights, and flat; beyond the corner it is
that of the arithmetic, and grows with every token. The operators of a layer turn at different
lengths, which rounds the corner. Matrix kernels work on whole tiles of tokens, so that a part of
the growth comes in steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.ideal.request_profile import FloatArray

# Where the curve has its corners between measured sizes; beyond the last it goes on as a line.
MAX_TOKENS = 2.0**21


@dataclass(frozen=True, slots=True)
class Tiles:
    """Steps of the growth.

    Attributes:
        tokens: of one tile.
        share: of the growth that comes at the start of a tile, 0 to 1; the rest is even.
        ramp_tokens: over which a step rises, so that the curve stays continuous.
        small_tokens: up to which kernels for few tokens are used, beyond which the first tile is
            whole; ``None`` where there are smaller tiles for fewer tokens.

    """

    tokens: int = 128
    share: float = 0.7
    ramp_tokens: int = 16
    small_tokens: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.ramp_tokens < self.tokens:
            raise InputError("a tile must be longer than the ramp of its step")
        if self.small_tokens is not None and not (
            0 < self.small_tokens <= self.tokens - self.ramp_tokens
        ):
            raise InputError("kernels for few tokens end before the first tile does")
        if not 0 <= self.share <= 1:
            raise InputError(f"the share of a tile's step must lie in 0..1, not {self.share:g}")


@dataclass(frozen=True, slots=True)
class PromptCurve:
    """Seconds of a prompt with its first token, before any correction by single measurements.

    Attributes:
        floor_s: time of the shortest prompt.
        slope_s_per_token: of the compute-bound part.
        lead_tokens: tokens whose time the compute-bound part has before the first; may be negative.
        sharpness: of the corner: 1 adds floor and line, infinity takes the larger of them.
        tiles: the steps, ``None`` for even growth.

    """

    floor_s: float
    slope_s_per_token: float
    lead_tokens: float = 0.0
    sharpness: float = 4.0
    tiles: Tiles | None = None

    def at(self, prompt_tokens: FloatArray) -> FloatArray:
        """Return seconds at ``prompt_tokens``, same shape."""
        line = self.slope_s_per_token * np.maximum(self.charged_tokens(prompt_tokens), 0.0)

        # Scaled by the larger of the two, so that no power overflows.
        larger = np.maximum(line, self.floor_s)
        powers = (line / larger) ** self.sharpness + (self.floor_s / larger) ** self.sharpness
        return np.asarray(larger * powers ** (1 / self.sharpness))

    def charged_tokens(self, prompt_tokens: FloatArray) -> FloatArray:
        """Return the tokens that the compute-bound part pays for, whole tiles and lead included."""
        tokens, tiles = np.asarray(prompt_tokens, dtype=np.float64), self.tiles
        if tiles is None:
            return tokens + self.lead_tokens
        size = float(tiles.tokens)
        start = (np.ceil(tokens / size) - 1) * size
        stepped = start + size * np.minimum((tokens - start) / tiles.ramp_tokens, 1.0)

        # Below one tile, kernels choose smaller tiles.
        if tiles.small_tokens is None:
            charged = tiles.share * stepped + (1 - tiles.share) * tokens
            return np.where(tokens <= size, tokens, charged) + self.lead_tokens

        # Or the first tile is whole, and a few tokens have kernels of their own, without the lead.
        stepped = np.where(tokens <= size, size, stepped)
        charged = tiles.share * stepped + (1 - tiles.share) * tokens + self.lead_tokens
        large = np.clip((tokens - tiles.small_tokens) / tiles.ramp_tokens, 0.0, 1.0)
        return np.asarray((1 - large) * np.minimum(tokens, tiles.small_tokens) + large * charged)


def knots(tiles: Tiles | None, sizes: FloatArray) -> FloatArray:
    """Return where the curve is taken as straight between: ``sizes``, tiles, an even grid from 1.

    In tokens, ascending.
    """
    even = np.unique(np.round(np.geomspace(1, MAX_TOKENS, 200)))
    if tiles is None:
        return np.union1d(even, sizes)
    starts: FloatArray = np.arange(1.0, 65.0) * tiles.tokens
    first = even[even <= tiles.tokens]

    if tiles.small_tokens is not None:
        first = np.append(first, [tiles.small_tokens, tiles.small_tokens + tiles.ramp_tokens])
    pieces = [first, even[even > starts[-1]], sizes, starts, starts + tiles.ramp_tokens]
    return np.unique(np.concatenate(pieces))
