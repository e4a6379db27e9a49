"""A GGUF file with random weights and a byte-level tokenizer, for engines that load nothing else.

The package gguf comes from the extra ``openvino`` and is imported here only.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import InputError, MissingExtraError, UnsupportedError

KINDS = ("llama", "mistral")
PRINTABLE = 94  # letters of ASCII
# Beginning, end and padding, after the bytes.
SPECIAL = ("<|bos|>", "<|eos|>", "<|pad|>")


def write_random_gguf(path: Path, config: Mapping[str, object], name: str) -> int:
    """Write the model of ``config`` to ``path`` in fp16; return its vocabulary size.

    Raises:
        MissingExtraError: gguf is not installed.
        UnsupportedError: the model is no dense Llama or Mistral.

    """
    try:
        gguf: Any = importlib.import_module("gguf")
    except ImportError:
        raise MissingExtraError("writing a GGUF file", "openvino") from None
    if config.get("model_type") not in KINDS:
        raise UnsupportedError(
            f"a random GGUF is written for {' and '.join(KINDS)} only, and {name} is "
            f"{config.get('model_type')!r}; profile it with --runtime transformers"
        )

    # The sizes, and whether they make a model.
    hidden, layers, ffn = (
        _size(config, key, name)
        for key in ("hidden_size", "num_hidden_layers", "intermediate_size")
    )
    heads = _size(config, "num_attention_heads", name)
    kv_heads = _size(config, "num_key_value_heads", name, heads)
    vocab = _size(config, "vocab_size", name)
    if vocab < 256 + len(SPECIAL) or hidden % heads:
        raise UnsupportedError(
            f"a random GGUF needs 259 tokens or more and heads that divide hidden_size; {name} has "
            f"{vocab} and {hidden}/{heads}"
        )
    head = hidden // heads

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(_size(config, "max_position_embeddings", name, 4096))
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    writer.add_file_type(1)  # fp16
    _add_tokenizer(writer, vocab)

    # Tensors: small random matrices, and norms of 1.
    random = np.random.default_rng(0)

    def matrix(tensor: str, rows: int, columns: int) -> None:
        values = random.standard_normal((rows, columns), dtype=np.float32) * 0.02
        writer.add_tensor(f"{tensor}.weight", values.astype(np.float16))

    def vector(tensor: str) -> None:
        writer.add_tensor(f"{tensor}.weight", np.ones(hidden, dtype=np.float32))

    matrix("token_embd", vocab, hidden)
    for i in range(layers):
        vector(f"blk.{i}.attn_norm")
        matrix(f"blk.{i}.attn_q", heads * head, hidden)
        matrix(f"blk.{i}.attn_k", kv_heads * head, hidden)
        matrix(f"blk.{i}.attn_v", kv_heads * head, hidden)
        matrix(f"blk.{i}.attn_output", hidden, heads * head)
        vector(f"blk.{i}.ffn_norm")
        matrix(f"blk.{i}.ffn_gate", ffn, hidden)
        matrix(f"blk.{i}.ffn_up", ffn, hidden)
        matrix(f"blk.{i}.ffn_down", hidden, ffn)
    vector("output_norm")
    matrix("output", vocab, hidden)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return vocab


def _add_tokenizer(writer: Any, vocab: int) -> None:
    letters = byte_letters()
    tokens = token_names(vocab)
    pairs = [name for name in tokens[len(letters) : -len(SPECIAL)] if len(name) == 2]
    types = [1] * (vocab - len(SPECIAL)) + [3] * len(SPECIAL)

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in pairs])
    writer.add_bos_token_id(vocab - 3)
    writer.add_eos_token_id(vocab - 2)
    writer.add_pad_token_id(vocab - 1)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")


def token_names(vocab: int) -> list[str]:
    """Return all tokens: bytes, pairs of printable ones, unused ones, special ones."""
    letters = byte_letters()
    plain = letters[:PRINTABLE]
    num_others = vocab - len(SPECIAL) - len(letters)
    pairs = [a + b for a in plain for b in plain][:num_others]
    unused = [f"<|unused{i}|>" for i in range(num_others - len(pairs))]
    return [*letters, *pairs, *unused, *SPECIAL]


def byte_order() -> list[int]:
    """Return the bytes in the order of their tokens: printable ones first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*printable, *(byte for byte in range(256) if byte not in printable)]


def byte_letters() -> list[str]:
    """Return the letter by which GPT-2's tokenizer spells each byte, in `byte_order`."""
    order = byte_order()
    num_printable = order.index(0)
    printable = [chr(byte) for byte in order[:num_printable]]
    return printable + [chr(256 + i) for i in range(256 - num_printable)]


def _size(config: Mapping[str, object], key: str, name: str, default: int | None = None) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"config.json of {name}: {key!r} must be a whole number of at least 1")
    return value
