"""A model in a precision, laid out on a cluster: what memory and work follow from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from headway.dtypes import DType
from headway.errors import DoesNotFitError, UnsupportedError
from headway.hardware.accelerator import Accelerator
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.steptime.forward import forward
from headway.steptime.memory import kv_bytes, weight_bytes
from headway.steptime.parallelism import Parallelism
from headway.steptime.speculative import Speculation
from headway.steptime.work import Array, BoolArray, Forward, Number
from headway.units import GB
from headway.workload.step import Step

MEMORY_UTILIZATION = 0.90  # vLLM's default of gpu_memory_utilization


def native(precision: Precision, accelerator: Accelerator) -> Precision:
    """Return ``precision`` as ``accelerator`` computes it.

    A format without native arithmetic is dequantized to 16 bits on the way in, which saves memory
    but not arithmetic; bf16 and fp16 stand in for each other. Where there is no 16-bit arithmetic
    (Pascal), 16 bits are stored, and computed in 32.

    Raises:
        UnsupportedError: there is no arithmetic of 16 or 32 bits either.

    """
    wide = DType.BF16 if accelerator.supports(DType.BF16) else DType.FP16
    computed = precision.activations if accelerator.supports(precision.activations) else wide
    if computed.bits < wide.bits and not accelerator.supports(wide):
        computed = wide  # attention is computed in wide floats, whatever the products are
    if not accelerator.supports(computed):
        computed = DType.FP32
    if not accelerator.supports(computed):
        raise UnsupportedError(
            f"{accelerator.name} computes neither {precision.activations.value} nor floats of 16 "
            "or 32 bits"
        )

    def as_wide(dtype: DType) -> DType:
        return wide if dtype in (DType.BF16, DType.FP16) else dtype

    own = precision.attention_weights
    return Precision(
        weights=as_wide(precision.weights),
        activations=as_wide(computed),
        kv_cache=as_wide(precision.kv_cache),
        attention_weights=None if own is None else as_wide(own),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Drafting:
    """How a placed model drafts; arrays broadcast against its layout.

    Attributes:
        speculation: who drafts, and how often a drafted token is accepted.
        tokens: drafted tokens per pass; 0 where nothing is drafted.
        tp: tensor-parallel ranks of the draft, in groups that share out the sequences; 0 for the
            layout of the model itself.
        apart: 1 where the draft has ``tp`` accelerators of its own, else 0.

    """

    speculation: Speculation
    tokens: Number = 1
    tp: Number = 0
    apart: Number = 0

    @property
    def tokens_per_pass(self) -> Array:
        """Expected output tokens of one verifying pass, per sequence."""
        tokens = np.asarray(self.tokens, dtype=np.float64)
        return np.where(tokens > 0, self.speculation.tokens_per_pass(tokens), 1.0)

    @property
    def verified_tokens(self) -> Array:
        """Tokens per sequence that pass through the model in one verifying pass."""
        tokens = np.asarray(self.tokens, dtype=np.float64)
        return np.where(tokens > 0, self.speculation.verified_tokens(tokens), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class PlacedModel:
    """A model in a precision, laid out on a cluster, with its draft where it has one.

    ``precision`` is made `native` to the hardware. Parallelism may hold arrays: then this is a
    family of placements, and `fits` says which of them are possible.
    """

    model: ModelArchitecture
    cluster: Cluster
    precision: Precision
    parallelism: Parallelism
    drafting: Drafting | None = None
    memory_utilization: float = field(default=MEMORY_UTILIZATION, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", native(self.precision, self.cluster.accelerator))
        self.parallelism.check(self.model, self.cluster)

    @property
    def sorted_logits(self) -> int:
        """Numbers that are sorted to choose one token: none, unless an engine does."""
        return 0

    @property
    def num_accelerators(self) -> Array:
        """Accelerators of the engine, those of a draft of its own included."""
        layout = self.parallelism.num_accelerators
        if self.drafting is None:
            return layout
        return np.asarray(layout + np.asarray(self.drafting.apart) * self.drafting.tp)

    def forward(self, step: Step) -> Forward:
        """Count the pass of ``step`` on the busiest accelerator, its drafting included.

        Sequences that sample more than one token verify a draft: every drafted token is one more
        pass of the drafting model over them.
        """
        verify = forward(self.model, self.precision, self.parallelism, step)
        if self.drafting is None or not np.any(step.sampled_tokens > 1):
            return verify

        sequences = np.where(step.sampled_tokens > 1, step.num_sequences, 0.0)
        draft_step = Step(
            num_sequences=np.ceil(sequences / self.draft_groups[..., None]),
            scheduled_tokens=np.ones_like(step.scheduled_tokens),
            computed_tokens=step.computed_tokens,
            sampled_tokens=np.ones_like(step.sampled_tokens),
        )
        drafting = self.drafting
        draft = forward(
            drafting.speculation.draft, self.precision, self.draft_parallelism, draft_step
        )

        tokens = np.asarray(drafting.tokens, dtype=np.float64)
        return Forward(
            verify.ops + tuple(replace(op, work=op.work * tokens) for op in draft.ops),
            verify.collectives
            + tuple(replace(c, count=c.count * tokens) for c in draft.collectives),
        )

    @property
    def draft_parallelism(self) -> Parallelism:
        """The layout of one drafting group."""
        drafting, layout = self.drafting, self.parallelism
        if drafting is None or np.all(np.asarray(drafting.tp) == 0):
            return Parallelism(tp=layout.tp, dp=layout.dp, ep=layout.ep, rows=layout.rows)
        return Parallelism(tp=np.maximum(drafting.tp, 1))

    @property
    def draft_groups(self) -> Array:
        """Groups that share out the sequences to draft for."""
        drafting, layout = self.drafting, self.parallelism
        if drafting is None or np.all(np.asarray(drafting.tp) == 0):
            return np.ones(())
        groups = np.maximum(layout.num_accelerators // np.maximum(drafting.tp, 1), 1)
        return np.asarray(np.where(np.asarray(drafting.apart) > 0, 1.0, groups))

    @property
    def usable_bytes(self) -> float:
        """Memory of one accelerator that weights and KV cache may take."""
        return self.cluster.accelerator.memory_bytes * self.memory_utilization

    @property
    def weight_bytes(self) -> Array:
        """Weights on the fullest accelerator, those of a draft that shares it included."""
        own = weight_bytes(self.model, self.precision, self.parallelism)
        return np.asarray(own + self._draft_share(self._draft_weight_bytes))

    def kv_bytes(self, sequences: Number, context_tokens: Number) -> Array:
        """KV cache of ``sequences`` on the fullest accelerator, the draft's included."""
        own = kv_bytes(self.model, self.precision, self.parallelism, sequences, context_tokens)
        return np.asarray(own + self._draft_share(self._draft_kv_bytes(sequences, context_tokens)))

    def missing_bytes(self, sequences: Number, context_tokens: Number) -> Array:
        """By how much the fullest accelerator exceeds its memory; negative where there is room."""
        cache = self.kv_bytes(sequences, context_tokens)
        return np.asarray(self.weight_bytes + cache - self.usable_bytes)

    def fits(self, sequences: Number, context_tokens: Number) -> BoolArray:
        """Return where ``sequences`` of ``context_tokens`` and the weights fit."""
        fits = self.missing_bytes(sequences, context_tokens) <= 0
        if self.drafting is None:
            return np.asarray(fits)

        # A draft on accelerators of its own must fit there; a shared one needs as many ranks.
        tp, apart = np.asarray(self.drafting.tp), np.asarray(self.drafting.apart)
        draft_bytes = self._draft_weight_bytes + self._draft_kv_bytes(sequences, context_tokens)
        placed = np.where(
            apart > 0, draft_bytes <= self.usable_bytes, tp <= self.parallelism.num_accelerators
        )
        return np.asarray(fits & placed)

    def max_sequences(self, context_tokens: Number, max_sequences: float = 2.0**20) -> Array:
        """Return the largest number of sequences whose cache fits, by bisection; 0 if none does."""
        shape = self.parallelism.num_accelerators.shape
        low, high = np.zeros(shape), np.full(shape, max_sequences + 1)
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

    def _draft_share(self, draft_bytes: Array) -> Array:
        """Bytes of the draft on the model's own accelerators."""
        if self.drafting is None:
            return np.zeros(())
        return np.where(np.asarray(self.drafting.apart) > 0, 0.0, draft_bytes)

    @property
    def _draft_weight_bytes(self) -> Array:
        if self.drafting is None:
            return np.zeros(())
        speculation = self.drafting.speculation
        return weight_bytes(
            speculation.draft,
            self.precision,
            self.draft_parallelism,
            with_tables=not speculation.shares_weights,
        )

    def _draft_kv_bytes(self, sequences: Number, context_tokens: Number) -> Array:
        if self.drafting is None:
            return np.zeros(())
        group = np.ceil(np.asarray(sequences) / self.draft_groups)
        draft = self.drafting.speculation.draft
        return kv_bytes(draft, self.precision, self.draft_parallelism, group, context_tokens)
