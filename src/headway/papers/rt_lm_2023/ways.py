"""The ways to serve that RT-LM compares: an order, who shares a batch, who is offloaded."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from headway.schedule.consolidate import Consolidation
from headway.schedule.offload import Offload
from headway.schedule.order import Fcfs, HighestResponseRatio, OrderPolicy
from headway.schedule.uncertain import HighestPriorityPoint, LeastUncertain, UncertaintyAware
from headway.schedule.view import View
from headway.sim.static_batch import BatchTime, Second, serve_batches
from headway.workload.oracle import Trace
from headway.workload.record import Records

# A prediction costs this much, and every request waits for its own (docs/predict.md).
OVERHEAD_S = 0.64e-3
# The paper's ratio of the longest to the shortest predicted answer, as it is remembered.
RATIO = 1.5

IN_ORDER, NEAREST, SIMILAR = "in order", "nearest", "similar only"
ORDERS = ("fifo", "hpf", "luf", "muf", "up", "hrrn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What serves.

    Attributes:
        time: of a batch.
        slow: of a batch on the second engine.
        max_batch: requests of one batch.
        usual_s: of a full batch of usual answers, which sets the time constants of orders.

    """

    time: BatchTime
    slow: BatchTime
    max_batch: int
    usual_s: float


@dataclass(frozen=True, slots=True)
class Way:
    """One way to serve.

    Attributes:
        order: fifo; hpf, the earliest priority point; luf and muf, the shortest and the longest
            predicted answer first; up, the paper's priority; hrrn, the highest response ratio.
        batches: filled "in order", with the first's "nearest" predicted lengths, or with those of
            a "similar" length only, so that places stay empty.
        offload: whether a second, slower engine helps.

    """

    order: str
    batches: str = IN_ORDER
    offload: bool = False

    @property
    def predicts(self) -> bool:
        """Whether anything depends on predicted lengths."""
        return self.order not in ("fifo", "hpf") or self.batches != IN_ORDER or self.offload

    def policy(self, usual_s: float) -> OrderPolicy:
        """Return the order where a usual batch takes ``usual_s``."""
        policies: dict[str, OrderPolicy] = {
            "fifo": Fcfs(),
            "hpf": HighestPriorityPoint(prompt_token_s=usual_s / 100),
            "luf": LeastUncertain(),
            "muf": LeastUncertain(longest_first=True, name="muf"),
            "up": UncertaintyAware(alpha=0.5, slack_s=10 * usual_s, mean_service_s=usual_s),
            "hrrn": HighestResponseRatio(),
        }
        return policies[self.order]

    def rule(self, max_batch: int) -> Consolidation:
        """Return how batches are filled."""
        if self.batches == SIMILAR:
            return Consolidation(max_batch, ratio=RATIO)
        return Consolidation(max_batch, nearest=self.batches == NEAREST)

    def serve(self, trace: Trace, view: View, engines: Engines) -> Records:
        """Return what becomes of ``trace``, of which ``view`` is known."""
        slow = engines.slow
        return serve_batches(
            trace,
            view,
            self.policy(engines.usual_s),
            self.rule(engines.max_batch),
            time=engines.time,
            second=Second(Offload(1e-9, slow.service(1)), slow) if self.offload else None,
            overhead_s=OVERHEAD_S if self.predicts else 0.0,
        )


FIFO = Way("fifo")
WAYS = (
    *(Way(*way) for way in product(ORDERS, (IN_ORDER, NEAREST), (False, True))),
    Way("up", SIMILAR),
    Way("up", SIMILAR, offload=True),
)
