"""Whether a claimed speed and cost can be true, and which bound it breaks.

Three tests, each stricter than the last: what the data sheet allows any software to do, what a
perfect engine does that still runs its layers and their exchanges one after another, and what
the engine of the question is expected to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.errors import DoesNotFitError
from headway.frontier.answer import question_of
from headway.frontier.question import Question
from headway.frontier.search import Points, concurrencies, search
from headway.hardware.cluster import Cluster
from headway.report.column import column
from headway.report.report import Report
from headway.steptime.forward import forward
from headway.steptime.memory import kv_bytes, weight_bytes
from headway.steptime.parallelism import Parallelism
from headway.steptime.roofline import PERFECT
from headway.steptime.work import Array
from headway.units import check_positive
from headway.workload.step import Step

IMPOSSIBLE = "impossible"
BEYOND_ANY_ENGINE = "beyond any known engine"
BEYOND_EXPECTED = "beyond the expected"
PLAUSIBLE = "plausible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer to a claim."""

    verdict: str = column(
        "verdict", f"{IMPOSSIBLE}, {BEYOND_ANY_ENGINE}, {BEYOND_EXPECTED} or {PLAUSIBLE}"
    )
    bound: str | None = column("bound", "what the claim breaks", default=None)
    limit: float | None = column("limit", "what that bound allows", digits=4, default=None)
    limit_unit: str | None = column("unit", "of the limit", default=None)
    sentence: str = column("why", "in a sentence")

    @property
    def possible(self) -> bool:
        """Whether the data sheet allows the claim."""
        return self.verdict != IMPOSSIBLE


def possible_report(
    question: Question,
    cluster: Cluster,
    *,
    tok_per_s: float,
    usd_per_mtok_output: float | None = None,
) -> Report[Verdict]:
    """Return the verdict of `possible` with the claim; without a price, of its speed alone."""
    notes = [f"{cluster.name}: {cluster.price}"] if cluster.is_priced else []
    if usd_per_mtok_output is not None and not cluster.is_priced:
        usd_per_mtok_output = None
        notes.append(
            f"no price is known for {cluster.name}: the cost was not judged; give one with --price"
        )
    verdict = possible(
        question, cluster, tok_per_s=tok_per_s, usd_per_mtok_output=usd_per_mtok_output
    )
    cost = "" if usd_per_mtok_output is None else f" for ${usd_per_mtok_output:g}/Mtok"
    return Report(
        kind="possible",
        title=f"{question.model.name} on {cluster.name} at {tok_per_s:g} tok/s/user{cost}",
        question=question_of(question, [cluster])
        | {"tok_per_s_per_user": tok_per_s, "usd_per_mtok_output": usd_per_mtok_output},
        rows=(verdict,),
        notes=tuple(notes),
        sources=cluster.citations,
    )


def possible(
    question: Question,
    cluster: Cluster,
    *,
    tok_per_s: float,
    usd_per_mtok_output: float | None = None,
) -> Verdict:
    """Judge the claim that a model serves every user at a speed and, if one is given, a cost.

    Args:
        question: the model, its requests and the engine that is expected.
        cluster: on what.
        tok_per_s: claimed for every user.
        usd_per_mtok_output: claimed; without it the speed may cost anything.

    Raises:
        InputError: a claim that is no number above 0.

    """
    check_positive(tok_per_s, "claimed speed in tokens/s")
    if usd_per_mtok_output is not None:
        check_positive(usd_per_mtok_output, "claimed cost in $ per million tokens")

    bounds = _DataSheet.of(question, cluster, tok_per_s)
    impossible = bounds.exchanges_verdict() or bounds.size_verdict()
    if impossible is None and usd_per_mtok_output is not None:
        impossible = bounds.cost_verdict(usd_per_mtok_output)
    if impossible is not None:
        return impossible

    perfect = replace(question, efficiency=PERFECT, memory_utilization=1.0, engine=None)
    expected = question.engine or "the default model"
    for case, verdict, engine in (
        (perfect, BEYOND_ANY_ENGINE, "a perfect engine"),
        (question, BEYOND_EXPECTED, expected),
    ):
        try:
            points = search(case, cluster.by_the_hour)
        except DoesNotFitError as error:
            return Verdict(verdict=verdict, bound="memory capacity", sentence=str(error))

        fast = points.take(points.tok_per_s_per_user >= tok_per_s)
        if not fast.concurrency.size:
            limit = float(points.tok_per_s_per_user.max())
            return Verdict(
                verdict=verdict,
                bound="speed",
                limit=limit,
                limit_unit="tok/s/user",
                sentence=f"{engine} on this hardware reaches {limit:.4g} tok/s/user at best",
            )
        limit = float(fast.usd_per_mtok_output.min())
        if usd_per_mtok_output is not None and limit > usd_per_mtok_output:
            return Verdict(
                verdict=verdict,
                bound="cost",
                limit=limit,
                limit_unit="$/Mtok",
                sentence=f"{engine} on this hardware costs ${limit:.4g}/Mtok at that speed at best",
            )
    return Verdict(verdict=PLAUSIBLE, sentence=f"{expected} expects {cheapest(fast, cluster)}")


def cheapest(points: Points, cluster: Cluster) -> str:
    """Return the cheapest of ``points`` in words: cost, speed, size and requests at once.

    Where ``cluster`` has no price, the cost is in accelerator-hours.
    """
    point = points.take(np.array([np.argmin(points.usd_per_mtok_output)]))
    cost = f"{float(point.usd_per_mtok_output[0]):.4g}"
    return (
        f"{f'${cost}' if cluster.is_priced else f'{cost} accelerator-hours'}/Mtok at "
        f"{float(point.tok_per_s_per_user[0]):.4g} tok/s/user with "
        f"{int(point.num_accelerators[0])} {cluster.name} and {int(point.concurrency[0])} at once"
    )


