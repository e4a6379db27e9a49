"""What an operator sets: ``--additional-config '{"headway": {"policy": "gittins"}}'``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from headway.errors import InputError
from headway.schedule.order import OrderPolicy
from headway.schedule.policies import find_policy
from headway.schedule.view import ServiceTime
from headway.units import check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How requests are ordered inside one engine.

    Attributes:
        policy: the name of an order, as ``headway simulate --policy`` takes it.
        patience_s: whoever has waited so long goes first, whatever the policy says.
        max_preemptions: of one request; then it stays.
        ttft_s, tpot_s: objectives of requests that bring none; ``None`` for none.
        prompt_token_s, output_token_s: what a token costs this engine, in seconds.

    """

    policy: str = "moore"
    patience_s: float = 120.0
    max_preemptions: int = 4
    ttft_s: float | None = None
    tpot_s: float | None = None
    prompt_token_s: float = 2e-5
    output_token_s: float = 1e-2
    order: OrderPolicy = field(init=False)

    def __post_init__(self) -> None:
        check_positive(self.patience_s, "patience_s")
        for name in ("ttft_s", "tpot_s"):
            if (bound_s := getattr(self, name)) is not None:
                check_positive(bound_s, name)
        if self.max_preemptions < 0:
            raise InputError(f"max_preemptions must not be negative, not {self.max_preemptions}")
        object.__setattr__(self, "order", find_policy(self.policy))

    @property
    def service(self) -> ServiceTime:
        """What requests cost."""
        return ServiceTime(prompt_token_s=self.prompt_token_s, output_token_s=self.output_token_s)

    @classmethod
    def of(cls, options: Mapping[str, object] | None) -> Settings:
        """Return the settings in vLLM's additional configuration, under the key ``headway``.

        Raises:
            InputError: a setting or a policy is unknown, or out of its range.

        """
        own = (options or {}).get("headway", {})
        if not isinstance(own, Mapping):
            raise InputError(f"the settings under 'headway' must be a JSON object, not {own!r}")
        names = {one.name for one in fields(cls) if one.init}
        unknown = sorted(set(own) - names)
        if unknown:
            raise InputError(
                f"unknown setting {unknown[0]!r} under 'headway'; known are {', '.join(names)}"
            )
        return cls(**own)
