"""A load of requests, as people ask for it: so many at once, users who think, or a rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.money.tariff import Tariff
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import ServingEstimate, serve
from headway.steptime.deployment import Deployment
from headway.steptime.work import Array

MAX_CONCURRENCY = 2.0**20
BISECTIONS = 60


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Load:
    """Requests of one kind; arrays broadcast against each other and the deployment's layout.

    One of ``concurrency``, ``users`` and ``rate`` says how many there are.

    Attributes:
        prompt, output: tokens of every request, in the mean.
        concurrency: requests in the system at any time, queued or running.
        users: people who send their next request ``think_s`` after an answer ended.
        think_s: seconds between an answer and the next request of a user.
        rate: requests per second, whatever becomes of them.
        cached: fraction of a prompt found in the prefix cache.
        alike: whether all requests have exactly these lengths, as many benchmarks do: those that
            start together end together, and prompts come in bunches.
        duty_cycle: fraction of the paid hours in which there is this load.
        usd_per_kwh: price of electricity on top of the accelerator-hour, 0 where it includes it.
        pue: power of the building over power of the accelerators.

    """

    prompt: npt.ArrayLike
    output: npt.ArrayLike
    concurrency: npt.ArrayLike | None = None
    users: npt.ArrayLike | None = None
    think_s: float = 0.0
    rate: npt.ArrayLike | None = None
    cached: npt.ArrayLike = 0.0
    alike: bool = False
    duty_cycle: float = 1.0
    usd_per_kwh: float = 0.0
    pue: float = 1.0

    def __post_init__(self) -> None:
        kinds = (self.concurrency, self.users, self.rate)
        if sum(kind is not None for kind in kinds) > 1:
            raise InputError(
                "give one of concurrency, users and rate: each says how many there are"
            )
        if self.think_s and self.users is None:
            raise InputError("think time belongs to users; give their number, too")
        if not 0 <= self.think_s <= 1e6:
            raise InputError(f"think time must lie between 0 and 1e6 s, not {self.think_s:g}")
        self.at(1.0)  # checks lengths and fractions at birth

    def at(self, concurrency: npt.ArrayLike) -> ClosedLoop:
        """Return the same requests, ``concurrency`` of them in the system."""
        return ClosedLoop(self.prompt, self.output, concurrency, self.cached, alike=self.alike)

    def tariff_on(self, deployment: Deployment) -> Tariff | None:
        """Return what an accelerator of ``deployment`` costs; ``None`` where no price is known."""
        cluster = deployment.cluster
        if cluster.usd_per_accelerator_hour is None:
            return None
        return Tariff(
            cluster.usd_per_accelerator_hour,
            duty_cycle=self.duty_cycle,
            usd_per_kwh=self.usd_per_kwh,
            pue=self.pue,
        )

    def served_by(self, deployment: Deployment) -> ServingEstimate:
        """Return what this load takes on ``deployment``.

        Raises:
            DoesNotFitError: not one sequence fits anywhere.
            InputError: prompt and answer exceed the model's context, or the rate exceeds what the
                deployment can serve.

        """
        model, longest = deployment.model, np.max(np.asarray(self.prompt) + np.asarray(self.output))
        if model.max_context_tokens is not None and longest > model.max_context_tokens:
            raise InputError(
                f"{model.name} takes at most {model.max_context_tokens} tokens, not {longest:g}"
            )
        return serve(deployment, self.at(self._concurrency(deployment)), self.tariff_on(deployment))

    def _concurrency(self, deployment: Deployment) -> Array:
        """Requests in the system: as said, or as Little's law makes them."""
        if self.concurrency is not None:
            return np.asarray(self.concurrency, dtype=np.float64)
        if self.users is not None and not self.think_s:
            return np.asarray(self.users, dtype=np.float64)
        if self.users is None and self.rate is None:
            return np.ones(())

        def surplus(concurrency: Array) -> Array:
            """Requests in the system beyond those that the load makes; it rises with them."""
            served = serve(deployment, self.at(concurrency))
            rate = served.times.requests_per_s
            if self.users is None:
                return np.asarray(rate - np.asarray(self.rate, dtype=np.float64))
            thinking = rate * self.think_s
            return np.asarray(concurrency + thinking - np.asarray(self.users, dtype=np.float64))

        highest = surplus(np.asarray(MAX_CONCURRENCY))
        if self.rate is not None and np.any(highest < 0):
            most = float(np.min(highest + np.asarray(self.rate, dtype=np.float64)))
            raise InputError(
                f"{deployment} serves at most {most:.3g} requests/s of this kind, not {self.rate}; "
                "add replicas or lower the rate"
            )
        low, high = np.ones_like(highest), np.full_like(highest, MAX_CONCURRENCY)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            below = surplus(middle) <= 0
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return low
