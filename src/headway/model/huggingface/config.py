"""From a Hugging Face `config.json` to a `ModelArchitecture`.

Strict on purpose: what is not understood is refused by name, so that no estimate rests on a guess.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from headway.errors import InputError, UnsupportedError, reason
from headway.model.architecture import LayerGroup, ModelArchitecture
from headway.model.attention import LatentAttention, StateSpace
from headway.model.huggingface.families import FAMILIES
from headway.model.huggingface.family import GENERIC, Family
from headway.model.huggingface.fields import MAX_LAYERS, Fields
from headway.model.huggingface.vectors import is_on
from headway.user_file import excerpt, read_json, read_toml

_LANGUAGE_PARTS = ("text_config", "llm_config", "language_config")
# A multimodal wrapper states these for its language part too.
_INHERITED = ("tie_word_embeddings", "quantization_config", "torch_dtype", "dtype")


def read_config(path: str | Path) -> ModelArchitecture:
    """Return the architecture in ``path``, a `config.json` or a folder that holds one.

    Raises:
        InputError: there is no such file, or it is no usable configuration.

    """
    file = config_file(path)
    name = file.parent.name or file.stem if file.name == "config.json" else file.stem
    text_name = os.fsencode(name).decode("utf-8", "replace")  # a file's name need not be text
    return architecture_from_config(load_config(file), text_name)


def load_config(path: str | Path) -> dict[str, object]:
    """Return the JSON object in ``path``, a `config.json` or a folder that holds one.

    Raises:
        InputError: there is no such file, it is above 10 MB (most have 2 kB, one that lists
            every quantized matrix 3 MB), or it is no JSON object.

    """
    config = read_json(config_file(path), "a model's config.json")
    if not isinstance(config, dict):
        raise InputError(f"{excerpt(str(path))} must hold a JSON object, not {excerpt(config)}")
    return config


def config_file(path: str | Path) -> Path:
    """Return the file that ``path`` names, or its `config.json` where it is a folder."""
    try:
        return Path(path, "config.json") if Path(path).is_dir() else Path(path)
    except (OSError, ValueError) as error:  # too long a name, or a null character in it
        raise InputError(f"{excerpt(str(path))} cannot be read: {reason(error)}") from None


def architecture_from_config(config: Mapping[str, object], name: str) -> ModelArchitecture:
    """Return the architecture of the language part of ``config``, to be called ``name``.

    Raises:
        InputError: a field is missing or out of range.
        UnsupportedError: the family, or a field that may change the work, is not understood.

    """
    part = language_part(config)
    family = _family(part, name)
    fields = Fields(part, name, family.common_names, family.defaults)
    _check_fixed_fields(fields, family)

    # One group per layer, then alike ones together.
    num_layers = _num_layers(fields)
    hidden_size, vocab_size = fields.size("hidden_size"), fields.size("vocab_size")
    attentions, ffns = family.attentions(fields, num_layers), family.ffns(fields, num_layers)
    layers = [
        LayerGroup(1, attention, ffn, family.vectors.in_layer(fields, hidden_size, attention, ffn))
        for attention, ffn in zip(attentions, ffns, strict=True)
    ]

    max_context = fields.size_or_none("max_position_embeddings")
    architecture = ModelArchitecture(
        name=name,
        hidden_size=hidden_size,
        vocab_size=vocab_size,
        layers=tuple(replace(group, count=count) for group, count in Counter(layers).items()),
        tied_embeddings=_has_tied_embeddings(fields, family),
        parallel_blocks=is_on(family.parallel, fields),
        learned_positions=_learned_positions(fields, family, max_context),
        mtp_layers=_mtp_layers(fields, layers, hidden_size),
        max_context_tokens=max_context,
        vector_params=family.vectors.outside(hidden_size, vocab_size),
    )

    # Every reader has taken its fields: one that is left over may change the work.
    kind = "model_type" if family is not GENERIC else "unknown model_type"
    fields.refuse_unread(f"{kind} {excerpt(part['model_type'])}")
    return architecture


def language_part(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return the language model inside a multimodal wrapper, or ``config`` itself."""
    for key in _LANGUAGE_PARTS:
        inner = config.get(key)
        if isinstance(inner, dict):
            inherited = {k: config[k] for k in _INHERITED if config.get(k) is not None}
            return {**inherited, **{k: v for k, v in inner.items() if v is not None}}
    return config


