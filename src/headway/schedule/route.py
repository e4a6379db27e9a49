"""Where a request goes: round robin, or the replica with the lowest score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headway.errors import InputError


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What a router may know of one replica.

    Attributes:
        requests: waiting and running: both count, or every burst lands on one replica.
        predicted_tokens: that they are predicted to produce in all.
        cached_tokens: of this request's prompt that the replica holds.
        up: whether it serves.

    """

    requests: int
    predicted_tokens: float = 0.0
    cached_tokens: int = 0
    up: bool = True


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """One after the other."""

    name: str = "round-robin"

    def choose(self, replicas: Sequence[ReplicaView], turn: int) -> int:
        """Return the number of the first replica from ``turn`` on that is up."""
        return _up_from(replicas, turn)[0]


@dataclass(frozen=True, slots=True)
class LowestScore:
    """The replica with the lowest weighted sum; of equal ones the first from ``turn`` on.

    Attributes:
        per_request: weight of a request that waits or runs there.
        per_token: weight of a token that is predicted to be produced there.
        per_hit: credit for a prompt token that is cached there.
        name: for tables.

    """

    per_request: float = 1.0
    per_token: float = 0.0
    per_hit: float = 0.0
    name: str = "least-loaded"

    def __post_init__(self) -> None:
        if min(self.per_request, self.per_token, self.per_hit) < 0:
            raise InputError("weights of a placement rule must not be negative")

    def score(self, replica: ReplicaView) -> float:
        """Return the weighted sum."""
        return (
            self.per_request * replica.requests
            + self.per_token * replica.predicted_tokens
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


Placement = RoundRobin | LowestScore
LEAST_LOADED = LowestScore()
PREDICTED_WORK = LowestScore(per_request=0.0, per_token=1.0, name="predicted-work")
PREFIX_AFFINE = LowestScore(per_hit=1 / 512, name="prefix-affine")
