"""Which layouts of a model are considered, and which of them one takes unless told."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from headway.errors import DoesNotFitError, InputError
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.ffn import MoeFfn
from headway.model.precision import Precision
from headway.steptime.calibration import Calibration
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism, head_counts
from headway.steptime.roofline import EXPECTED, Efficiency
from headway.steptime.work import Array
from headway.units import GB
from headway.workload.step import Step

MAX_ACCELERATORS = 1024
PROBE_TOKENS = 512  # of the prompt and the context by which layouts are compared


class NoLayoutError(InputError):
    """No layout takes exactly the number of accelerators that was asked for."""


def layouts(
    model: ModelArchitecture,
    cluster: Cluster,
    max_accelerators: int = MAX_ACCELERATORS,
    num_accelerators: int | None = None,
    *,
    pipeline: bool = True,
    two_dimensional: bool = True,
) -> Parallelism:
    """Return the valid layouts of at most ``max_accelerators``, or exactly ``num_accelerators``.

    Degrees are powers of two, or the divisors of ``num_accelerators``; tensor degrees may also
    divide a number of heads that is none (5 for the 40 heads of phi-4). Tensor parallelism goes
    one-dimensional and, for dense models with ``two_dimensional``, with about sqrt(tp) rows.

    Returns:
        Degrees of shape ``(layouts, 1)``.

    Raises:
        NoLayoutError: none takes exactly ``num_accelerators``.

    """
    limit = min(num_accelerators or max_accelerators, cluster.reach)
    degrees = _degrees(limit, num_accelerators)
    moe = any(isinstance(group.ffn, MoeFfn) for group in model.layers)

    # Every product of tensor, pipeline and data degrees of the right size.
    tensor = degrees
    if num_accelerators is None:
        tensor = np.concatenate([degrees, _head_shares(model, limit)])
    stages = degrees if pipeline else np.ones(1)
    groups = degrees if moe else np.ones(1)
    tp, pp, dp = (axis.ravel() for axis in np.meshgrid(tensor, stages, groups, indexing="ij"))
    count = tp * pp * dp
    chosen = count <= limit if num_accelerators is None else count == num_accelerators
    tp, pp, dp = tp[chosen], pp[chosen], dp[chosen]

    # With every way to spread the experts, or to fold the tensor degree into rows.
    stage = tp * dp
    spreads = [np.ones_like(tp), stage] if moe else [np.ones_like(tp)]
    spreads += [np.gcd(stage.astype(np.int64), e).astype(float) for e in _expert_counts(model)]
    rows = [np.ones_like(tp)]
    if two_dimensional and not moe:
        rows.append(2.0 ** np.floor(np.log2(tp) / 2))
    candidates = _distinct(
        np.concatenate(
            [
                np.stack([tp, pp, dp, ep, np.where(tp % fold == 0, fold, 1.0)])
                for ep in spreads
                for fold in rows
            ],
            axis=1,
        )
    )

    valid = Parallelism(*candidates).valid(model, cluster)
    if not valid.any():
        raise NoLayoutError(
            f"no layout of {model.name} takes exactly {num_accelerators} {cluster.name}: heads, "
            f"experts and layers do not divide that way, or more than the {cluster.reach} that "
            "are connected; a power of two does"
        )
    return Parallelism(*(degree[:, None] for degree in candidates[:, valid]))


def fastest_deployment(
    model: ModelArchitecture,
    cluster: Cluster,
    *,
    precision: Precision | str | None = None,
    engine: str | None = None,
    num_accelerators: int | None = None,
    context_tokens: float = PROBE_TOKENS,
    efficiency: Efficiency = EXPECTED,
    calibration: Calibration | None = None,
) -> Deployment:
    """Return the fastest layout on ``num_accelerators``, or on as few as hold the model.

    As few as hold the weights and one sequence of ``context_tokens`` are counted in powers of
    two. The fastest takes the least time for a decode pass and a prefill pass of 512 tokens, one
    request alone.

    Raises:
        DoesNotFitError: neither that many nor any number within reach holds the model.
        NoLayoutError: the model cannot be split over exactly ``num_accelerators``.
        UnknownNameError: nobody has measured that engine.

    """
    counts = [num_accelerators] if num_accelerators else _powers(cluster.reach)
    lacking_bytes, largest = np.inf, 0
    for count in counts:
        try:
            candidates = layouts(
                model, cluster, num_accelerators=count, two_dimensional=engine is None
            )
        except NoLayoutError:
            if num_accelerators:
                raise
            continue

        family = Deployment(
            model,
            cluster,
            parallelism=_without_groups(candidates),
            precision=precision,
            engine=engine,
            efficiency=efficiency,
            calibration=calibration,
        )
        missing = family.missing_bytes(1, context_tokens)
        fitting = np.flatnonzero(missing <= 0)
        if fitting.size:
            return _fastest(family, fitting)
        if float(missing.min()) < lacking_bytes:
            lacking_bytes, largest = float(missing.min()), count

    raise DoesNotFitError(
        f"{model.name} in {precision or model.precision} with one sequence of "
        f"{context_tokens:g} tokens lacks {lacking_bytes / GB:.1f} GB on each of {largest} "
        f"{cluster.name}; name more accelerators or a smaller precision",
        lacking_bytes,
    )


def single(parallelism: Parallelism, index: int) -> Parallelism:
    """Return one of many layouts as scalars."""
    return Parallelism(
        *(
            float(np.ravel(getattr(parallelism, name))[index])
            for name in ("tp", "pp", "dp", "ep", "rows")
        )
    )


def _without_groups(candidates: Parallelism) -> Parallelism:
    """The layouts whose ranks all see every sequence: what one request alone is faster on."""
    alone = np.ravel(candidates.dp) == 1
    return Parallelism(
        *(np.ravel(getattr(candidates, name))[alone] for name in ("tp", "pp", "dp", "ep", "rows"))
    )


def _fastest(family: Deployment, fitting: npt.NDArray[np.intp]) -> Deployment:
    model = family.step_time_model
    decode_s = model.step_time(Step.decode(1, PROBE_TOKENS)).expected_s
    prefill_s = model.step_time(Step.prefill(1, PROBE_TOKENS)).expected_s
    request_s = np.broadcast_to(decode_s + prefill_s, family.parallelism.tp.shape)
    best = int(fitting[np.argmin(request_s[fitting])])
    return family.with_parallelism(single(family.parallelism, best))


def _degrees(limit: int, num_accelerators: int | None) -> Array:
    powers = 2.0 ** np.arange(np.floor(np.log2(limit)) + 1)
    if num_accelerators is None:
        return powers
    return np.array([float(d) for d in range(1, num_accelerators + 1) if num_accelerators % d == 0])


def _distinct(columns: Array) -> Array:
    """Return the distinct columns in lexical order.

    As `numpy.unique`, which would load masked arrays: a tenth of a command's start.
    """
    ordered = columns[:, np.lexsort(columns[::-1])]
    is_new = np.any(np.diff(ordered, axis=1) != 0, axis=0)
    return ordered[:, np.concatenate([[True], is_new])]


def _head_shares(model: ModelArchitecture, limit: float) -> Array:
    """Ways to split the heads evenly, at most ``limit``."""
    counts = {heads for group in model.layers for heads in head_counts(group.attention)}
    shares = [d for heads in counts for d in range(1, heads + 1) if heads % d == 0]
    return np.asarray([float(d) for d in shares if d <= limit])


def _expert_counts(model: ModelArchitecture) -> set[int]:
    return {group.ffn.num_experts for group in model.layers if isinstance(group.ffn, MoeFfn)}


def _powers(maximum: int) -> Iterator[int]:
    count = 1
    while count <= maximum:
        yield count
        count *= 2
