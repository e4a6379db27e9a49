"""Whether a claimed speed and price can be true, and which bound it breaks.

Three tests, each stricter than the last: what the data sheet allows any software to do, what a
perfect engine does that still runs its layers and their exchanges one after another, and what
the default model expects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.errors import DoesNotFitError
from headway.frontier.question import Question
from headway.frontier.search import Points, concurrencies, search
from headway.hardware.cluster import Cluster
from headway.steptime.forward import forward
from headway.steptime.memory import kv_bytes, weight_bytes
from headway.steptime.parallelism import Parallelism
from headway.steptime.roofline import PERFECT
from headway.units import check_positive
from headway.workload.step import Step


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a claim.

    Attributes:
        possible: ``False`` only where the data sheet forbids it.
        verdict: "impossible", "beyond any known engine", "beyond the expected" or "plausible".
        bound: the bound that is broken, empty for a plausible claim.
        limit: what that bound allows, in the unit that ``limit_unit`` says.
        sentence: the answer for people.
    """

    possible: bool
    verdict: str
    bound: str
    limit: float | None
    limit_unit: str
    sentence: str


def possible(question: Question, cluster: Cluster, tok_per_s: float, usd: float | None) -> Verdict:
    """Judge the claim of ``tok_per_s`` per user at ``usd`` per million output tokens.

    ``usd`` of ``None`` claims a speed at any price. Without speculation a pass yields one token;
    with it, up to the expected tokens per pass. Raises `InputError` for a claim that is no number
    above 0.
    """
    check_positive(tok_per_s, "claimed speed in tokens/s")
    if usd is not None:
        check_positive(usd, "claimed price in $ per million tokens")
    broken = _data_sheet(question, cluster, tok_per_s, usd)
    if broken is not None:
        return broken
    perfect = replace(question, efficiency=PERFECT, memory_utilization=1.0, engine=None)
    for asked, verdict in (
        (perfect, "beyond any known engine"),
        (question, "beyond the expected"),
    ):
        try:
            points = search(asked, cluster)
        except DoesNotFitError as error:
            return Verdict(True, verdict, "memory capacity", None, "", str(error))
        reached = points.tok_per_s_per_user >= tok_per_s
        if not reached.any():
            best = float(points.tok_per_s_per_user.max())
            return _over(verdict, "speed", best, "tok/s/user", f"reaches {best:.4g} tok/s/user")
        if usd is not None and float(points.usd_per_mtok_output[reached].min()) > usd:
            best = float(points.usd_per_mtok_output[reached].min())
            return _over(verdict, "cost", best, "$/Mtok", f"costs ${best:.4g}/Mtok at that speed")
    chosen = _cheapest(points, tok_per_s)
    layout = points.take(np.array([chosen]))
    return Verdict(
        True,
        "plausible",
        "",
        None,
        "",
        f"the default model expects ${float(layout.usd_per_mtok_output[0]):.4g}/Mtok at "
        f"{float(layout.tok_per_s_per_user[0]):.4g} tok/s/user with "
        f"{int(layout.num_accelerators[0])} {cluster.name} and batch {int(layout.concurrency[0])}",
    )


def _over(verdict: str, bound: str, limit: float, unit: str, what: str) -> Verdict:
    engine = "a perfect engine" if verdict == "beyond any known engine" else "the default model"
    return Verdict(True, verdict, bound, limit, unit, f"{engine} on this hardware {what} at best")


def _cheapest(points: Points, tok_per_s: float) -> int:
    return int(
        np.argmin(
            np.where(points.tok_per_s_per_user >= tok_per_s, points.usd_per_mtok_output, np.inf)
        )
    )


def _data_sheet(
    question: Question, cluster: Cluster, tok_per_s: float, usd: float | None
) -> Verdict | None:
    """The first bound of the data sheet that the claim breaks, for any layout whatever.

    A pass over a batch of b needs flops(b) and must move bytes(b), on n accelerators together.
    A pass in t seconds takes n >= max(flops/C, bytes/B) / t of them, and n >= bytes held / memory.
    Where one accelerator alone is too slow even for one sequence, layers are split, and splitting
    all of them takes at least one hop of the link for every exchange.
    """
    model, accelerator = question.model, cluster.accelerator
    precision = question.native_on(cluster)
    context = question.loop(1.0).mean_context_tokens
    alone = Parallelism()
    sizes = (
        concurrencies() if question.concurrency is None else np.array([float(question.concurrency)])
    )
    speculation = question.speculation
    tokens = 1.0
    if speculation is not None:  # drafting more never yields less
        tokens = float(speculation.tokens_per_pass(speculation.max_draft_tokens))
    pass_s = tokens / tok_per_s
    work = forward(model, precision, alone, Step.decode(sizes, context))
    arithmetic_s = sum(op.work.flops / accelerator.flops_per_s(op.dtype) for op in work.ops)
    moved_bytes = sum(op.work.weight_bytes + op.work.kv_bytes for op in work.ops)
    memory_s = np.asarray(moved_bytes) / accelerator.memory_bandwidth_bytes_per_s
    busy_s = np.maximum(arithmetic_s, memory_s)

    if busy_s[0] > pass_s:
        per_layer = 1 if model.parallel_blocks else 2
        exchange_s = model.num_layers * per_layer * min(link.latency_s for link in cluster.links)
        if exchange_s >= pass_s:
            fastest = tokens / exchange_s
            return Verdict(
                False,
                "impossible",
                "link latency",
                fastest,
                "tok/s/user",
                f"one {cluster.name} needs {busy_s[0] * 1e3:.4g} ms for a pass, and splitting its "
                f"{model.num_layers} layers costs {exchange_s * 1e3:.4g} ms in exchanges alone: at "
                f"most {fastest:.4g} tok/s/user",
            )
    cache = kv_bytes(model, precision, alone, sizes, context)
    held = np.asarray(weight_bytes(model, precision, alone) + cache)
    at_least = np.maximum(held / accelerator.memory_bytes, 1.0)
    needed = np.maximum(busy_s / pass_s, at_least)
    if needed[0] > cluster.reach:
        bound = _bound(arithmetic_s, memory_s, 0) if needed[0] > at_least[0] else "memory capacity"
        return Verdict(
            False,
            "impossible",
            bound,
            float(needed[0]),
            "accelerators",
            f"it takes {needed[0]:.4g} {cluster.name}, and no more than {cluster.reach} can be "
            "connected",
        )
    if usd is None:
        return None
    # Where memory asks for more accelerators than the speed does, they may as well run faster.
    fastest_s = np.minimum(pass_s, np.maximum(busy_s / at_least, busy_s / cluster.reach))
    used = np.maximum(busy_s / fastest_s, at_least)
    cost = used * cluster.usd_per_accelerator_s * 1e6 * fastest_s / (sizes * tokens)
    cost = np.where(needed <= cluster.reach, cost, np.inf)
    best = int(np.argmin(cost))
    if cost[best] <= usd:
        return None
    bound = _bound(arithmetic_s, memory_s, best)
    return Verdict(
        False,
        "impossible",
        bound,
        float(cost[best]),
        "$/Mtok",
        f"{bound} of the data sheet allows no less than ${cost[best]:.4g}/Mtok at "
        f"{tok_per_s:g} tok/s/user, with {used[best]:.4g} {cluster.name} fully used by "
        f"{int(sizes[best])} sequences",
    )


def _bound(arithmetic_s: object, memory_s: object, at: int) -> str:
    slower = np.asarray(arithmetic_s)[at] > np.asarray(memory_s)[at]
    return "arithmetic" if slower else "memory bandwidth"
