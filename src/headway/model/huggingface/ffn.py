"""The feed-forward block of each layer, from a `config.json`."""

from __future__ import annotations

from collections.abc import Callable

from headway.model.ffn import DenseFfn, Ffn, MoeFfn
from headway.model.huggingface.fields import MAX_LAYERS, Fields

Ffns = Callable[[Fields, int], tuple[Ffn | None, ...]]
SparseLayers = Callable[[Fields, int], tuple[bool, ...]]
Width = Callable[[Fields], int]


def dense(*, gated: bool = True, times_hidden: int | None = None) -> Ffns:
    """Return a reader of one dense block for all layers.

    ``times_hidden`` is its width in hidden sizes where the configuration states none.
    """

    def read(fields: Fields, num_layers: int) -> tuple[Ffn, ...]:
        if times_hidden is None:
            width = fields.size("intermediate_size")
        else:
            width = fields.size_or("intermediate_size", times_hidden * fields.size("hidden_size"))
        return (DenseFfn(width, gated),) * num_layers

    return read


def halved(fields: Fields, num_layers: int) -> tuple[Ffn, ...]:
    """Qwen of 2023: ``intermediate_size`` counts gate and up together."""
    return (DenseFfn(fields.size("intermediate_size") // 2),) * num_layers


def dbrx(fields: Fields, num_layers: int) -> tuple[Ffn, ...]:
    """DBRX: experts in every layer, described in ``ffn_config``."""
    own = fields.part("ffn_config")
    experts = MoeFfn(
        num_experts=own.size("moe_num_experts"),
        num_experts_per_token=own.size("moe_top_k"),
        intermediate_size=own.size("ffn_hidden_size"),
    )
    return (experts,) * num_layers


def beside_a_dense_block(fields: Fields, num_layers: int) -> tuple[Ffn, ...]:
    """Gemma 4: every token passes a dense block, and experts where ``enable_moe_block``."""
    width = fields.size("intermediate_size")
    num_experts = fields.size_or("num_experts", 0, minimum=0)
    experts_per_token = fields.size_or("top_k_experts", 0, minimum=0)
    expert_width = fields.size_or("moe_intermediate_size", 0, minimum=0)
    if not fields.flag("enable_moe_block", False):
        return (DenseFfn(width),) * num_layers
    return (MoeFfn(num_experts, experts_per_token, expert_width, width),) * num_layers


def routed(
    sparse_layers: SparseLayers,
    *,
    width: str = "moe_intermediate_size",
    shared: Width | None = None,
    dense_width: str = "intermediate_size",
) -> Ffns:
    """Return a reader of experts in ``sparse_layers``, dense blocks elsewhere, all gated.

    ``width`` and ``dense_width`` name the fields, ``shared`` reads the summed width of the experts
    that every token passes through.
    """

    def read(fields: Fields, num_layers: int) -> tuple[Ffn, ...]:
        sparse = sparse_layers(fields, num_layers)
        experts = MoeFfn(
            num_experts=fields.size("num_experts"),
            num_experts_per_token=_experts_per_token(fields),
            intermediate_size=fields.size(width),
            shared_intermediate_size=shared(fields) if shared else 0,
        )

        fields.raw(dense_width)  # given even where no layer is dense
        if all(sparse):
            return (experts,) * num_layers
        block = DenseFfn(fields.size(dense_width))
        return tuple(experts if is_sparse else block for is_sparse in sparse)

    return read


def _experts_per_token(fields: Fields) -> int:
    per_token, num_experts = fields.size("num_experts_per_tok"), fields.size("num_experts")
    if per_token > num_experts:
        raise fields.error(
            f"num_experts_per_tok ({per_token}) exceeds the number of experts ({num_experts})"
        )
    return per_token


def everywhere(fields: Fields, num_layers: int) -> tuple[bool, ...]:
    """Mixtral, gpt-oss, MiniMax-M2: every layer is routed."""
    return (True,) * num_layers


def after_first_k_dense(fields: Fields, num_layers: int) -> tuple[bool, ...]:
    """DeepSeek, GLM, Kimi: from ``first_k_dense_replace`` on, every ``moe_layer_freq``-th layer."""
    first = fields.size_or("first_k_dense_replace", 0, minimum=0)
    kinds = fields.per_layer("mlp_layer_types", num_layers, "dense", "sparse")
    if isinstance(fields.raw("moe_layer_freq"), list):
        flags = fields.numbers("moe_layer_freq")
        if len(flags) != num_layers:
            raise fields.error(f"'moe_layer_freq' must list {num_layers} entries, one per layer")
        return tuple(flag == 1 for flag in flags)

    interval = fields.size_or("moe_layer_freq", 1)
    if kinds is not None:
        return tuple(kind == "sparse" for kind in kinds)
    return tuple(layer >= first and layer % interval == 0 for layer in range(num_layers))


def every_sparse_step(fields: Fields, num_layers: int) -> tuple[bool, ...]:
    """Qwen: every ``decoder_sparse_step``-th layer, but not those in ``mlp_only_layers``."""
    step = fields.size_or("decoder_sparse_step", 1)
    dense_layers = frozenset(fields.numbers("mlp_only_layers"))
    return tuple(
        (layer + 1) % step == 0 and layer not in dense_layers for layer in range(num_layers)
    )


def interleaved(fields: Fields, num_layers: int) -> tuple[bool, ...]:
    """Llama 4: every ``interleave_moe_layer_step``-th layer, unless ``moe_layers`` lists them."""
    step = fields.size("interleave_moe_layer_step", maximum=MAX_LAYERS)
    moe_layers = fields.numbers("moe_layers")
    if fields.has("moe_layers"):
        return tuple(layer in moe_layers for layer in range(num_layers))
    return tuple((layer + 1) % step == 0 for layer in range(num_layers))


def from_start_index(fields: Fields, num_layers: int) -> tuple[bool, ...]:
    """ERNIE 4.5: every ``moe_layer_interval``-th layer, from ``moe_layer_start_index`` on."""
    first, interval = (
        fields.size("moe_layer_start_index", minimum=0),
        fields.size("moe_layer_interval"),
    )
    last = fields.size_or("moe_layer_end_index", -1, minimum=-1)
    end = num_layers - 1 if last == -1 else last
    return tuple(
        first <= layer <= end and (layer + 1) % interval == 0 for layer in range(num_layers)
    )


def counted_shared(fields: Fields) -> int:
    """Return the width of ``n_shared_experts``, each as wide as a routed one."""
    return fields.size_or("n_shared_experts", 0, minimum=0) * fields.size("moe_intermediate_size")


def one_shared(fields: Fields) -> int:
    """Llama 4: one shared expert as wide as a routed one."""
    return fields.size("intermediate_size")


def width_at(key: str) -> Width:
    """Return a reader of the width at ``key``, 0 where it is missing."""
    return lambda fields: fields.size_or(key, 0, minimum=0)
