"""What a decision costs per request with many waiting: prediction, keys, queue, and learning.

First the order alone: requests are pushed with the keys that a policy gives them and taken out one
by one while others come, as in a gateway that is behind. Then all of it, with the predictor that
ships and the prompts of `predict_elicited.jsonl`, in the company that the gateway itself gathers
(`headway.gateway.scheduler.dispatcher`), and what is learned from each answer beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import process_time

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from tools.length_data import elicited

from headway.gateway.config import Fairness
from headway.gateway.scheduler.dispatcher import COMPANY_IN_CROWD
from headway.gateway.scheduler.foresight import give_keys, predict
from headway.gateway.scheduler.queue import PoolQueue
from headway.gateway.scheduler.queued import QueuedRequest
from headway.gateway.scheduler.ticket import Ticket
from headway.predict.prediction import LEVELS
from headway.predict.storage import default_predictor
from headway.schedule.order import Fcfs, HighestResponseRatio, OrderPolicy, ShortestJob
from headway.schedule.policies import find_policy
from headway.schedule.view import Floats, ServiceTime, View
from headway.workload.request import Request

WAITING = 100_000
TURNS = 20_000
BATCH = 32
BAR_US = 100.0
ROUNDS, TURNS_WHOLE = 5, 1024


def keyed(policy: OrderPolicy, arrivals_s: Floats, random: np.random.Generator) -> list[Ticket]:
    """Tickets in batches, as they come: one view per batch."""
    tickets = []
    for first in range(0, len(arrivals_s), BATCH):
        part = arrivals_s[first : first + BATCH]
        n = len(part)
        rows = np.sort(random.lognormal(5, 1, (n, len(LEVELS))), axis=1)
        view = View(part, np.full(n, 200.0), rows, np.full(n, np.inf), np.zeros(n),
                    np.zeros(n, dtype=np.int64))  # fmt: skip
        keys = policy.keys(view)
        slopes = np.zeros(n) if keys.slope is None else keys.slope
        tickets += [
            Ticket(a, k, s)
            for a, k, s in zip(part.tolist(), keys.key.tolist(), slopes.tolist(), strict=True)
        ]
    return tickets


def whole() -> dict[str, float]:
    """Microseconds per request of everything between arrival and start, with 100,000 waiting."""
    predictor, policy, service = default_predictor(), find_policy("headway"), ServiceTime()
    prompts = [observation.prompt for observation in elicited()]
    count = ROUNDS * TURNS_WHOLE
    waiters = [
        QueuedRequest(Request(str(i), 0.001 * i, prompts[i % len(prompts)], 100, None, "m"))
        for i in range(count)
    ]
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=80_000))
    for i in range(WAITING):
        queue.push(Ticket(0.0, float(i), work_s=1.0), 0.0)
    found: dict[str, list[float]] = {"decide": [], "learn": []}
    for first in range(0, count, TURNS_WHOLE):
        part = waiters[first : first + TURNS_WHOLE]
        began_s = process_time()
        for i in range(0, len(part), COMPANY_IN_CROWD):
            company = part[i : i + COMPANY_IN_CROWD]
            quantiles = predict(company, predictor)
            give_keys(company, quantiles, policy, service)
            for ticket in company:
                queue.push(ticket, ticket.arrival_s)
                if queue.pop(ticket.arrival_s) is None:
                    raise SystemExit("the queue lost a request")
        found["decide"].append(1e6 * (process_time() - began_s) / len(part))
        began_s = process_time()
        for ticket in part:
            predictor.observe(ticket.request, 200)
        found["learn"].append(1e6 * (process_time() - began_s) / len(part))
    return {f"us_per_request_to_{name}": min(values) for name, values in found.items()}


def main() -> None:
    result: dict[str, float] = {}
    policies: list[OrderPolicy] = [Fcfs(), ShortestJob(), HighestResponseRatio()]
    policies.append(find_policy("headway"))
    for policy in policies:
        random = np.random.default_rng(0)
        times = np.cumsum(random.exponential(0.001, WAITING + TURNS))
        began_s = process_time()
        tickets = keyed(policy, times, random)
        keys_us = 1e6 * (process_time() - began_s) / len(tickets)
        queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=30.0))
        for ticket in tickets[:WAITING]:
            queue.push(ticket, ticket.arrival_s)
        queue.pop(float(times[WAITING]))  # the first one sorts what has gathered
        began_s = process_time()
        for ticket in tickets[WAITING:]:
            queue.push(ticket, ticket.arrival_s)
            if queue.pop(ticket.arrival_s) is None:
                raise SystemExit("the queue lost a request")
        queue_us = 1e6 * (process_time() - began_s) / TURNS
        total = keys_us + queue_us
        result[f"us_per_request_{policy.name}"] = total
        print(f"{policy.name:10s} {WAITING:,} waiting: {total:6.1f} us per request "
              f"(bar {BAR_US:g}), "
              f"of it keys {keys_us:.1f}")  # fmt: skip
    result |= whole()
    print(
        f"all of it, policy headway: {result['us_per_request_to_decide']:.1f} us per request "
        f"(bar {BAR_US:g}); learning from its answer {result['us_per_request_to_learn']:.1f}"
    )
    result["worst_over_bar"] = max(result.values()) / BAR_US
    print(json.dumps({"benchmark": "gateway_queue", **result}))


if __name__ == "__main__":
    main()
