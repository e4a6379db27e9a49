"""Keys of requests as columns of numbers: asked of the policy once, sorted many times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.schedule.due import Dues
from headway.schedule.order import Keys, OrderPolicy
from headway.schedule.view import Floats, View

# Rows of a table of keys: when a request came, its key and how that changes, its due date.
ARRIVAL, KEY, SLOPE, DUE, WORK, VALUE = range(6)
NUM_ROWS = 6


@dataclass(slots=True)
class KeyWriter:
    """Asks a policy for keys, and reads them from a table again.

    Attributes:
        policy: the order.
        dues: how the policy's due dates count, without their columns; ``None`` where it has none.

    """

    policy: OrderPolicy
    dues: Dues | None = None

    def columns(self, view: View) -> Floats:
        """Return what the policy says of the requests in ``view``, (`NUM_ROWS`, requests)."""
        keys = self.policy.keys(view)
        table = np.zeros((NUM_ROWS, len(view)))
        table[ARRIVAL], table[KEY] = view.arrival_s, keys.key
        if keys.slope is not None:
            table[SLOPE] = keys.slope
        if keys.dues is not None:
            table[DUE], table[WORK], table[VALUE] = (
                keys.dues.due_s,
                keys.dues.work_s,
                keys.dues.value,
            )
            self.dues = keys.dues
        return table

    def keys(self, columns: Floats) -> Keys:
        """Return the keys in ``columns``, (`NUM_ROWS`, requests)."""
        dues = self.dues and Dues(
            due_s=columns[DUE],
            work_s=columns[WORK],
            value=columns[VALUE],
            late_share=self.dues.late_share,
        )
        return Keys(columns[KEY], columns[SLOPE], dues)
