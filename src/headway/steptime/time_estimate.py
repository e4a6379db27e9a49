"""The time of a pass: seconds with their interval, their basis, and the physics below them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from headway.steptime.work import Array

MAX_SPREAD = 0.5  # relative variance of contexts up to which its cost was measured
COMPONENTS = ("arithmetic", "memory", "network", "latency")


class Basis(Enum):
    """Where a number comes from, weakest first; a sum takes the weakest."""

    ASSUMED = "assumed"
    ANALYTIC = "analytic"
    FITTED = "fitted"
    MEASURED = "measured"

    @classmethod
    def weakest(cls, *bases: Basis) -> Basis:
        """Return the weakest of ``bases``."""
        order = list(cls)
        return min(bases, key=order.index)


@dataclass(frozen=True, slots=True, eq=False)
class ComponentTimes:
    """Seconds of each component alone, and of the whole pass, in which some of them overlap."""

    arithmetic_s: Array
    memory_s: Array
    network_s: Array
    latency_s: Array
    total_s: Array

    @property
    def binds(self) -> npt.NDArray[np.str_]:
        """The name of the largest component: what to improve first."""
        parts = (self.arithmetic_s, self.memory_s, self.network_s, self.latency_s)
        largest = np.argmax(np.stack(np.broadcast_arrays(*parts)), axis=0)
        return np.asarray(np.asarray(COMPONENTS)[largest])


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """What no machine with this data sheet can beat: seconds at full rates, all overlapped."""

    arithmetic_s: Array
    memory_s: Array
    network_s: Array

    @property
    def total_s(self) -> Array:
        """The longest of the three."""
        return np.maximum(np.maximum(self.arithmetic_s, self.memory_s), self.network_s)


@dataclass(frozen=True, slots=True, eq=False)
class TimeEstimate:
    """Time of a pass in seconds; arrays of the broadcast shape.

    Attributes:
        expected_s: what the pass takes.
        lower_s, upper_s: ends of the interval, as the model of time defines it.
        basis: what the model of time rests on.
        components: where the time goes; ``None`` where the model knows the whole only.
        bound: what the data sheet allows at best; ``None`` where nobody counted the work.
        spread_s: what uneven contexts add to a step that decodes, for each unit of their relative
            variance up to `MAX_SPREAD`; ``None`` where the model knows their mean only.

    """

    expected_s: Array
    lower_s: Array
    upper_s: Array
    basis: Basis
    components: ComponentTimes | None = None
    bound: Bound | None = None
    spread_s: Array | None = None

    @property
    def binds(self) -> npt.NDArray[np.str_] | None:
        """The name of the largest component, ``None`` where the components are unknown."""
        return None if self.components is None else self.components.binds
