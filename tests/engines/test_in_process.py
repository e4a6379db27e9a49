"""Real engines with random weights: their laws, where their extras are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest

from headway.engines.openvino_engine import OpenVinoEngine
from headway.engines.transformers_engine import TransformersEngine
from headway.engines.vllm_engine import VllmEngine
from headway.errors import HeadwayError, MissingExtraError, UnsupportedError
from headway.measure.harness import Engine, measure
from headway.measure.measurement import Clock, Load, RequestLoad, StepLoad

TINY: dict[str, object] = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}
NEEDS = {
    "transformers": ("torch", "transformers"),
    "openvino": ("openvino_genai", "gguf"),
    "vllm": ("vllm",),
}
BUILD: dict[str, Callable[[dict[str, object], str], Engine]] = {
    "transformers": TransformersEngine,
    "openvino": OpenVinoEngine,
    "vllm": VllmEngine,
}


def start(name: str) -> Engine:
    missing = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
    build = BUILD[name]
    if missing:
        with pytest.raises(MissingExtraError, match=r"pip install 'headway\["):
            build(TINY, "tiny")
        pytest.skip(f"needs {' and '.join(missing)}")
    return build(TINY, "tiny")


@pytest.mark.parametrize("name", list(BUILD))
def test_more_work_takes_longer(name: str) -> None:
    engine = start(name)
    loads: list[Load] = [
        RequestLoad(1, 16, 1),
        RequestLoad(1, 512, 1),
        RequestLoad(1, 16, 24),
        RequestLoad(4, 16, 24),
        StepLoad(1, 1, 64),
        StepLoad(16, 1, 64),
    ]
    measurements = measure(engine, loads, trials=4, warmup=2, clock=Clock.PROCESS_CPU, repeats=4)
    short, long, answer, _, step, _ = (m.envelope.floor_s.expected for m in measurements)
    assert long > 2 * short
    assert answer > 4 * step
    # A batch costs more than one and less than all of them apart.
    alone, together = measurements[2].envelope.floor_s, measurements[3].envelope.floor_s
    assert alone.lower < together.upper
    assert together.lower < 4 * alone.upper
    one, many = measurements[4].envelope.floor_s, measurements[5].envelope.floor_s
    assert one.lower < many.upper
    assert many.lower < 16 * one.upper
    assert measurements[0].setup.threads == 1
    for m in measurements:
        assert m.peak_memory_bytes is None or m.peak_memory_bytes > 1e7


def test_what_an_engine_cannot_do_is_said() -> None:
    with pytest.raises(HeadwayError, match=r"extra|optional|cannot build"):
        TransformersEngine({**TINY, "model_type": "no-such-model"}, "tiny")
    with pytest.raises(HeadwayError, match=r"optional|no device"):
        TransformersEngine(TINY, "tiny", device="cuda")
    with pytest.raises((UnsupportedError, MissingExtraError)):
        OpenVinoEngine({**TINY, "model_type": "mixtral"}, "tiny")
