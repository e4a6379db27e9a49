"""What could be bought: one replica, and what its bound says of it."""

from __future__ import annotations

from dataclasses import dataclass

from headway.plan.names import deployment_layout
from headway.steptime.deployment import Deployment
from headway.units import HOUR_S

Kind = tuple[str, str | None, str]  # accelerator, engine and formats


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One replica that could be bought, and what the bound says of it.

    Attributes:
        deployment: model, cluster, layout, formats, engine and its limits.
        cell: engines that only prefill, and engines that then decode, all of them alike; no
            engine of the first kind where one engine does both.
        concurrency: requests at once in the steady state, where ``likely_replicas`` share the
            demand.
        least_replicas: no fewer meet the objectives.
        likely_replicas: as many as the steady state needs; where a search starts.
        surely_least: no fewer meet them with the asked probability; infinite where none do.
        share: of the demand that one replica carries in the steady state.

    """

    deployment: Deployment
    concurrency: float
    least_replicas: int
    likely_replicas: int
    surely_least: float
    share: float
    cell: tuple[int, int] = (0, 1)

    @property
    def num_accelerators(self) -> int:
        """Of one replica, which is a cell of engines where prefill and decode are apart."""
        return int(self.deployment.num_accelerators) * sum(self.cell)

    @property
    def layout(self) -> str:
        """Its layout: ``tp8+mtp2``, or ``1xtp4 -> 2xtp4`` for a cell."""
        name = deployment_layout(self.deployment)
        prefill, decode = self.cell
        return f"{prefill}x{name} -> {decode}x{name}" if prefill else name

    @property
    def is_priced(self) -> bool:
        """Whether a price is known."""
        return self.deployment.cluster.is_priced

    @property
    def usd_per_hour(self) -> float:
        """Of one replica; accelerator-hours where no price is known."""
        cluster = self.deployment.cluster.by_the_hour
        return cluster.usd_per_accelerator_s * HOUR_S * self.num_accelerators

    @property
    def least_usd_per_hour(self) -> float:
        """What the demand costs at least with the asked probability."""
        return self.surely_least * self.usd_per_hour

    @property
    def likely_usd_per_hour(self) -> float:
        """What the steady state costs."""
        return self.likely_replicas * self.usd_per_hour

    @property
    def max_replicas(self) -> int:
        """As many as there are accelerators for."""
        return self.deployment.cluster.num_accelerators // self.num_accelerators

    @property
    def kind(self) -> Kind:
        """Accelerator, engine and formats: layouts of one kind compete for one row."""
        deployment = self.deployment
        return deployment.cluster.name, deployment.engine, str(deployment.precision)


@dataclass(frozen=True, slots=True)
class Reach:
    """The best that any layout of one kind does for each quantity, whatever the rest.

    Attributes:
        accelerator, engine: which kind.
        best_s: seconds by quantity; empty where the model does not fit.
        reason: why it is out, where it is.

    """

    accelerator: str
    engine: str | None
    best_s: dict[str, float]
    reason: str
