"""What vLLM is told; it is started by hand only, since it takes gigabytes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from headway.engines.tiny import TINY_RANDOM, find_config
from headway.engines.vllm import command, environment, write_model
from headway.errors import InputError, UnknownNameError


def test_without_vllm_it_says_what_would_work(tmp_path: Path) -> None:
    if importlib.util.find_spec("vllm") is not None:
        line = command(tmp_path, "tiny", "127.0.0.1", 8000, 4, 256)
        assert str(tmp_path) in line
        return
    with pytest.raises(InputError, match="use --runtime openvino"):
        command(tmp_path, "tiny", "127.0.0.1", 8000, 4, 256)


def test_its_tokenizer_covers_the_vocabulary(tmp_path: Path) -> None:
    write_model(tmp_path, TINY_RANDOM)
    tree = json.loads((tmp_path / "tokenizer.json").read_text())
    numbers = sorted(tree["model"]["vocab"].values())
    assert numbers == list(range(4096))
    assert json.loads((tmp_path / "config.json").read_text()) == dict(TINY_RANDOM)
    with pytest.raises(InputError, match="259 tokens"):
        write_model(tmp_path, {"vocab_size": 100})


def test_threads_and_memory_reach_it() -> None:
    found = environment(2, 3)
    assert (found["OMP_NUM_THREADS"], found["VLLM_CPU_KVCACHE_SPACE"]) == ("2", "3")


def test_models_are_found_by_name() -> None:
    assert find_config("tiny-random") == (TINY_RANDOM, "tiny-random")
    assert find_config("llama-3.2-1b")[1] == "llama-3.2-1b"
    with pytest.raises(UnknownNameError, match="llama-3"):
        find_config("llama-3.2-1c")
