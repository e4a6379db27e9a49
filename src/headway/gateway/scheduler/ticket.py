"""A place in a queue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar


@dataclass(slots=True, eq=False)
class Ticket:
    """A place in the queue.

    Attributes:
        arrival_s: on the loop's clock.
        key, slope: the policy's; the smallest ``key + slope * now`` goes first.
        lane: the tenant, where tenants share; else empty.
        kind: the model, where not every engine of the pool has it; else empty.
        work_s: predicted seconds of service.
        weight: of the tenant.
        number: in the order of arrival, among equal keys; 0 before it waits in a queue.
        waits: false once it has started or gone.
        charged_s: of virtual time to its lane, once it was started.
        due_s: when it must start for its objectives to be met; infinite where it has none.
        due_work_s: by how much it delays whoever starts after it.
        value: what its start in time is worth.

    """

    arrival_s: float
    key: float = 0.0
    slope: float = 0.0
    lane: str = ""
    kind: str = ""
    work_s: float = 1.0
    weight: float = 1.0
    number: int = 0
    waits: bool = True
    charged_s: float = 0.0
    due_s: float = math.inf
    due_work_s: float = 0.0
    value: float = 1.0

    def rank(self, now_s: float) -> tuple[float, float, int]:
        """Return what the policy's order sorts by."""
        return self.key + self.slope * now_s, self.arrival_s, self.number


Waiter = TypeVar("Waiter", bound=Ticket)
