"""Models and clusters of Headway's own catalogue in the quantities of the published model.

What the published program has no quantity for is dropped as the paper drops it: windows count as
full attention, leading dense layers of a mixture and norms are left out, shared experts count as
further active ones. What would make the answer meaningless is refused.
"""

from __future__ import annotations

from headway.dtypes import DType
from headway.errors import UnsupportedError
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.attention import GroupedQueryAttention
from headway.model.attention import LatentAttention as LatentLayer
from headway.model.ffn import DenseFfn
from headway.model.precision import Precision
from headway.papers.erdil_2025.accelerators import PublishedAccelerator
from headway.papers.erdil_2025.models import LatentAttention, PublishedModel

ARITHMETIC_EFFICIENCY = 0.7
MEMORY_EFFICIENCY = 0.75
_BITS = {
    16: (DType.BF16, DType.FP16),
    8: (DType.FP8, DType.INT8),
    4: (DType.NVFP4, DType.MXFP4),
}


def published_model(model: ModelArchitecture, precision: Precision) -> PublishedModel:
    """``model`` as the paper would count it.

    Raises:
        UnsupportedError: a model with recurrent attention, which the paper does not know.
    """
    group = max(model.layers, key=lambda group: group.count)
    attention, ffn = group.attention, group.ffn
    if not isinstance(attention, GroupedQueryAttention | LatentLayer):
        raise UnsupportedError(
            f"the published model knows no recurrent attention, which {model.name} has; leave out "
            "--as erdil-2025"
        )
    latent, group_size, head_size = None, 1.0, 0.0
    if isinstance(attention, GroupedQueryAttention):
        group_size = attention.num_heads / attention.num_kv_heads
        head_size = attention.head_dim
    else:
        latent = LatentAttention(attention.kv_lora_rank, attention.q_lora_rank or model.hidden_size)
        head_size = attention.v_head_dim
    if isinstance(ffn, DenseFfn):
        num_layers, num_experts, num_active = model.num_layers, 1, 1
    else:
        shared = round(ffn.shared_intermediate_size / ffn.intermediate_size)
        num_experts, num_active = ffn.num_experts, ffn.num_experts_per_token + shared
        num_layers = sum(
            other.count for other in model.layers if not isinstance(other.ffn, DenseFfn)
        )
    return PublishedModel(
        name=model.name,
        hidden_size=model.hidden_size,
        ffn_size=ffn.intermediate_size,
        num_layers=num_layers,
        num_query_heads=attention.num_heads,
        group_size=group_size,
        head_size=head_size,
        vocab_size=model.vocab_size,
        ffn_up_matrices=2 if ffn.gated else 1,
        ffn_down_matrices=1,
        num_experts=num_experts,
        num_active_experts=num_active,
        weight_bytes=weight_bits(precision) / 8,
        parallel_attention=model.parallel_blocks,
        latent=latent,
    )


def published_accelerator(cluster: Cluster) -> PublishedAccelerator:
    """``cluster`` as the paper would describe it.

    It gets the H100's efficiencies, links halved for the two ways of a reduction, and NCCL's
    latencies unless the fabric is compiled.
    """
    chip = cluster.accelerator
    near, far = cluster.links[0], cluster.links[-1]
    rates = {
        bits: max(chip.peak_flops_per_s[d] for d in dtypes if chip.supports(d))
        for bits, dtypes in _BITS.items()
        if any(chip.supports(d) for d in dtypes)
    }
    for narrow, wide in ((8, 16), (4, 8)):  # as the paper does where there is no narrow rate
        if wide in rates:
            rates.setdefault(narrow, rates[wide])
    compiled = chip.exchanges == "compiled"
    return PublishedAccelerator(
        cluster.name,
        rates,
        ARITHMETIC_EFFICIENCY,
        chip.memory_bandwidth_bytes_per_s,
        MEMORY_EFFICIENCY,
        chip.memory_bytes,
        near.bandwidth_bytes_per_s / 2,
        far.bandwidth_bytes_per_s / 2,
        cluster.usd_per_accelerator_s * 3600,
        node_size=1 if compiled else near.domain_size,
        hop_latency_s=near.latency_s if compiled else None,
    )


def weight_bits(precision: Precision) -> int:
    """16, 8 or 4: the paper's three sizes of a weight."""
    return next(bits for bits in (16, 8, 4) if precision.weights.bits >= bits)
