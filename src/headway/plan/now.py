"""Today's deployment beside the plan: what it costs, what it holds, and what other flags save."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.frontier.search import concurrencies
from headway.plan.candidate import Candidate
from headway.plan.engine_flags import FLAGS, Started, engine_arguments
from headway.plan.fleet import Fleet
from headway.plan.problem import Problem
from headway.plan.search import Offer
from headway.serving.estimate import serve
from headway.units import MONTH_H


@dataclass(frozen=True, slots=True, eq=False)
class Today:
    """What runs now.

    Attributes:
        started: one command line, read.
        replicas: of it.

    """

    started: Started
    replicas: int

    def offer(self, problem: Problem) -> Offer:
        """Return what runs now as an offer: so many replicas, whatever they hold.

        Raises:
            InputError: the model does not fit there.

        """
        deployment, replicas = self.started.deployment, self.replicas * self.started.replicas
        sizes = concurrencies(deployment.limits.max_num_seqs)
        served = serve(deployment, problem.loop(sizes))
        if not np.any(served.shape.starved == 0):
            raise InputError(f"{deployment} does not fit its memory with one request")

        # Under the load that its replicas share, or as near to it as they come.
        shares = problem.demand.share(sizes, served.times.requests_per_s)
        enough = shares >= 1 / replicas
        place = int(enough.argmax()) if enough.any() else int(shares.argmax())
        candidate = Candidate(
            deployment=deployment,
            concurrency=float(sizes[place]),
            least_replicas=1,
            likely_replicas=replicas,
            surely_least=1,
            share=float(shares[place]),
        )
        if replicas > candidate.max_replicas:
            raise InputError(
                f"{replicas} replicas of {candidate.num_accelerators} are more than the "
                f"{deployment.cluster.num_accelerators} {deployment.cluster.name} that there are"
            )

        fleet = Fleet(replace(problem, survive=0), candidate)
        return Offer(
            fleet=fleet,
            even_replicas=replicas,
            sure_replicas=float(replicas),
            probability=float(np.mean(fleet.needed() <= replicas)),
            basis=serve(deployment, problem.loop(candidate.concurrency)).basis,
        )


def other_flags(today: Offer, offers: Sequence[Offer]) -> Offer | None:
    """Return the cheapest of ``offers`` on today's accelerators and engine, ``None`` for none."""
    place = today.candidate.kind[:2]
    return next((offer for offer in offers if offer.candidate.kind[:2] == place), None)


def today_words(today: Offer, flags: Offer | None) -> str:
    """Return what runs now, and what other flags save, as a part of the plan's sentence."""
    words = (
        f"today's {today.replicas * today.candidate.num_accelerators} x "
        f"{today.candidate.deployment.cluster.name} cost ${today.usd_per_hour:,.2f}/h and meet all "
        f"objectives with probability {today.probability:.0%}"
    )
    if flags is None:
        return f"{words}, and no flags make them sure"
    saving = (today.usd_per_hour - flags.usd_per_hour) * MONTH_H
    if saving > 0:
        return f"{words}; changing flags alone saves ${saving:,.0f} a month"
    if saving < 0:
        return f"{words}; being sure on them costs ${-saving:,.0f} a month more"
    is_surer = flags.probability > today.probability
    return f"{words}; {'other flags make them surer' if is_surer else 'no flags save anything'}"


def today_notes(today: Today | None, flags: Offer | None) -> list[str]:
    """Return the command line that changes what runs now, and what of it was not read."""
    lines = []
    if flags is not None and flags.candidate.deployment.engine in FLAGS:
        words = shlex.join(engine_arguments(flags.candidate.deployment))
        lines.append(f"on today's accelerators, {flags.replicas} times: {words}")
    if today is not None and today.started.unread:
        lines.append(f"not read of what runs now: {' '.join(today.started.unread)}")
    return lines
