"""The limits of one engine, under vLLM's names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import DoesNotFitError, InputError
from headway.steptime.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Engine:
    """How one replica forms its steps; limits have vLLM's names.

    Attributes:
        max_num_seqs: sequences that may run at once.
        max_num_batched_tokens: tokens of one step; at least ``max_num_seqs``, so that every
            running sequence decodes in every step.
        num_kv_blocks: blocks of the KV cache.
        kv_block_tokens: tokens of one block.
        chunked_prefill: whether a prompt may be cut off by the token budget.
        reserve_full_prompt: admit a prompt only where all of it fits (vLLM 0.19's
            ``scheduler_reserve_full_isl``).
        asynchronous: plan a step while the one before it executes (vLLM's ``async_scheduling``):
            a request that arrives during a step waits for the end of the next one.
        prefix_cache: whether blocks of finished prompts are kept and shared; a preempted request
            finds its own again, too, unless they were needed.
        swap_token_s: of moving a token of a preempted request's cache to the host, or back, while
            nothing is computed; ``None`` where caches do not go there.

    """

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    num_kv_blocks: int = 1 << 20
    kv_block_tokens: int = 16
    chunked_prefill: bool = True
    reserve_full_prompt: bool = True
    asynchronous: bool = False
    prefix_cache: bool = False
    swap_token_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "num_kv_blocks", "kv_block_tokens"):
            if not 1 <= getattr(self, name) < 2**31:
                raise InputError(f"{name} must be from 1 to 2^31, not {getattr(self, name)}")
        if self.kv_block_tokens & (self.kv_block_tokens - 1):
            raise InputError(f"kv_block_tokens must be a power of 2, not {self.kv_block_tokens}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise InputError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) must be at least "
                f"max_num_seqs ({self.max_num_seqs})"
            )

    @property
    def kv_tokens(self) -> int:
        """Tokens that the cache holds."""
        return self.num_kv_blocks * self.kv_block_tokens


def kv_blocks(deployment: Deployment, kv_block_tokens: int = 16) -> int:
    """Return the blocks that fit beside the weights on every accelerator of ``deployment``.

    Raises:
        DoesNotFitError: not even one does.

    """
    free_bytes = -float(np.max(deployment.missing_bytes(0, 0)))
    blocks = 0.0
    if free_bytes > 0:
        blocks = float(deployment.max_sequences(kv_block_tokens, max_sequences=2.0**30))
    if blocks < 1:
        raise DoesNotFitError(
            f"{deployment.model.name} leaves no memory for a KV cache on "
            f"{deployment.parallelism.num_accelerators:g} {deployment.cluster.name}; use more "
            "accelerators or a smaller precision",
            -free_bytes,
        )
    return int(min(blocks, 2**31 - 1))
