"""Orders that use the doubt of a prediction: RT-LM's priority, inflated tails, Gittins, boost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.predict.prediction import LEVELS
from headway.schedule.order import Keys, Policy
from headway.schedule.view import Floats, View
from headway.units import check_positive

# Every level stands for the probability from halfway to its neighbours.
_LEVELS = np.array(LEVELS)
_EDGES = np.concatenate([[0.0], (_LEVELS[1:] + _LEVELS[:-1]) / 2, [1.0]])
_PROBABILITY = np.diff(_EDGES)
_UPPER_TENTH = np.diff(np.maximum(_EDGES, 0.9)) / 0.1


@dataclass(frozen=True, slots=True)
class UncertaintyAware(Policy):
    """RT-LM's priority: slack and predicted length mixed (after Li et al. 2023, re-derived here).

    ``alpha * slack / D0 + (1 - alpha) * e / E[e]`` with the deadline ``r + D0 + phi * prompt`` and
    ``e`` the service predicted at ``level``. The paper's coefficients were not to be had. Time
    lowers all slacks alike, so it drops out.

    Attributes:
        alpha: weight of slack, 0 to 1.
        slack_s: ``D0``.
        prompt_token_s: ``phi``.
        mean_service_s: ``E[e]``, what is usual here.
        level: of the predicted length.

    """

    alpha: float = 0.5
    slack_s: float = 10.0
    prompt_token_s: float = 0.0
    mean_service_s: float = 1.0
    level: float = 0.5
    name: str = "rt-lm"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha must lie from 0 to 1, not at {self.alpha}")
        check_positive(self.slack_s, "slack_s")
        check_positive(self.mean_service_s, "mean_service_s")

    def keys(self, view: View) -> Keys:
        """Return the mix of slack and length, at time 0."""
        service_s = view.service.of(view.prompt_tokens, view.at(self.level))
        usual_deadline_s = view.arrival_s + self.slack_s + self.prompt_token_s * view.prompt_tokens
        deadline_s = np.where(np.isfinite(view.deadline_s), view.deadline_s, usual_deadline_s)

        slack = (deadline_s - service_s) / self.slack_s
        length = service_s / self.mean_service_s
        return Keys(self.alpha * slack + (1 - self.alpha) * length)


@dataclass(frozen=True, slots=True)
class LeastUncertain(Policy):
    """Shortest (LUF) or longest (MUF) predicted answer first: the two ends RT-LM compares with."""

    longest_first: bool = False
    name: str = "luf"

    def keys(self, view: View) -> Keys:
        """Return the predicted tokens, or their opposite."""
        return Keys(-view.at(0.5) if self.longest_first else view.at(0.5))


@dataclass(frozen=True, slots=True)
class HighestPriorityPoint(Policy):
    """RT-LM's HPF: the earliest priority point, which is later for longer prompts."""

    prompt_token_s: float = 0.01
    name: str = "hpf"

    uses_predictions = False

    def keys(self, view: View) -> Keys:
        """Return the arrival plus so much per prompt token."""
        return Keys(view.arrival_s + self.prompt_token_s * view.prompt_tokens)


@dataclass(frozen=True, slots=True)
class TailInflated(Policy):
    """Shortest first, a heavy upper tail counted in (after TIE, 2604.00499, clean-room).

    The key is the mean of the logarithm of service, plus ``weight`` times by how much the mean of
    the upper tenth exceeds it: of two answers with the same median the surer one goes first.
    """

    weight: float = 0.3
    name: str = "tie"

    def keys(self, view: View) -> Keys:
        """Return the expected log service, inflated."""
        log_service = np.log(_service_quantiles(view, view.quantiles))
        centre = log_service @ _PROBABILITY
        tail = log_service @ _UPPER_TENTH
        return Keys(centre + self.weight * (tail - centre))


@dataclass(frozen=True, slots=True)
class Gittins(Policy):
    """The smallest ``E[min(S, x)] / P(S <= x)`` over x (Gittins 1979; Aalto et al. 2009).

    It minimises mean response where jobs can be preempted and only their distribution is known.
    Levels stand for equal-probability steps of the predicted service. An engine looks once per
    ``quantum_tokens`` whether somebody makes way; what survives its prediction is predicted anew.
    With ``aging`` nobody is overtaken by who comes later than its index over ``aging``, which
    bounds the longest waits at hardly any cost to the mean (measured: ``docs/policies.md``).

    Attributes:
        quantum_tokens: see above.
        aging: seconds of the index that a second of waiting outweighs.

    """

    quantum_tokens: int = 32
    aging: float = 0.0
    name: str = "gittins"

    preempts = True

    def __post_init__(self) -> None:
        if not 0 <= self.aging < 1e6:
            raise InputError(f"aging of gittins must not be negative, not {self.aging}")

    def keys(self, view: View) -> Keys:
        """Return the index, of a request that has begun that of what remains of it, and its age."""
        remaining_tokens = np.maximum(view.quantiles - view.produced_tokens[:, None], 0.0)
        service_s = view.service.output_token_s * remaining_tokens
        not_begun_s = view.service.fixed_s + view.service.prompt_token_s * view.prompt_tokens
        service_s += np.where(view.produced_tokens == 0, not_begun_s, 0.0)[:, None]
        service_s = np.maximum(service_s, 1e-12)

        below = np.cumsum(_PROBABILITY)
        expected_s = np.cumsum(_PROBABILITY * service_s, axis=1) + (1 - below) * service_s
        return Keys(np.min(expected_s / below, axis=1) + self.aging * view.arrival_s)

    @property
    def setting(self) -> str:
        """Its aging in words, where it has any."""
        return f"gittins: aging {self.aging:.3g}" if self.aging else self.name


