"""The coefficients and the power model from measured points: groups, weights, copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import import_module
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from headway.measure.coefficient_fit import Observed
from headway.serving.load_steps import LoadShape
from headway.serving.load_times import LoadTimes
from headway.serving.serving_point import ServingPoint, logs, subject
from headway.serving.tabulated import ServingTable
from headway.steptime.error_model import Groups
from headway.steptime.power import PowerModel, idle_share
from headway.steptime.work import Array
from headway.steptime.worktable import WorkTable
from tools.fit_form import FitForm
from tools.kernel_factors import kernel_factors
from tools.pooled_fit import Level, PooledFit
from tools.published_points import ML_ENERGY, NVIDIA_OWN, cell, configuration

Columns = TypeVar("Columns", LoadShape, WorkTable)

# How far a group is expected to stray from what it belongs to. Chosen once, by the sum of the two
# leave-one-group-out errors over a grid of nine; the result is flat around them.
LEVELS = (
    Level("vendor", 0.3),
    Level("engine", 0.3),
    Level("family", 0.15),
    Level("vendor, engine", 0.15),
    Level("kind", 0.1),
    Level("harness", 0.5, first_spread=0.05),
)
STRETCHES = (
    Level("harness", 0.5),
    Level("hardware", 0.05),
    Level("hardware, engine", 0.05),
    Level("weights, kind", 0.1),
    Level("model", 0.1),
    Level("model, engine", 0.1),
    Level("model, weights", 0.1),
)
# Kernels of a format are launched alike on all chips of a vendor: activations are quantized first.
LAUNCHES = ("kernel_s", "expert_kernel_s")
# Who measures in another way than the engines' own benchmarks, as InferenceX does: the difference
# is learned and left out of answers. ML.ENERGY's time per token is batch over throughput, waiting
# included; all answers of one of NVIDIA's own runs are equally long.
HARNESSES = (ML_ENERGY, NVIDIA_OWN)
# Engines of 2023 and 2024 were slower: how much is learned, and known to who asks about them.
OLD = ("llm_inference_bench_anl", "splitwise_a100_h100")
OLD_WEIGHT = 0.1
GROUP_POINTS = 50.0
Rows = npt.NDArray[np.int64]


def groups(points: Sequence[ServingPoint]) -> dict[str, list[str]]:
    """Return the group of every point by level."""
    by_level: dict[str, list[str]] = {"harness": []}
    for point in points:
        by_level["harness"].append(_harness(point))
        for level, group in _groups(point).items():
            by_level.setdefault(level, []).append(group)
    return by_level


@cache
def _groups(point: ServingPoint) -> Groups:
    return subject(point).groups


def _harness(point: ServingPoint) -> str:
    if point.source in OLD:
        return f"{point.source}, {point.engine}"
    return point.source if point.source in HARNESSES else ""


def observed(points: Sequence[ServingPoint]) -> Observed:
    """Return what was measured; copies share their weight, and large sets count less."""
    copies = Counter(map(_configuration, points))
    sizes = Counter(map(cell, points))
    weight = [
        (OLD_WEIGHT if point.source in OLD else 1.0)
        / copies[_configuration(point)]
        / np.sqrt(sizes[cell(point)] / GROUP_POINTS)
        for point in points
    ]
    return Observed(
        tpot=logs([point.tpot_s for point in points]),
        ttft=logs([point.ttft_s for point in points]),
        mean_ttft=logs([point.mean_ttft_s for point in points]),
        weight=np.array(weight),
    )


def _configuration(point: ServingPoint) -> tuple[object, ...]:
    return _harness(point), *configuration(point)


def take(table: ServingTable, rows: Rows) -> ServingTable:
    """Return some points of a stacked table."""
    return ServingTable(
        shape=_take(table.shape, rows),
        decode=_take(table.decode, rows),
        mixed=_take(table.mixed, rows),
    )


def _take(columns: Columns, rows: Rows) -> Columns:
    """Return the same columns with ``rows`` only."""
    values = {field.name: getattr(columns, field.name)[rows] for field in fields(columns)}
    return replace(columns, **values)


def pooled(
    points: Sequence[ServingPoint], table: ServingTable, form: FitForm, max_steps: int = 10
) -> PooledFit:
    """Fit coefficients to ``points``, whose stacked table is given; copies count as one."""
    kernels = {("kernels", name): factors for name, factors in kernel_factors().items()}
    rows, merged_times = merged(points)
    configurations = [points[i] for i in rows]
    levels = list(LEVELS)
    if form.launches > 0:
        levels.append(Level("vendor, weights", form.launches, only=LAUNCHES))
    fit = PooledFit(levels, STRETCHES, noise=form.noise, max_steps=max_steps, fixed=kernels)
    return fit.fit(take(table, rows), groups(configurations), merged_times)


@dataclass(frozen=True, slots=True, eq=False)
class Configurations:
    """Points of one configuration are copies, and count as one.

    Attributes:
        rows: the first point of each.
        member: of every point, the place of its configuration in ``rows``.

    """

    rows: Rows
    member: Rows

    @classmethod
    def of(cls, points: Sequence[ServingPoint]) -> Configurations:
        """Return the configurations of ``points``."""
        first: dict[tuple[object, ...], int] = {}
        member = np.array([first.setdefault(_configuration(p), len(first)) for p in points])
        rows = np.unique(member, return_index=True)[1]
        return cls(rows.astype(np.int64), member.astype(np.int64))

    def mean(self, values: Array) -> Array:
        """Return the mean of the copies' ``values``; ``nan`` where none was measured."""
        is_measured = np.isfinite(values)
        count = np.bincount(self.member, is_measured, len(self.rows))
        total = np.bincount(self.member, np.where(is_measured, values, 0.0), len(self.rows))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def merged(points: Sequence[ServingPoint]) -> tuple[Rows, Observed]:
    """Return one row of every configuration, and the geometric means of its copies' times."""
    times, configurations = observed(points), Configurations.of(points)
    weight = np.bincount(configurations.member, times.weight, len(configurations.rows))
    return configurations.rows, Observed(
        tpot=configurations.mean(times.tpot),
        ttft=configurations.mean(times.ttft),
        mean_ttft=configurations.mean(times.mean_ttft),
        weight=weight.astype(np.float64),
    )


