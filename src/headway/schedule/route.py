"""Where a request goes: round robin, two choices, or the replica with the lowest score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headway.errors import InputError
from headway.schedule.view import ServiceTime


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What a router may know of one replica.

    Attributes:
        requests: waiting and running: both count, or every burst lands on one replica.
        output_tokens: that those are predicted to produce from now on.
        cached_tokens: of this request's prompt that the replica holds.
        up: whether it serves.
        prompt_tokens: of those requests that are not prefilled yet.

    """

    requests: int
    output_tokens: float = 0.0
    cached_tokens: int = 0
    up: bool = True
    prompt_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """One after the other."""

    name: str = "round-robin"

    def choose(self, replicas: Sequence[ReplicaView], turn: int) -> int:
        """Return the number of the first replica from ``turn`` on that is up."""
        return _up_from(replicas, turn)[0]


@dataclass(frozen=True, slots=True)
class TwoChoices:
    """The one with fewer requests of two drawn at random (Mitzenmacher 2001): a control.

    ``turn`` is the seed of the draw: the same question gets the same answer.
    """

    name: str = "two-choices"

    def choose(self, replicas: Sequence[ReplicaView], turn: int) -> int:
        """Return the number of the less loaded of two replicas that are up."""
        up = _up_from(replicas, 0)
        first, second = (up[place] for place in two_places(turn, len(up)))
        return second if replicas[second].requests < replicas[first].requests else first


def two_places(turn: int, count: int) -> tuple[int, int]:
    """Return two places of ``count``, different where there are two, drawn with seed ``turn``.

    The draw is splitmix64 (Steele, Lea and Flood 2014).
    """
    mask = (1 << 64) - 1
    z = (turn + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    z ^= z >> 31

    first = (z & 0xFFFFFFFF) % count
    second = (z >> 32) % max(count - 1, 1)
    return first, second + (second >= first and count > 1)


@dataclass(frozen=True, slots=True)
class LowestScore:
    """The replica with the lowest weighted sum; of equal ones the first from ``turn`` on.

    Attributes:
        per_request: weight of a request that waits or runs there.
        per_prompt_token: weight of a prompt token that is not prefilled yet.
        per_output_token: weight of a token that is predicted to be produced from now on.
        per_hit: credit for a prompt token that is cached there.
        name: for tables.

    """

    per_request: float = 1.0
    per_prompt_token: float = 0.0
    per_output_token: float = 0.0
    per_hit: float = 0.0
    name: str = "least-loaded"

    def __post_init__(self) -> None:
        weights = (self.per_request, self.per_prompt_token, self.per_output_token, self.per_hit)
        if min(weights) < 0:
            raise InputError("weights of a placement rule must not be negative")

    def score(self, replica: ReplicaView) -> float:
        """Return the weighted sum."""
        return (
            self.per_request * replica.requests
            + self.per_prompt_token * replica.prompt_tokens
            + self.per_output_token * replica.output_tokens
            - self.per_hit * replica.cached_tokens
        )

    def choose(self, replicas: Sequence[ReplicaView], turn: int) -> int:
        """Return the number of the replica with the lowest score."""
        return min(_up_from(replicas, turn), key=lambda number: self.score(replicas[number]))


def _up_from(replicas: Sequence[ReplicaView], turn: int) -> list[int]:
    """Return the numbers of the replicas that are up, from ``turn`` on."""
    count = len(replicas)
    numbers = [(turn + k) % count for k in range(count)]
    up = [number for number in numbers if replicas[number].up]
    if not up:
        raise InputError("no replica is up")
    return up


WORK_LEFT_NAME = "work-left"


def work_left(
    service: ServiceTime,
    output_share: float = 0.0,
    *,
    hit_weight: float = 1.0,
    name: str = WORK_LEFT_NAME,
) -> LowestScore:
    """Return the rule that counts the seconds of work that are left on a replica.

    They are those of prompts that are not prefilled yet, and a share of answers that are predicted,
    less what this request's cached prefix saves there. A request counts as a prompt token, so that
    ties go to the replica with fewer of them. The first token waits for prompts: answers that run
    delay it little, and counting them lost in every cell that was tried (`docs/policies.md`).

    Args:
        service: what tokens cost a replica that is shared, `headway.sim.site.share_of_work`.
        output_share: how much of the predicted answers counts.
        hit_weight: how often a cached token counts. Going elsewhere makes more work for all, now
            and whenever the same prefix comes again, which a choice for one request does not see.
        name: for tables.

    """
    return LowestScore(
        per_request=service.fixed_s + service.prompt_token_s,
        per_prompt_token=service.prompt_token_s,
        per_output_token=output_share * service.output_token_s,
        per_hit=hit_weight * service.prompt_token_s,
        name=name,
    )


Placement = RoundRobin | TwoChoices | LowestScore
LEAST_LOADED = LowestScore()
PREFIX_AFFINE = LowestScore(per_hit=1 / 512, name="prefix-affine")
_TOKENS = ServiceTime(0.0, 1.0, 4.0)  # in prompt tokens; an output token is about four
WORK_LEFT = work_left(_TOKENS)
PREFIX_WORK_LEFT = work_left(_TOKENS, 1.0, hit_weight=4.0, name="prefix-work-left")