@dataclass(frozen=True, slots=True)
class Boost(Policy):
    """First come first served, short ones moved ahead (Yu and Scully 2024: tail-optimal).

    Every arrival is moved back by ``ln(1 / (1 - exp(-gamma s))) / gamma``: much for small ``s``,
    nothing for large. Without predictions ``s`` is the service of the prompt alone, which is
    known (the idea of Li et al. 2026, on what their abstract says).

    Attributes:
        gamma_per_s: the decay rate of the tail to be optimised, about 1 / the usual wait.
        uses_predictions: whether the predicted answer counts.

    """

    gamma_per_s: float = 0.1
    uses_predictions: bool = True
    name: str = "boost"

    def __post_init__(self) -> None:
        check_positive(self.gamma_per_s, "gamma_per_s")

    def keys(self, view: View) -> Keys:
        """Return the boosted arrivals."""
        service_s = view.service_s
        if not self.uses_predictions:
            # Every answer counts as the usual one.
            usual_tokens = 0.0 if view.history is None else float(np.mean(view.history))
            service_s = view.service.of(view.prompt_tokens, usual_tokens)

        service_s = np.maximum(service_s, 1e-9)
        boost_s = -np.log(-np.expm1(-self.gamma_per_s * service_s)) / self.gamma_per_s
        return Keys(view.arrival_s - boost_s)


@dataclass(frozen=True, slots=True)
class Shift(Policy):
    """First come first served, each request moved back as far as its work deserves.

    The key is ``arrival + window * ((work / usual)^power - 1) / power``, with the logarithm at
    power 0 (the Box-Cox family). Work is what a request takes from everyone: the prefill of its
    prompt, which is known, and its predicted share of decode steps; not the seconds that it would
    take alone, of which most are shared with the batch. At power 0 nobody is overtaken by more
    than the window times the logarithm of how much more work it brings, so the tail stays near
    first come first served; below 0 the largest is moved back by at most ``window / -power``; a
    larger power gives more of the tail for the mean. Window and power are found by simulation,
    `headway.sim.study`.

    Attributes:
        window_s: how far a request of e times the usual work is moved.
        usual_work_s: work of a usual request.
        power: shape.

    """

    window_s: float = 5.0
    usual_work_s: float = 0.05
    power: float = 0.0
    name: str = "shift"

    def __post_init__(self) -> None:
        check_positive(self.window_s, "window_s")
        check_positive(self.usual_work_s, "usual_work_s")
        if not -2 <= self.power <= 2:
            raise InputError(f"power must lie from -2 to 2, not at {self.power}")

    def keys(self, view: View) -> Keys:
        """Return the moved arrivals."""
        relative_work = np.maximum(view.service_s, 1e-9) / self.usual_work_s
        if self.power == 0:
            shift = np.log(relative_work)
        else:
            shift = (relative_work**self.power - 1) / self.power
        return Keys(view.arrival_s + self.window_s * shift)

    @property
    def setting(self) -> str:
        """Window and power in words."""
        return f"{self.name}: window {self.window_s:.3g} s, power {self.power:g}"


@dataclass(frozen=True, slots=True)
class WaitOverWork(Policy):
    """The largest wait per ``work ** exponent`` first: the form of `Shift` without a time constant.

    Exponent 0 is first come first served, 1 is the highest response ratio on work. The shuffle is
    as wide as the wait itself, so it fits bursts, where a fixed window is too narrow or too wide.

    Attributes:
        exponent: how much of the tail is given for the mean.
        usual_work_s: work of a usual request, which only scales the keys.

    """

    exponent: float = 0.7
    usual_work_s: float = 0.05
    name: str = "wait-over-work"

    def __post_init__(self) -> None:
        check_positive(self.usual_work_s, "usual_work_s")
        if not 0 <= self.exponent <= 4:
            raise InputError(f"exponent must lie from 0 to 4, not at {self.exponent}")

    def keys(self, view: View) -> Keys:
        """Return minus the wait over the work to the exponent: a line in time."""
        relative_work = np.maximum(view.service_s, 1e-9) / self.usual_work_s
        worth = relative_work**-self.exponent
        return Keys(view.arrival_s * worth, -worth)

    @property
    def setting(self) -> str:
        """The exponent in words."""
        return f"{self.name}: wait over work to the {self.exponent:g}"


def _service_quantiles(view: View, tokens: Floats) -> Floats:
    return np.maximum(view.service.of(view.prompt_tokens[:, None], tokens), 1e-12)
