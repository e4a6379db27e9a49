"""How one engine is spread over accelerators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.attention import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    StateSpace,
)
from headway.model.ffn import MoeFfn
from headway.steptime.work import Array, BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Parallelism:
    """Degrees of parallelism, scalars or arrays that broadcast.

    An engine takes ``tp * dp * pp`` accelerators, tensor-parallel ranks adjacent, then
    data-parallel, then stages.

    Attributes:
        tp: ranks that share one layer's attention and dense feed-forward.
        pp: pipeline stages; as many micro-batches are in flight.
        dp: groups that run attention on sequences of their own while sharing the experts
            (not replicas: those multiply price and throughput alike and need no degree here).
        ep: groups of ``tp * dp / ep`` ranks over which the experts are dealt out.
        rows: of the ``tp`` ranks, how many split a weight's input dimension. 1 is the usual
            one-dimensional layout (one all-reduce per block over all ranks); above 1 each block
            reduces over ``rows`` and then over ``tp / rows`` ranks, on smaller messages.

    """

    tp: Array
    pp: Array
    dp: Array
    ep: Array
    rows: Array

    def __init__(
        self,
        tp: npt.ArrayLike = 1,
        pp: npt.ArrayLike = 1,
        dp: npt.ArrayLike = 1,
        ep: npt.ArrayLike = 1,
        rows: npt.ArrayLike = 1,
    ) -> None:
        for name, degree in (("tp", tp), ("pp", pp), ("dp", dp), ("ep", ep), ("rows", rows)):
            values = np.asarray(degree, dtype=np.float64)
            if not np.all((values >= 1) & (values == np.floor(values)) & (values < 1e9)):
                raise InputError(f"{name} must be a whole number of at least 1, not {values}")
            object.__setattr__(self, name, values)
        if np.any(self.tp % self.rows):
            raise InputError(f"rows ({self.rows}) must divide tp ({self.tp})")

    def take(self, chosen: npt.NDArray[np.intp] | BoolArray) -> Parallelism:
        """Return the layouts that are ``chosen`` along the first axis."""
        degrees = (self.tp, self.pp, self.dp, self.ep, self.rows)
        return Parallelism(*(degree[chosen] for degree in degrees))

    @property
    def columns(self) -> Array:
        """Tensor-parallel ranks that split heads and widths: ``tp / rows``."""
        return np.asarray(self.tp // self.rows)

    @property
    def num_accelerators(self) -> Array:
        """Accelerators that the engine takes."""
        return np.asarray(self.tp * self.dp * self.pp)

    def rules(self, model: ModelArchitecture, cluster: Cluster) -> Iterator[tuple[BoolArray, str]]:
        """Yield, for every rule, where it holds and the sentence to say where it does not."""
        yield (
            np.asarray(self.num_accelerators <= cluster.reach),
            f"tp x dp x pp must be at most {cluster.reach}, the {cluster.name} accelerators "
            "that the cluster connects",
        )
        yield (
            np.asarray(self.pp <= model.num_layers),
            f"pp must be at most {model.num_layers}, the layers of {model.name}",
        )
        yield from self._head_rules(model)
        yield from self._expert_rules(model)

    def _head_rules(self, model: ModelArchitecture) -> Iterator[tuple[BoolArray, str]]:
        for heads in {h for group in model.layers for h in head_counts(group.attention)}:
            fits = (heads % self.columns == 0) | (self.columns % heads == 0)
            yield (
                np.asarray(fits),
                f"tp must divide, or be a multiple of, the {heads} key-value or query heads of "
                f"{model.name}",
            )

        max_heads = max(max(head_counts(group.attention)) for group in model.layers)
        yield (
            np.asarray(self.columns <= max_heads),
            f"tp must be at most {max_heads}, the attention heads of {model.name}",
        )

    def _expert_rules(self, model: ModelArchitecture) -> Iterator[tuple[BoolArray, str]]:
        moes = [group.ffn for group in model.layers if isinstance(group.ffn, MoeFfn)]
        if not moes:
            yield (
                np.asarray((self.ep == 1) & (self.dp == 1)),
                f"{model.name} has no experts, so ep and dp must be 1: to add replicas, add "
                "engines",
            )
            return

        experts = min(moe.num_experts for moe in moes)
        yield (
            np.asarray(experts % self.ep == 0),
            f"ep must divide the {experts} experts of {model.name}",
        )
        yield (
            np.asarray((self.tp * self.dp) % self.ep == 0),
            "ep must divide tp x dp, the accelerators of one stage",
        )
        yield (
            np.asarray((self.dp == 1) | (self.ep == self.tp * self.dp)),
            "with dp above 1 the experts must be spread over all of a stage: ep = tp x dp",
        )
        yield (
            np.asarray(self.rows == 1),
            "a two-dimensional tensor layout (rows above 1) is for dense models",
        )

    def valid(self, model: ModelArchitecture, cluster: Cluster) -> BoolArray:
        """Where all rules hold."""
        holds = [where for where, _ in self.rules(model, cluster)]
        return np.asarray(np.logical_and.reduce(np.broadcast_arrays(*holds)))

    def check(self, model: ModelArchitecture, cluster: Cluster) -> None:
        """Raise `InputError` with the first rule that fails anywhere."""
        for holds, sentence in self.rules(model, cluster):
            if not np.all(holds):
                raise InputError(f"{sentence}; given were {self}")

    def __str__(self) -> str:
        text = f"tp{_one(self.tp)} pp{_one(self.pp)} dp{_one(self.dp)} ep{_one(self.ep)}"
        return text if np.all(self.rows == 1) else f"{text} rows{_one(self.rows)}"


def _one(degree: Array) -> str:
    return f"{degree:g}" if degree.ndim == 0 else f"{degree.min():g}..{degree.max():g}"


def head_counts(
    attention: Attention,
) -> tuple[int, ...]:
    """The numbers of heads that a tensor degree must divide, or be a multiple of."""
    match attention:
        case GroupedQueryAttention():
            return attention.num_heads, attention.num_kv_heads
        case LatentAttention():
            return (attention.num_heads,)
        case LinearAttention():
            return attention.num_value_heads, attention.num_key_heads
        case StateSpace(num_heads=heads):
            return (heads,)
