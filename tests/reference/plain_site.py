"""Several plain replicas: routes, caches in transfer, failures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.reference.plain_replica import FOREVER, Job, Replica

from headway.schedule.autoscale import Autoscaler


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


@dataclass(slots=True)
class PlainScaler:
    """Which replicas of a site are on, looked at once per ``every`` or, with 0, per arrival."""

    rule: Autoscaler
    replicas: Sequence[Replica]
    shares: Sequence[int]  # of a target, in billionths, by number of the request
    look_at: int = FOREVER
    looks: list[tuple[int, int]] = field(default_factory=list)  # when how many were wanted
    ordered: dict[int, int] = field(default_factory=dict)  # replica: when it comes up
    leaving: dict[int, int] = field(default_factory=dict)  # replica: since when
    on_since: dict[int, int] = field(default_factory=dict)
    paid: int = 0

    def begin(self, now: int) -> None:
        """The fewest replicas are on."""
        for number, replica in enumerate(self.replicas):
            replica.up = number < self.rule.min_replicas
            if replica.up:
                self.on_since[number] = now
        self.look_at = now if self.rule.every_s > 0 else FOREVER

    def next(self) -> int:
        """When there is something to do."""
        return min([self.look_at, *self.ordered.values()])

    def act(self, now: int) -> None:
        """Bring up what was ordered, then look."""
        for number in [k for k, ready in self.ordered.items() if ready <= now]:
            del self.ordered[number]
            self.replicas[number].up = True
        if self.look_at <= now:
            self.look(now)
            self.look_at += round(self.rule.every_s * 1e9)

    def look(self, now: int, arriving: Job | None = None) -> None:
        """Order replicas or let some go."""
        load = self.shares[arriving.number] if arriving is not None else 0
        for number, replica in enumerate(self.replicas):
            jobs = [*replica.waiting, *replica.running]
            counted = replica.waiting if self.rule.signal == "waiting" else jobs
            load += sum(self.shares[job.number] for job in counted)
            if number in self.leaving and not jobs:
                self.off(number, max(self.leaving.pop(number), replica.end))
        self.looks.append((now, self.rule.wanted(math.ceil(load / 10**9))))
        wanted = self.looks[-1][1]
        wait = round(self.rule.wait_s * 1e9)
        most = max([wanted, *(count for at, count in self.looks if at > now - wait)])

        numbers = range(len(self.replicas))
        on = sum(self.replicas[k].up or k in self.ordered for k in numbers)
        for k in numbers:
            if on < wanted and k not in self.on_since:
                self.on_since[k] = now
                self.ordered[k] = now + round(self.rule.delay_s * 1e9)
                on += 1
        for k in [k for k, ready in self.ordered.items() if ready <= now]:
            del self.ordered[k]
            self.replicas[k].up = True
        for k in sorted(self.ordered, reverse=True)[: max(on - most, 0)]:
            del self.ordered[k]
            self.off(k, now)
            on -= 1
        for k in [k for k in numbers if self.replicas[k].up][::-1][: max(on - most, 0)]:
            self.replicas[k].up = False
            self.leaving[k] = now

    def off(self, number: int, now: int) -> None:
        """A replica costs no more."""
        self.paid += now - self.on_since.pop(number)

    def close(self, end: int) -> int:
        """What all replicas have cost at the end of the run."""
        for k in list(self.on_since):
            self.off(k, max(self.leaving[k], self.replicas[k].end) if k in self.leaving else end)
        return self.paid


def reference(
    jobs: Sequence[Job],
    site: PlainSite,
    outages: Outages = (),
    scaler: PlainScaler | None = None,
) -> None:
    """Serve ``jobs``, in the order of arrival; the jobs hold the result.

    Outages are (time, replica, whether it fails or comes back).
    """
    if scaler is not None and jobs:
        scaler.begin(jobs[0].arrival)
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
        if scaler is not None and scaler.next() <= now:
            scaler.act(scaler.next())
            continue
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
            if scaler is not None and scaler.rule.every_s == 0:
                scaler.look(now, sent[0])
        else:
            soonest.apply()
            hand_over(soonest.settle(now))
            soonest.plan(now)
        for job in sent:
            if (chosen := site.route(job)) is None:
                held.append(job)
            else:
                chosen.join(job, now)
