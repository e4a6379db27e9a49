"""A model on a cluster: everything that a step's time depends on, checked at birth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.dtypes import DType
from headway.errors import DoesNotFitError, InputError, UnsupportedError
from headway.hardware.accelerator import Accelerator
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.steptime.memory import kv_bytes, weight_bytes
from headway.steptime.parallelism import Parallelism
from headway.steptime.roofline import EXPECTED, Assumptions
from headway.steptime.work import Array, BoolArray, Number
from headway.units import GB


def native(precision: Precision, accelerator: Accelerator) -> Precision:
    """``precision`` as ``accelerator`` computes it.

    A format without native arithmetic is dequantized to 16 bits on the way in, which saves memory
    but not arithmetic; bf16 and fp16 stand in for each other. Raises `UnsupportedError` where
    there is no 16-bit arithmetic either.
    """
    wide = DType.BF16 if accelerator.supports(DType.BF16) else DType.FP16
    computed = precision.activations if accelerator.supports(precision.activations) else wide
    if not accelerator.supports(computed):
        raise UnsupportedError(
            f"{accelerator.name} computes neither {precision.activations.value} nor 16-bit floats"
        )

    def as_wide(dtype: DType) -> DType:
        return wide if dtype in (DType.BF16, DType.FP16) else dtype

    own = precision.attention_weights
    return Precision(
        as_wide(precision.weights),
        as_wide(computed),
        as_wide(precision.kv_cache),
        None if own is None else as_wide(own),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Deployment:
    """One engine: a model in a precision, laid out on a cluster.

    ``precision`` is made `native` to the hardware. Parallelism may hold arrays: then this is a
    family of deployments, and `fits` says which of them are possible.
    """

    cluster: Cluster
    model: ModelArchitecture
    precision: Precision
    parallelism: Parallelism
    assumptions: Assumptions = EXPECTED

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", native(self.precision, self.cluster.accelerator))
        self.parallelism.check(self.model, self.cluster)

    @property
    def usable_bytes(self) -> float:
        """Memory of one accelerator that weights and KV cache may take."""
        return self.cluster.accelerator.memory_bytes * self.assumptions.memory_utilization

    @property
    def weight_bytes(self) -> Array:
        """Weights on the fullest accelerator."""
        return weight_bytes(self.model, self.precision, self.parallelism)

    def missing_bytes(self, sequences: Number, context_tokens: Number) -> Array:
        """By how much the fullest accelerator exceeds its memory; negative where there is room."""
        cache = kv_bytes(self.model, self.precision, self.parallelism, sequences, context_tokens)
        return np.asarray(self.weight_bytes + cache - self.usable_bytes)

    def fits(self, sequences: Number, context_tokens: Number) -> BoolArray:
        """Where ``sequences`` of ``context_tokens`` and the weights fit."""
        return np.asarray(self.missing_bytes(sequences, context_tokens) <= 0)

    def max_sequences(self, context_tokens: Number, most: float = 2.0**20) -> Array:
        """The largest number of sequences whose cache fits, found by bisection; 0 if none does."""
        shape = self.parallelism.num_accelerators.shape
        low, high = np.zeros(shape), np.full(shape, most + 1)
        while np.any(high - low > 1):
            middle = np.floor((low + high) / 2)
            fits = self.fits(middle, context_tokens)
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return low

    def check_fit(self, sequences: int, context_tokens: float) -> None:
        """Raise `DoesNotFitError` with the missing bytes unless ``sequences`` fit."""
        missing = float(np.min(self.missing_bytes(sequences, context_tokens)))
        if missing > 0:
            raise DoesNotFitError(
                f"{self.model.name} in {self.precision} with {sequences} sequences of "
                f"{context_tokens:g} tokens lacks {missing / GB:.1f} GB on each of the "
                f"{self.parallelism.num_accelerators:g} {self.cluster.name} ({self.parallelism}); "
                "use more accelerators, a smaller precision or a smaller batch",
                missing,
            )


def smallest_tensor_parallel(
    cluster: Cluster, model: ModelArchitecture, precision: Precision, context_tokens: float
) -> Parallelism:
    """The fewest ranks, 1, 2, 4 and so on, that hold the weights and one sequence.

    The largest that the model and the cluster allow, where even that is too small.
    """
    found, tp = Parallelism(), 1
    while tp <= cluster.links[0].domain_size:
        try:
            deployment = Deployment(cluster, model, precision, Parallelism(tp=tp))
        except InputError:
            break  # heads that no more ranks can share
        found, tp = deployment.parallelism, 2 * tp
        if deployment.fits(1, context_tokens):
            break
    return found
