"""What is asked of a frontier."""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import InputError
from headway.frontier.space import MAX_ACCELERATORS, MAX_BATCH
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.steptime.roofline import EXPECTED, Assumptions
from headway.steptime.speculative import Speculation
from headway.units import check_positive


@dataclass(frozen=True, slots=True)
class Question:
    """A model in a precision, decoding at a fixed context, and the limits of the search.

    Attributes:
        context_tokens: cached tokens of every sequence; at least 0.
        speculation: who drafts, ``None`` for nobody.
        demand_tok_per_s: most output tokens per second that one engine can sell, ``None`` for any.
        most_accelerators: largest engine considered.
        exactly_accelerators: the only size of engine considered, ``None`` for any.
        batch: the only number of sequences in flight considered, ``None`` for any.
        pipeline: whether pipeline parallelism is considered.
    """

    model: ModelArchitecture
    precision: Precision
    context_tokens: float = 4096.0
    speculation: Speculation | None = None
    demand_tok_per_s: float | None = None
    most_accelerators: int = MAX_ACCELERATORS
    exactly_accelerators: int | None = None
    batch: int | None = None
    pipeline: bool = True
    assumptions: Assumptions = EXPECTED

    def __post_init__(self) -> None:
        if not 0 <= self.context_tokens <= 1e9:
            raise InputError(
                f"context must lie between 0 and 1e9 tokens, not {self.context_tokens:g}"
            )
        limit = self.model.max_context_tokens
        if limit is not None and self.context_tokens > limit:
            raise InputError(
                f"{self.model.name} takes at most {limit} tokens of context, not "
                f"{self.context_tokens:g}"
            )
        if self.demand_tok_per_s is not None:
            check_positive(self.demand_tok_per_s, "demand in output tokens/s")
        for count, what in (
            (self.most_accelerators, "number of accelerators"),
            (self.exactly_accelerators, "number of accelerators"),
        ):
            if count is not None:
                check_positive(count, what, 2.0**20)
        if self.batch is not None:
            check_positive(self.batch, "batch", MAX_BATCH)
