"""Names, and models and clusters of Headway's own catalogue, in the quantities of the paper.

What the published program has no quantity for is dropped as the paper drops it: windows count as
full attention, leading dense layers of a mixture and norms are left out, shared experts count as
further active ones. What would make the answer meaningless is refused.
"""

from __future__ import annotations

from dataclasses import replace

from headway.dtypes import DType
from headway.errors import UnsupportedError
from headway.hardware.catalogue import find_clusters
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.attention import GroupedQueryAttention
from headway.model.attention import LatentAttention as LatentLayer
from headway.model.catalogue import find_model, find_precision
from headway.model.ffn import DenseFfn
from headway.model.precision import Precision
from headway.papers.erdil_2025.accelerators import ACCELERATORS, PublishedAccelerator
from headway.papers.erdil_2025.models import MODELS, LatentAttention, PublishedModel
from headway.units import HOUR_S

ARITHMETIC_EFFICIENCY = 0.7
MEMORY_EFFICIENCY = 0.75
_BITS = {
    16: (DType.BF16, DType.FP16),
    8: (DType.FP8, DType.INT8),
    4: (DType.NVFP4, DType.MXFP4),
}


def find_published_model(name: str, precision: str | None = None) -> PublishedModel:
    """Return the paper's own model called ``name``, or else our model of that name, converted.

    ``precision`` (``fp8``, ``int4/bf16/fp8``) decides the bits of the weights; by default they are
    those of the paper, or as the model was published.

    Raises:
        UnknownNameError: nobody knows the name.

    """
    own = MODELS.get(name.strip().lower())
    formats = Precision.parse(precision) if precision else None
    if own is not None:
        return own if formats is None else own.with_weights(weight_bits(formats))
    return published_model(find_model(name), formats or find_precision(name))


def find_published_accelerators(
    names: str, usd_per_hour: float | None = None
) -> tuple[PublishedAccelerator, ...]:
    """Return the accelerators that ``names`` says, the paper's own or converted from ours."""
    accelerators = (
        ACCELERATORS.get(cluster.name) or published_accelerator(cluster)
        for cluster in find_clusters(names, usd_per_hour)
    )
    if usd_per_hour is None:
        return tuple(accelerators)
    return tuple(replace(own, usd_per_hour=usd_per_hour) for own in accelerators)


def published_model(model: ModelArchitecture, precision: Precision) -> PublishedModel:
    """Return ``model`` as the paper would count it.

    Raises:
        UnsupportedError: a model with recurrent attention, which the paper does not know.

    """
    group = max(model.layers, key=lambda group: group.count)
    attention, ffn = group.attention, group.ffn

    # Latent attention without a rank for its queries projects them from the hidden state.
    latent, group_size = None, 1.0
    if isinstance(attention, GroupedQueryAttention):
        group_size = attention.num_heads / attention.num_kv_heads
        head_size = attention.head_dim
    elif isinstance(attention, LatentLayer):
        latent = LatentAttention(attention.kv_lora_rank, attention.q_lora_rank or model.hidden_size)
        head_size = attention.v_head_dim
    if ffn is None or not isinstance(attention, GroupedQueryAttention | LatentLayer):
        raise UnsupportedError(
            f"the published model knows no recurrent attention, which {model.name} has; ask our "
            "own with headway frontier"
        )

    num_layers, num_experts, num_active = model.num_layers, 1, 1
    if not isinstance(ffn, DenseFfn):
        shared = round(ffn.shared_intermediate_size / ffn.intermediate_size)
        num_experts, num_active = ffn.num_experts, ffn.num_experts_per_token + shared
        sparse = (other for other in model.layers if not isinstance(other.ffn, DenseFfn))
        num_layers = sum(other.count for other in sparse)

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
        num_experts=num_experts,
        num_active_experts=num_active,
        weight_bytes=weight_bits(precision) / 8,
        parallel_attention=model.parallel_blocks,
        latent=latent,
    )


def published_accelerator(cluster: Cluster) -> PublishedAccelerator:
    """Return ``cluster`` as the paper would describe it.

    It gets the H100's efficiencies, links halved for the two ways of a reduction, and NCCL's
    latencies unless the fabric is compiled.
    """
    chip = cluster.accelerator
    rates = {
        bits: max(chip.peak_flops_per_s[dtype] for dtype in dtypes if chip.supports(dtype))
        for bits, dtypes in _BITS.items()
        if any(chip.supports(dtype) for dtype in dtypes)
    }
    # As the paper does where there is no narrow rate.
    for narrow, wide in ((8, 16), (4, 8)):
        if wide in rates:
            rates.setdefault(narrow, rates[wide])

    near, far = cluster.links[0], cluster.links[-1]
    compiled = chip.exchanges == "compiled"
    return PublishedAccelerator(
        name=cluster.name,
        peak_flops_per_s=rates,
        arithmetic_efficiency=ARITHMETIC_EFFICIENCY,
        memory_bandwidth_bytes_per_s=chip.memory_bandwidth_bytes_per_s,
        memory_efficiency=MEMORY_EFFICIENCY,
        memory_bytes=chip.memory_bytes,
        intra_node_bytes_per_s=near.bandwidth_bytes_per_s / 2,
        inter_node_bytes_per_s=far.bandwidth_bytes_per_s / 2,
        usd_per_hour=cluster.usd_per_accelerator_s * HOUR_S,
        node_size=1 if compiled else near.domain_size,
        hop_latency_s=near.latency_s if compiled else None,
    )


def weight_bits(precision: Precision) -> int:
    """Return 16, 8 or 4: the paper's three sizes of a weight."""
    return next(bits for bits in (16, 8, 4) if precision.weights.bits >= bits)
