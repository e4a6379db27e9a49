"""The published frontier: speed against cost on the paper's grid of clusters and batches.

400 cluster sizes, from the smallest that holds the weights to 2^18, times 400 batches, both
logarithmically spaced and not whole; 1000 latency thresholds, spaced likewise over two decades;
for each the cheapest point that meets it (published program; figures 3 to 10 of the paper).

The result is that of evaluating every point, but few are evaluated. At a given cluster and batch
cost is proportional to time, so that a point moves on a ray as its time grows, and from some time
on it lies behind the frontier of the points evaluated so far. That time is its budget. Coarse grids
come first, to give finer ones tight budgets; a point whose lower bound exceeds its budget is
dropped, and a variant that exceeds it is not finished.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headway.errors import InputError
from headway.frontier.pareto import pareto_front, preferred
from headway.papers.erdil_2025.accelerators import PublishedAccelerator
from headway.papers.erdil_2025.forward import Choices, explain, fastest
from headway.papers.erdil_2025.models import PublishedModel
from headway.papers.erdil_2025.passes import ForwardPass
from headway.papers.erdil_2025.speculative import Speculation

Floats = NDArray[np.float64]
Codes = NDArray[np.int16]
Points = NDArray[np.intp]

_GRID_SIZE = 400
_LOG2_MAX = 18
_NUM_THRESHOLDS = 1000
_THRESHOLD_RANGE = 100.0
_STRIDES = (16, 4, 1)
_SLACK = 1 - 1e-9

# The deepest pipeline has one sequence per stage. The published run took its depth as a power of
# two of a logarithm, and in these columns of its grid the result exceeded the batch by one unit
# in the last place, so that its own check refused it. By experts per active expert, which set
# the spacing of the batches.
_BARRED_COLUMNS = {1: (12, 21, 34, 44), 4: (10, 31), 8: (18,), 28: (9, 28)}


@dataclass(frozen=True, slots=True, eq=False)
class PublishedFrontier:
    """The cheapest points by falling speed, as arrays of one length.

    ``mfu`` is against the dense peak, not against what kernels reach. ``draft_tokens`` is 1
    where no draft is used. The variant is that of the model's own pass.
    """

    tok_per_s: Floats
    usd_per_mtok_output: Floats
    num_accelerators: Floats
    batch: Floats
    mfu: Floats
    pipeline_depth: Floats
    attention_scale_down: Floats
    two_dimensional: NDArray[np.bool_]
    draft_tokens: Codes

    def preferred(self) -> int:
        """Return the index of the largest speed^3 / price (the paper's preferred point)."""
        return preferred(self.tok_per_s, self.usd_per_mtok_output)

    def usd_per_mtok_output_at(self, tok_per_s: float) -> float:
        """Return the least cost of at least this speed, infinite where none is as fast."""
        fast = self.tok_per_s >= tok_per_s
        return float(np.min(self.usd_per_mtok_output[fast], initial=np.inf))


def grid(
    model: PublishedModel, accelerator: PublishedAccelerator, size: int = _GRID_SIZE
) -> tuple[Floats, Floats]:
    """Return the published cluster sizes and batches, ``size`` of each."""
    if size < 2:
        raise InputError(f"a grid needs at least 2 points a side, not {size}")

    log2_min = np.log2(model.weights_total_bytes / accelerator.memory_bytes)
    if not log2_min < _LOG2_MAX:
        raise InputError(f"{model.name} does not fit on 2^{_LOG2_MAX} of {accelerator.name}")
    return (
        np.logspace(log2_min, _LOG2_MAX, size, base=2),
        np.logspace(0, _LOG2_MAX + np.log2(model.sparsity), size, base=2),
    )


def select(
    time_s: Floats,
    usd_per_mtok_output: Floats,
    allowed: NDArray[np.bool_] | None = None,
    num_thresholds: int | None = _NUM_THRESHOLDS,
) -> Points:
    """Return the cheapest of the one-dimensional points within each latency threshold.

    Thresholds run from the shortest time to a hundred times it; ``None`` sets one at every point,
    which gives the whole Pareto frontier. ``allowed`` leaves points out of the choice but not out
    of the thresholds. Indices come by rising time, without duplicates.
    """
    usable = np.isfinite(time_s) if allowed is None else np.isfinite(time_s) & allowed
    front = np.flatnonzero(usable)
    front = front[pareto_front(-time_s[front], usd_per_mtok_output[front])]
    if num_thresholds is None or not front.size:
        return front

    # The last point within each threshold.
    steps = np.linspace(0, 1, num_thresholds)
    thresholds = np.min(time_s) * _THRESHOLD_RANGE**steps
    last = np.searchsorted(time_s[front], thresholds, side="right") - 1
    return front[np.unique(last[last >= 0])]


def frontier(
    model: PublishedModel,
    accelerator: PublishedAccelerator,
    *,
    context_tokens: float = 0,
    choices: Choices | None = None,
    draft: PublishedModel | None = None,
    acceptance: float = 0.8,
    demand_tok_per_s: float = np.inf,
    grid_size: int = _GRID_SIZE,
    num_thresholds: int | None = _NUM_THRESHOLDS,
) -> PublishedFrontier:
    """Return the published frontier of ``model`` on ``accelerator``.

    ``draft`` decodes speculatively at ``acceptance`` per drafted token; ``demand_tok_per_s`` bounds
    the tokens per second of one engine; ``num_thresholds`` is that of `select`.

    Raises:
        InputError: no point of the grid fits, or none sells so little as is demanded.

    """
    if not demand_tok_per_s > 0:
        raise InputError(f"the demand must be above 0 tokens/s, not {demand_tok_per_s}")

    plain = ForwardPass(model, accelerator, context_tokens)
    speculation = None if draft is None else Speculation(plain, draft, acceptance)
    search = _Search.over_grid(plain, speculation, choices or Choices(), grid_size)

    for fresh in _coarse_to_fine(grid_size):
        front = search.front(demand_tok_per_s, None)
        budget = _budget_s(search.time_s[front], search.slope[front], search.slope[fresh])
        if num_thresholds is not None:
            longest = np.min(search.time_s) * _THRESHOLD_RANGE
            budget = np.minimum(budget, longest / _SLACK)
        search.evaluate(fresh, budget)

    front = search.front(demand_tok_per_s, num_thresholds)
    if not front.size:
        raise InputError(
            f"no point of the grid serves {model.name} at {context_tokens:g} tokens of context "
            f"within {demand_tok_per_s:g} tokens/s; lower the context or raise the demand"
        )
    return search.describe(front)


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """All points of a grid with the times evaluated so far; other times are infinite.

    ``slope`` is dollars per million tokens for every second that a token takes.
    """

    plain: ForwardPass
    speculation: Speculation | None
    choices: Choices
    num_accelerators: Floats
    batch: Floats
    slope: Floats
    barred: NDArray[np.bool_]
    time_s: Floats
    draft_tokens: Codes
    code: Codes

    @classmethod
    def over_grid(
        cls, plain: ForwardPass, speculation: Speculation | None, choices: Choices, size: int
    ) -> _Search:
        """Lay the grid out as one-dimensional arrays, batches fastest."""
        sizes, batches = grid(plain.model, plain.accelerator, size)
        n, b = np.repeat(sizes, size), np.tile(batches, size)

        published = size == _GRID_SIZE
        columns = _BARRED_COLUMNS.get(plain.model.sparsity, ()) if published else ()
        usd_per_s = plain.accelerator.usd_per_hour / 3600
        return cls(
            plain=plain,
            speculation=speculation,
            choices=choices,
            num_accelerators=n,
            batch=b,
            slope=n / b * (1e6 * usd_per_s),
            barred=np.tile(np.isin(np.arange(size), columns), size),
            time_s=np.full(n.size, np.inf),
            draft_tokens=np.ones(n.size, dtype=np.int16),
            code=np.full(n.size, -1, dtype=np.int16),
        )

    def front(self, demand_tok_per_s: float, num_thresholds: int | None) -> Points:
        """Return the frontier of what is evaluated so far."""
        allowed = self.batch <= demand_tok_per_s * self.time_s
        return select(self.time_s, self.time_s * self.slope, allowed, num_thresholds)

    def evaluate(self, at: Points, budget_s: Floats) -> None:
        """Compute the times ``at`` the points where they are within the budgets."""
        task = self.speculation or self.plain
        bound = task.bound_s(self.num_accelerators[at], self.batch[at])
        within = bound * _SLACK <= budget_s
        at, budget_s = at[within], budget_s[within]

        n, b, barred = self.num_accelerators[at], self.batch[at], self.barred[at]
        if self.speculation is None:
            time, code = fastest(self.plain, self.choices, n, b, budget_s=budget_s, barred=barred)
        else:
            time, self.draft_tokens[at], code = self.speculation.fastest(
                self.choices, n, b, budget_s=budget_s, barred=barred
            )
        self.time_s[at], self.code[at] = time, code

    def describe(self, at: Points) -> PublishedFrontier:
        """Return everything about the points ``at``."""
        n, b, time = self.num_accelerators[at], self.batch[at], self.time_s[at]
        variant = explain(self.plain, self.choices, n, b, self.code[at])

        model = self.plain.model
        flops = model.flops(self.plain.context_tokens, 1) * b
        peak = self.plain.accelerator.peak_for(model.weight_bits)
        return PublishedFrontier(
            tok_per_s=1 / time,
            usd_per_mtok_output=time * self.slope[at],
            num_accelerators=n,
            batch=b,
            mfu=flops / (time * n * peak),
            pipeline_depth=variant.pipeline_depth,
            attention_scale_down=variant.attention_scale_down,
            two_dimensional=variant.two_dimensional,
            draft_tokens=self.draft_tokens[at],
        )


def _coarse_to_fine(size: int) -> Iterator[Points]:
    """Yield every index of a size x size grid once, those of coarser grids first."""
    side = np.arange(size)
    coarser = np.zeros((size, size), dtype=np.bool_)
    for stride in _STRIDES:
        every = np.zeros((size, size), dtype=np.bool_)
        every[np.ix_(side[::stride], side[::stride])] = True
        yield np.flatnonzero(every & ~coarser)
        coarser |= every


def _budget_s(front_time_s: Floats, front_slope: Floats, slope: Floats) -> Floats:
    """Return the time from which a point of ``slope`` usd/Mtok per s lies behind the front.

    A front point dominates from the later of its own time and the time at which the other costs
    as much. Along the front the first rises and the second falls: the least of the later ones is
    next to where they cross.
    """
    budget = np.full(slope.shape, np.inf)
    if not front_time_s.size:
        return budget

    cost = front_time_s * front_slope
    cross = np.searchsorted(1 / front_slope, 1 / slope)
    after = cross < cost.size
    budget[after] = front_time_s[cross[after]]
    before = cross > 0
    budget[before] = np.minimum(budget[before], cost[cross[before] - 1] / slope[before])
    return budget
