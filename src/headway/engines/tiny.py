"""The models that an engine on a laptop is tried with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headway.errors import InputError
from headway.model.catalogue import find_entry
from headway.model.huggingface.config import load_config

# Few wide layers: a step is arithmetic and memory traffic, as on larger machines, and not overhead.
TINY_RANDOM: Mapping[str, object] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 4096,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "bos_token_id": 4093,
    "eos_token_id": 4094,
    "pad_token_id": 4095,
}


def find_config(name: str) -> tuple[Mapping[str, object], str]:
    """The `config.json` called ``name``: ``tiny-random``, a catalogue entry, or a path; its name.

    Raises:
        UnknownNameError: no such model.
        InputError: the file cannot be used.

    """
    if name == "tiny-random":
        return TINY_RANDOM, name
    if "/" in name or name.endswith(".json") or Path(name).is_dir():
        path = Path(name)
        return load_config(path), (path.parent if path.name == "config.json" else path).stem
    entry = find_entry(name)
    return entry.config, entry.name


def whole(config: Mapping[str, object], key: str) -> int:
    """The whole number ``key`` of ``config``; raise `InputError` if it has none."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"config.json: {key!r} must be a whole number of at least 1")
    return value
