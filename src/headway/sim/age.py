"""Keys that change with the tokens that are out: what survives its prediction is predicted anew."""

from __future__ import annotations

import numpy as np

from headway.schedule.order import OrderPolicy
from headway.schedule.view import View
from headway.sim.compile import compiled
from headway.sim.world import Floats

FIRST_AGE = 32  # tokens; every further age is twice the one before it
NUM_AGES = 12


def keys_by_age(policy: OrderPolicy, view: View) -> Floats:
    """Return the keys of all requests after 0, 32, 64, 128, ... tokens, (requests, ages)."""
    ages = [0, *(FIRST_AGE << k for k in range(NUM_AGES - 1))]
    columns = [policy.keys(view.after(np.full(len(view), float(age)))).key for age in ages]
    return np.ascontiguousarray(np.stack(columns, axis=1))


@compiled
def age_of(tokens: int) -> int:
    """Return the column of `keys_by_age` for an answer of which ``tokens`` are out."""
    age, tokens = 0, tokens // FIRST_AGE
    while tokens > 0 and age < NUM_AGES - 1:
        age += 1
        tokens >>= 1
    return age
