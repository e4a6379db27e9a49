"""Pools of engines: what one costs, how fast it is until measured, and who may go to the second."""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import InputError
from headway.schedule.view import LEVELS, ServiceTime
from headway.units import check_positive


@dataclass(frozen=True, slots=True)
class Pool:
    """Engines that can stand in for each other, such as all accelerators or all CPUs.

    Attributes:
        name: as backends and clients spell it.
        usd_per_hour: price of the whole pool; ``None`` where nobody said.
        fixed_s, prompt_token_s, output_token_s: what a request costs there, until it was measured.

    """

    name: str
    usd_per_hour: float | None = None
    fixed_s: float | None = None
    prompt_token_s: float | None = None
    output_token_s: float | None = None

    def __post_init__(self) -> None:
        if self.usd_per_hour is not None and not 0 <= self.usd_per_hour < 1e9:
            raise InputError(f"usd_per_hour of pool {self.name} must not be {self.usd_per_hour}")
        for what in ("fixed_s", "prompt_token_s", "output_token_s"):
            seconds = getattr(self, what)
            if seconds is not None and not 0 <= seconds <= 3600:
                raise InputError(
                    f"{what} of pool {self.name} must be from 0 to 3600 seconds, not {seconds}"
                )

    @property
    def service(self) -> ServiceTime:
        """What a request costs there before anything was measured."""
        usual = ServiceTime()
        return ServiceTime(
            *(
                given if given is not None else default
                for given, default in (
                    (self.fixed_s, usual.fixed_s),
                    (self.prompt_token_s, usual.prompt_token_s),
                    (self.output_token_s, usual.output_token_s),
                )
            )
        )


@dataclass(frozen=True, slots=True)
class Overflow:
    """Who may go from the fast pool to the slow one: see `headway.schedule.offload`.

    Attributes:
        fast, slow: names of two pools.
        threshold_tokens: an answer may go whose ``level`` quantile is longer; or else
        share: of the answers, the longest, that may go.
        level: of the predicted length.
        worth_usd_per_hour: what an hour of a client's waiting is worth. With it, and a price for
            both pools, what is shortened is the sum of time and money; without, time alone.

    """

    fast: str
    slow: str
    threshold_tokens: float | None = None
    share: float | None = None
    level: float = 0.9
    worth_usd_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.fast == self.slow:
            raise InputError(f"offload needs two pools, not {self.fast!r} twice")
        if (self.threshold_tokens is None) == (self.share is None):
            raise InputError("offload needs threshold_tokens or share, and not both")
        if self.threshold_tokens is not None:
            check_positive(self.threshold_tokens, "threshold_tokens of offload")
        if self.share is not None and not 0 < self.share < 1:
            raise InputError(f"share of offload must lie between 0 and 1, not at {self.share}")
        if not LEVELS[0] <= self.level <= LEVELS[-1]:
            raise InputError(
                f"level of offload must lie from {LEVELS[0]} to {LEVELS[-1]}, not at {self.level}"
            )
        if self.worth_usd_per_hour is not None:
            check_positive(self.worth_usd_per_hour, "worth_usd_per_hour of offload")
