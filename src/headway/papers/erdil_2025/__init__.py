"""The published model of "Inference economics of language models" (Erdil 2025), quirks included.

The paper is arXiv 2506.04645. What is modelled here is what its published program of 27 May 2025
computes, which differs from the printed equations in places; every such place is named where it
occurs. Written from the paper and from figures that the program gave, not from its code.
"""

from headway.papers.erdil_2025.accelerators import ACCELERATORS, PublishedAccelerator
from headway.papers.erdil_2025.closed_form import ClosedForm, critical_batch
from headway.papers.erdil_2025.collectives import (
    ALL_REDUCE,
    ALL_TO_ALL,
    POINT_TO_POINT,
    collective_s,
)
from headway.papers.erdil_2025.forward import Choices, TokenLatency, token_latency
from headway.papers.erdil_2025.history import AS_PRESENTED, FINAL, simple_latency_s
from headway.papers.erdil_2025.models import MODELS, LatentAttention, PublishedModel, scale_model
from headway.papers.erdil_2025.passes import ForwardPass
from headway.papers.erdil_2025.speculative import (
    Speculation,
    expected_tokens,
    speculative_latency_s,
)

__all__ = [
    "ACCELERATORS",
    "ALL_REDUCE",
    "ALL_TO_ALL",
    "AS_PRESENTED",
    "FINAL",
    "MODELS",
    "POINT_TO_POINT",
    "Choices",
    "ClosedForm",
    "ForwardPass",
    "LatentAttention",
    "PublishedAccelerator",
    "PublishedModel",
    "Speculation",
    "TokenLatency",
    "collective_s",
    "critical_batch",
    "expected_tokens",
    "scale_model",
    "simple_latency_s",
    "speculative_latency_s",
    "token_latency",
]
