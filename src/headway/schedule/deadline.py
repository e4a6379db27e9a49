"""Orders that go by what was promised: due dates, classes of service, slack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.schedule.due import Dues
from headway.schedule.order import Aging, Keys, OrderPolicy, Policy
from headway.schedule.view import View

TIER_S = 1e8  # apart, in seconds: nobody waits for years
SHORTEST_FIRST = Aging(1e-3)  # nobody is overtaken for more than 1,000 times the work it brings


@dataclass(frozen=True, slots=True)
class EarliestDeadline(Policy):
    """Earliest deadline first (Liu and Layland 1973): of the first token, else of the answer."""

    default_s: float = 30.0
    name: str = "edf"

    uses_predictions = False

    def keys(self, view: View) -> Keys:
        """Return the deadline; ``default_s`` after arrival where nobody set one."""
        return Keys(_deadline_s(view, self.default_s))


@dataclass(frozen=True, slots=True)
class StrictTiers(Policy):
    """The smallest class of service first, whatever waits in the others; EDF within each."""

    default_s: float = 30.0
    name: str = "strict"

    uses_predictions = False

    def keys(self, view: View) -> Keys:
        """Return the deadline, moved by the class."""
        return Keys(TIER_S * view.tiers + _deadline_s(view, self.default_s))


@dataclass(frozen=True, slots=True)
class Moore(Policy):
    """As many first tokens in time as can be (Moore and Hodgson 1968).

    Requests that can start in time go by due date: a first token's deadline less its own prefill.
    Where not all can, those that bring the most work per value are given up; they go after the
    others, as ``rest`` orders them, or are refused. `headway.schedule.due` has the algorithm.

    Attributes:
        rest: order of those that cannot be in time, and of those without objectives.
        late_share: of the starts that they get in any case, so that nobody starves.
        sheds: whether those that cannot be in time are refused.

    """

    rest: OrderPolicy = SHORTEST_FIRST
    late_share: float = 0.0
    sheds: bool = False
    name: str = "moore"

    def keys(self, view: View) -> Keys:
        """Return the keys of ``rest``, with due dates."""
        rest = self.rest.keys(view)
        dues = Dues(
            due_s=view.start_by_s,
            work_s=view.service_s,
            value=view.value,
            late_share=self.late_share,
            sheds=self.sheds,
        )
        return Keys(rest.key, rest.slope, dues)

    @property
    def setting(self) -> str:
        """What was chosen, in words."""
        share = f", {self.late_share:.0%} of the starts for the late" if self.late_share else ""
        return f"{self.name}: in time by due date, the rest by {self.rest.name}{share}"


@dataclass(frozen=True, slots=True)
class Slack(Moore):
    """`Moore`, and running answers that are ahead of their TPOT pause for a start that is due.

    A paused answer is due again when its objective would have its next token.
    """

    quantum_tokens: int = 32
    name: str = "slack"

    preempts = True


def _deadline_s(view: View, default_s: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    deadline_s = np.minimum(view.first_deadline_s, view.deadline_s)
    return np.where(np.isfinite(deadline_s), deadline_s, view.arrival_s + default_s)