@dataclass(frozen=True, slots=True, eq=False)
class _DataSheet:
    """What the data sheet allows decode passes of ``sizes`` sequences, in any layout whatever.

    A pass over a batch of b needs flops(b) and must move bytes(b), on n accelerators together.
    A pass in t seconds takes n >= max(flops/C, bytes/B) / t of them, and n >= bytes held / memory.

    Attributes:
        tokens: output tokens that a pass yields to a sequence at most.
        pass_s: the longest pass that keeps the speed.
        arithmetic_s, memory_s: of a pass on one accelerator, shape (sizes,).
        holding: accelerators that hold weights and cache, shape (sizes,).

    """

    question: Question
    cluster: Cluster
    sizes: Array
    tokens: float
    pass_s: float
    arithmetic_s: Array
    memory_s: Array
    holding: Array

    @classmethod
    def of(cls, question: Question, cluster: Cluster, tok_per_s: float) -> _DataSheet:
        """Count the work of a pass on one accelerator, prompts left out."""
        model, accelerator, alone = question.model, cluster.accelerator, Parallelism()
        precision = question.native_on(cluster)
        context = question.loop(1.0).mean_context_tokens
        sizes = concurrencies()
        if question.concurrency is not None:
            sizes = np.array([float(question.concurrency)])

        # Drafting more never yields less.
        speculation, tokens = question.speculation, 1.0
        if speculation is not None:
            tokens = float(speculation.tokens_per_pass(speculation.max_draft_tokens))

        ops = forward(model, precision, alone, Step.decode(sizes, context)).ops
        moved_bytes = sum(op.work.weight_bytes + op.work.kv_bytes for op in ops)
        cache_bytes = kv_bytes(model, precision, alone, sizes, context)
        stored_bytes = np.asarray(weight_bytes(model, precision, alone) + cache_bytes)
        return cls(
            question=question,
            cluster=cluster,
            sizes=sizes,
            tokens=tokens,
            pass_s=tokens / tok_per_s,
            arithmetic_s=np.asarray(
                sum(op.work.flops / accelerator.flops_per_s(op.dtype) for op in ops)
            ),
            memory_s=np.asarray(moved_bytes) / accelerator.memory_bandwidth_bytes_per_s,
            holding=np.maximum(stored_bytes / accelerator.memory_bytes, 1.0),
        )

    @property
    def busy_s(self) -> Array:
        """The longer of arithmetic and memory time, on one accelerator."""
        return np.maximum(self.arithmetic_s, self.memory_s)

    @property
    def needed(self) -> Array:
        """Accelerators that the speed takes, shape (sizes,)."""
        return np.maximum(self.busy_s / self.pass_s, self.holding)

    def exchanges_verdict(self) -> Verdict | None:
        """Judge the speed where one accelerator alone is too slow even for one sequence.

        Its layers are then split, and splitting all of them takes at least one hop of the link for
        every exchange.
        """
        if self.busy_s[0] <= self.pass_s:
            return None

        model = self.question.model
        hop_s = min(link.latency_s for link in self.cluster.links)
        exchange_s = model.num_layers * (1 if model.parallel_blocks else 2) * hop_s
        if exchange_s < self.pass_s:
            return None

        limit = self.tokens / exchange_s
        return Verdict(
            verdict=IMPOSSIBLE,
            bound="link latency",
            limit=limit,
            limit_unit="tok/s/user",
            sentence=f"one {self.cluster.name} needs {self.busy_s[0] * 1e3:.4g} ms for a pass, and "
            f"splitting its {model.num_layers} layers costs {exchange_s * 1e3:.4g} ms in exchanges "
            f"alone: at most {limit:.4g} tok/s/user",
        )

    def size_verdict(self) -> Verdict | None:
        """Judge the speed by the accelerators that can be connected."""
        needed, cluster = float(self.needed[0]), self.cluster
        if needed <= cluster.reach:
            return None
        return Verdict(
            verdict=IMPOSSIBLE,
            bound=self._slower(0) if needed > self.holding[0] else "memory capacity",
            limit=needed,
            limit_unit="accelerators",
            sentence=f"it takes {needed:.4g} {cluster.name}, and no more than {cluster.reach} can "
            "be connected",
        )

    def cost_verdict(self, usd_per_mtok_output: float) -> Verdict | None:
        """Judge the cost by the accelerator-seconds of the cheapest size of a batch."""
        # Where memory asks for more accelerators than the speed does, they may as well run faster.
        busy_s, cluster = self.busy_s, self.cluster
        fastest_s = np.maximum(busy_s / self.holding, busy_s / cluster.reach)
        step_s = np.minimum(self.pass_s, fastest_s)
        used = np.maximum(busy_s / step_s, self.holding)
        usd = used * cluster.usd_per_accelerator_s * 1e6 * step_s / (self.sizes * self.tokens)
        usd = np.where(self.needed <= cluster.reach, usd, np.inf)

        best = int(np.argmin(usd))
        if usd[best] <= usd_per_mtok_output:
            return None
        bound = self._slower(best)
        return Verdict(
            verdict=IMPOSSIBLE,
            bound=bound,
            limit=float(usd[best]),
            limit_unit="$/Mtok",
            sentence=f"{bound} of the data sheet allows no less than ${usd[best]:.4g}/Mtok at "
            f"{self.tokens / self.pass_s:g} tok/s/user, with {used[best]:.4g} {cluster.name} fully "
            f"used by {int(self.sizes[best])} sequences",
        )

    def _slower(self, size: int) -> str:
        arithmetic = self.arithmetic_s[size] > self.memory_s[size]
        return "arithmetic" if arithmetic else "memory bandwidth"