def coefficients(fit: PooledFit, points: Sequence[ServingPoint]) -> Array:
    """Return the coefficients of each point, under nobody's harness in particular.

    Its stretches only kept the coefficients from bending; the error model takes their place.
    """
    harness = [_harness(point) if point.source in OLD else "" for point in points]
    return fit.theta({**groups(points), "harness": harness}, len(points))[0]


def fit_power(points: Sequence[ServingPoint], table: ServingTable, times: LoadTimes) -> PowerModel:
    """Fit non-negative least squares of power over TDP on the roots of what the load uses."""
    watts = measured_power(points, table)
    rows = np.flatnonzero(np.isfinite(watts))
    arithmetic, memory = table.peak_use(times)
    tdp = np.array([_tdp(point) for point in points])
    idle = np.array([idle_share(point.deployment.cluster.accelerator) for point in points])
    share = watts[rows] / tdp[rows]

    # Relative errors count, as they do in joules per token; vendors rarely let a chip pass its TDP.
    sane = (share > idle[rows] * 0.5) & (share <= 1.05)
    rows, share = rows[sane], share[sane]

    design = (
        np.stack([np.ones(len(rows)), np.sqrt(arithmetic[rows]), np.sqrt(memory[rows])], 1)
        / share[:, None]
    )
    weights, _ = import_module("scipy.optimize").nnls(design, (share - idle[rows]) / share)
    for _ in range(5):  # relative least squares leans low, and the cap at the TDP lower still
        modelled = np.minimum(idle[rows] + (design * share[:, None]) @ weights, 1.0)
        weights = weights * float(np.median(share / modelled))
    modelled = np.minimum(idle[rows] + (design * share[:, None]) @ weights, 1.0)
    spread = float(np.std(np.log(share / modelled)))

    # A run costs more joules than its steady state does; another harness's times are not answers'.
    output = times.requests_per_s * table.shape.output_tokens
    joules = logs([point.energy_j for point in points])[rows]
    steady = np.log(modelled * tdp[rows] * table.shape.num_accelerators[rows] / output[rows])
    is_other = np.array([points[i].source in HARNESSES for i in rows])
    is_measured = np.isfinite(joules) & ~is_other
    off = (joules - steady)[is_measured]
    run = float(np.exp(np.median(off))) if is_measured.any() else 1.0
    running, arithmetic_share, memory_share = (round(float(v), 4) for v in weights)
    return PowerModel(running, arithmetic_share, memory_share, round(spread, 4), round(run, 4))


def measured_power(points: Sequence[ServingPoint], table: ServingTable) -> Array:
    """Watts of one accelerator, measured or from joules per token; ``nan`` where neither is."""
    watts = []
    for point in points:
        if point.power_w is not None:
            watts.append(point.power_w)
        elif point.energy_j is not None and point.total_tok_per_s is not None:
            load = point.load
            total = float(load.prompt_tokens + load.output_tokens)
            out = point.total_tok_per_s * float(load.output_tokens) / total
            accelerators = float(point.deployment.parallelism.num_accelerators)
            watts.append(point.energy_j * out / accelerators)
        else:
            watts.append(np.nan)
    return np.array(watts)


def _tdp(point: ServingPoint) -> float:
    return point.deployment.cluster.accelerator.tdp_w or np.nan
