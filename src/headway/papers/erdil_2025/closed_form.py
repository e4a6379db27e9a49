"""The fastest cluster in closed form: reading the weights against reducing over them.

Equations 12 to 19 of the paper: at small batches and without network bandwidth. One token takes
t(N) = r / N + 2 u (sqrt(N) - 1), with r the time one accelerator needs to read all weights and u
one hop of every reduction. Its minimum lies where u / sqrt(N) = r / N^2. It follows that the
latency grows with the square root of the model: u with its depth, N^(1/4), so that
u^(2/3) r^(1/3) goes as N^(1/6 + 1/3) (equation 19).
"""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import InputError
from headway.papers.erdil_2025.models import PublishedModel

__all__ = ["ClosedForm", "critical_batch"]


def critical_batch(
    weight_bytes: float, flops_per_s: float, memory_bandwidth_bytes_per_s: float
) -> float:
    """Return the batch at which arithmetic takes as long as reading the weights (equation 2)."""
    return weight_bytes * flops_per_s / (2 * memory_bandwidth_bytes_per_s)


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """The two times that decide: reading all weights once, and one hop of every reduction."""

    read_s: float
    hops_s: float

    def __post_init__(self) -> None:
        """Refuse times that are not positive."""
        if not (self.read_s > 0 and self.hops_s > 0):
            raise InputError(f"both times must be positive, not {self.read_s} and {self.hops_s}")

    @classmethod
    def of(
        cls, model: PublishedModel, memory_bandwidth_bytes_per_s: float, hop_s: float = 1e-6
    ) -> ClosedForm:
        """Return the form of ``model``, its weights read at the given rate (equation 12)."""
        return cls(
            read_s=model.weights_total_bytes / memory_bandwidth_bytes_per_s,
            hops_s=model.num_layers * model.reductions_per_layer * hop_s,
        )

    @property
    def num_accelerators(self) -> float:
        """The fastest cluster, a real number of at least 1 (equation 13)."""
        return float(max(self.read_s / self.hops_s, 1.0) ** (2 / 3))

    @property
    def latency_s(self) -> float:
        """The shortest time of a token (equation 14)."""
        if self.num_accelerators <= 1:
            return self.read_s
        return self.approximate_latency_s - 2 * self.hops_s

    @property
    def approximate_latency_s(self) -> float:
        """The shortest time where the cluster is large (equation 18)."""
        return float(3 * self.hops_s ** (2 / 3) * self.read_s ** (1 / 3))

    def accelerator_s_per_token(self, batch: float) -> float:
        """Return the accelerator-seconds of a token at the shortest time (equations 15 to 17).

        At the critical batch this comes to about three times the arithmetic alone, 3 (2 N / C).
        """
        return self.num_accelerators * self.latency_s / batch