def _family(config: Mapping[str, object], name: str) -> Family:
    where, model_type = f"config.json of {name}", config.get("model_type")
    if model_type is None:
        raise InputError(f"{where}: 'model_type' is missing")
    if not isinstance(model_type, str) or not model_type:
        raise InputError(
            f"{where}: 'model_type' must be a word such as 'llama', not {excerpt(model_type)}"
        )

    family = FAMILIES.get(model_type, GENERIC)
    refusal = _refusal(model_type) if family is GENERIC else None
    if refusal is not None:
        raise UnsupportedError(
            f"{where}: model_type {model_type!r} is not supported, because {refusal}"
        )
    if config.get("is_encoder_decoder") or config.get("add_cross_attention"):
        raise UnsupportedError(f"{where}: models with an encoder are not supported")
    if family is GENERIC and config.get("hidden_act", "silu") not in ("silu", "swish", "swiglu"):
        raise UnsupportedError(
            f"{where}: model_type {excerpt(model_type)} is not known, and with "
            f"hidden_act {excerpt(config['hidden_act'])} its feed-forward block cannot be read off"
        )
    return family


def _refusal(model_type: str) -> str | None:
    """Return why a family is refused, or ``None`` for one that nobody has looked at."""
    for group in read_toml(Path(__file__).with_name("refused.toml"))["family"]:
        if model_type in group["model_types"]:
            return str(group["because"])
    return None


def _num_layers(fields: Fields) -> int:
    kinds = fields.raw("layers_block_type")  # Nemotron 3 Ultra leaves the number out
    if isinstance(kinds, list) and kinds and not fields.has("num_hidden_layers"):
        return len(kinds)
    return fields.size("num_hidden_layers", maximum=MAX_LAYERS)


def _check_fixed_fields(fields: Fields, family: Family) -> None:
    for key, only in family.must_be.items():
        value = fields.raw(key)
        if value is not None and value != only:
            raise fields.unsupported(
                f"{key!r} is only understood as {only!r}, not {excerpt(value)}"
            )
    for key in family.ignored:
        fields.raw(key)


def _has_tied_embeddings(fields: Fields, family: Family) -> bool:
    if family.tied is None and not fields.has("tie_word_embeddings"):
        raise fields.error("'tie_word_embeddings' is missing, and this model_type has no default")
    return fields.flag("tie_word_embeddings", bool(family.tied))


def _learned_positions(fields: Fields, family: Family, max_context: int | None) -> int:
    if family.position_offset is None:
        return 0
    if max_context is None:
        raise fields.error("'max_position_embeddings' is missing")
    return max_context + family.position_offset


def _mtp_layers(
    fields: Fields, layers: list[LayerGroup], hidden_size: int
) -> tuple[LayerGroup, ...]:
    # DeepSeek, GLM and MiMo; Qwen3.5; MiniMax-M2.
    num_blocks = fields.size_or("num_nextn_predict_layers", 0, minimum=0)
    num_blocks += fields.size_or("mtp_num_hidden_layers", 0, minimum=0)
    num_modules = fields.size_or("num_mtp_modules", 0, minimum=0)
    num_modules *= fields.size_or("mtp_transformer_layers", 1)
    if fields.flag("use_mtp", True):
        num_blocks += num_modules

    if num_blocks > MAX_LAYERS:
        raise fields.error(f"{num_blocks} multi-token-prediction layers are too many")
    if not num_blocks:
        return ()

    # Each block repeats the last whole layer (with an indexer of its own: GLM-5.2, with attention:
    # Nemotron 3) and adds three norms: of the hidden state, of the embedding, and before the head.
    last = next((group for group in reversed(layers) if _is_whole(group)), layers[-1])
    return (replace(last, vector_params=last.vector_params + 3 * hidden_size),) * num_blocks


def _is_whole(group: LayerGroup) -> bool:
    attention = group.attention
    borrows_index = isinstance(attention, LatentAttention) and attention.borrows_index
    is_hybrid_part = group.ffn is None or isinstance(attention, StateSpace)
    return not borrows_index and not is_hybrid_part
