"""Fair shares between tenants: start-time fair queueing (Goyal, Vin and Cheng 1996)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headway.errors import InputError
from headway.schedule.order import Keys, Policy
from headway.schedule.view import View


@dataclass(frozen=True, slots=True)
class FairShares(Policy):
    """Every tenant gets work in proportion to its weight while it has something waiting.

    A request starts, in virtual time, where its tenant's previous one ended, but not before the
    moment it arrives; it ends after its predicted work over the tenant's weight. Virtual time is
    taken as seconds since the first arrival: exact while the engine is busy, and a tenant that was
    silent gains no credit.

    Attributes:
        weights: by tenant number; 1 where none is given.

    """

    weights: tuple[tuple[int, float], ...] = field(default=())
    name: str = "fair"

    def __post_init__(self) -> None:
        if any(weight <= 0 for _, weight in self.weights):
            raise InputError("weights of tenants must be above 0")

    def keys(self, view: View) -> Keys:
        """Return virtual start times."""
        weights = dict(self.weights)
        work_s = view.service_s

        last_end_s: dict[int, float] = {}
        start_s = np.empty(len(view))
        for row in np.argsort(view.arrival_s, kind="stable"):
            tenant = int(view.tenants[row])
            start_s[row] = max(float(view.arrival_s[row]), last_end_s.get(tenant, -np.inf))
            last_end_s[tenant] = start_s[row] + float(work_s[row]) / weights.get(tenant, 1.0)
        return Keys(start_s)
