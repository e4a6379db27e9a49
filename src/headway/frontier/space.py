"""Which layouts and batches are considered: powers of two, and degrees that divide the heads."""

from __future__ import annotations

import numpy as np

from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.ffn import MoeFfn
from headway.steptime.parallelism import Parallelism, head_counts
from headway.steptime.work import Array

MAX_ACCELERATORS = 1024
MAX_BATCH = 2**18
BATCHES_PER_OCTAVE = 8


def layouts(
    model: ModelArchitecture,
    cluster: Cluster,
    most: int = MAX_ACCELERATORS,
    exactly: int | None = None,
    pipeline: bool = True,
) -> Parallelism:
    """All valid layouts of at most ``most`` (or ``exactly``) accelerators, shape ``(layouts, 1)``.

    Degrees are powers of two, or the divisors of ``exactly``; tensor degrees may also divide a
    number of heads that is none (5 for the 40 heads of phi-4). Tensor parallelism goes
    one-dimensional and, for dense models, with about sqrt(tp) rows.
    """
    limit = min(most if exactly is None else exactly, cluster.reach)
    degrees = _degrees(limit, exactly)
    moe = any(isinstance(group.ffn, MoeFfn) for group in model.layers)
    shared = degrees if moe else np.ones(1)
    stages = degrees if pipeline else np.ones(1)
    tensor = degrees if exactly is not None else np.union1d(degrees, _shares(model, limit))
    tp, pp, dp = (axis.ravel() for axis in np.meshgrid(tensor, stages, shared, indexing="ij"))
    n = tp * pp * dp
    kept = n == exactly if exactly is not None else n <= limit
    tp, pp, dp = tp[kept], pp[kept], dp[kept]
    stage = tp * dp

    spread = [np.ones_like(tp), stage] if moe else [np.ones_like(tp)]
    spread += [np.gcd(stage.astype(np.int64), e).astype(float) for e in _expert_counts(model)]
    rows = [np.ones_like(tp)]
    if not moe:
        rows.append(2.0 ** np.floor(np.log2(tp) / 2))
    candidates = np.unique(
        np.concatenate(
            [
                np.stack([tp, pp, dp, ep, np.where(tp % r == 0, r, 1.0)])
                for ep in spread
                for r in rows
            ],
            axis=1,
        ),
        axis=1,
    )
    found = Parallelism(*candidates)
    valid = found.valid(model, cluster)
    return Parallelism(*(degree[:, None] for degree in candidates[:, valid]))


def batches(most: float = MAX_BATCH) -> Array:
    """Whole batch sizes up to ``most``: all up to 16, then evenly spaced on a log scale."""
    octaves = np.log2(max(most, 1.0))
    steps = 2.0 ** np.arange(0, octaves + 1e-9, 1 / BATCHES_PER_OCTAVE)
    sizes = np.concatenate([np.arange(1.0, 17.0), np.round(steps)])
    return np.unique(sizes[sizes <= most])


def _degrees(limit: int, exactly: int | None) -> Array:
    powers = 2.0 ** np.arange(np.floor(np.log2(limit)) + 1)
    if exactly is None:
        return powers
    divisors = np.arange(1, exactly + 1)
    return np.unique(divisors[exactly % divisors == 0].astype(float))


def _shares(model: ModelArchitecture, limit: float) -> Array:
    """Ways to split the heads evenly, at most ``limit``."""
    counts = {heads for group in model.layers for heads in head_counts(group.attention)}
    shares = [d for heads in counts for d in range(1, heads + 1) if heads % d == 0]
    return np.asarray([float(d) for d in shares if d <= limit])


def _expert_counts(model: ModelArchitecture) -> set[int]:
    return {group.ffn.num_experts for group in model.layers if isinstance(group.ffn, MoeFfn)}
