"""Several plain replicas: routes, caches in transfer, failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.reference.plain_replica import FOREVER, Job, Replica


@dataclass(slots=True)
class PlainSite:
    """Several replicas, and what connects them.

    Attributes:
        replicas: where prefill is apart, those that hand over come first.
        score: of a replica for a job, the lowest wins; ``None`` for round robin.
        transfer_ns: of a cache of so many tokens, where prefill is apart.

    """

    replicas: Sequence[Replica]
    score: Callable[[Replica, Job], float] | None = None
    transfer_ns: Callable[[int], int] | None = None
    turn: int = 0

    def route(self, job: Job) -> Replica | None:
        """The replica for ``job``, ``None`` while all that may serve it are down."""
        count = len(self.replicas)
        split = self.transfer_ns is not None
        places = [
            r
            for r in ((self.turn + k) % count for k in range(count))
            if self.replicas[r].up and self.replicas[r].hands_over == (split and not job.carried)
        ]
        if not places:
            return None
        best = places[0]
        if self.score is not None:
            score = self.score
            best = min(places, key=lambda r: score(self.replicas[r], job))
        self.turn = (best + 1) % count
        return self.replicas[best]


Outages = Sequence[tuple[int, int, bool]]


def reference(jobs: Sequence[Job], site: PlainSite, outages: Outages = ()) -> None:
    """Serve ``jobs``, in the order of arrival; the jobs hold the result.

    Outages are (time, replica, whether it fails or comes back).
    """
    later, moving, held = list(jobs), [], []  # type: list[Job], list[tuple[int, int, Job]], list[Job]
    breaks = sorted(outages)

    def hand_over(those: Sequence[Job]) -> None:
        for job in those:
            job.todo = job.prompt + len(job.tokens) - 1
            job.carried, job.decodes, job.cache = job.todo, False, 0
            assert site.transfer_ns is not None  # only then does a replica hand over
            moving.append((job.tokens[-1] + site.transfer_ns(job.prompt), job.number, job))

    while True:
        soonest = min(site.replicas, key=lambda replica: replica.clock)
        outage = breaks[0][0] if breaks else FOREVER
        ready = min(moving)[0] if moving else FOREVER
        arrival = later[0].arrival if later else FOREVER
        now = min(outage, ready, arrival, soonest.clock)
        if now == FOREVER:
            return
        sent: list[Job] = []
        if now == outage:
            at, r, fails = breaks.pop(0)
            replica = site.replicas[r]
            if fails and (until := replica.step_end(now)) > now:
                breaks = [
                    (max(t, until) if k == r else t, k, f) for t, k, f in [(at, r, fails), *breaks]
                ]
                breaks.sort(key=lambda b: b[0])
                continue
            sent, held = held, []
            if fails and replica.up:
                elsewhere, lost = replica.fail(now)
                hand_over(elsewhere)
                sent = sent + lost
            replica.up = not fails
        elif now == ready:
            moving.remove(first := min(moving))
            sent = [first[2]]
        elif now == arrival:
            sent = [later.pop(0)]
        else:
            soonest.apply()
            hand_over(soonest.settle(now))
            soonest.plan(now)
        for job in sent:
            if (chosen := site.route(job)) is None:
                held.append(job)
            else:
                chosen.join(job, now)
