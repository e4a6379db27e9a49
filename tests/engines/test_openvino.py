"""OpenVINO GenAI as a pipeline, where the extra is installed: the same laws on a real engine."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from tests.engines.conftest import Served, ask
from tests.engines.test_batch import answered

from headway.engines.batch import Work
from headway.engines.openvino import OpenVinoPipeline
from headway.engines.profiled import ProfiledPipeline
from headway.engines.steplog import LoggedPipeline, as_steps
from headway.errors import MissingExtraError, UnsupportedError
from headway.measure.harness import measure
from headway.measure.measurement import JoinLoad, Load, RequestLoad, Setup, StepLoad

TINY: dict[str, object] = {
    "model_type": "llama", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
    "max_position_embeddings": 1024, "tie_word_embeddings": False,
}  # fmt: skip
BUDGET = 64


def made() -> OpenVinoPipeline:
    missing = [m for m in ("openvino_genai", "gguf") if importlib.util.find_spec(m) is None]
    if missing:
        with pytest.raises(MissingExtraError, match=r"pip install 'headway\[openvino\]'"):
            OpenVinoPipeline(TINY, "tiny")
        pytest.skip(f"needs {' and '.join(missing)}: pip install 'headway[openvino]'")
    return OpenVinoPipeline(TINY, "tiny", BUDGET)


def test_every_answer_has_its_tokens_and_every_step_is_as_told() -> None:
    # The log raises where the engine batches otherwise than the rule says.
    logged = LoggedPipeline(made(), BUDGET)
    random = np.random.default_rng(0)
    works = [
        Work(i, tuple(random.integers(0, 256, p).tolist()), int(o), ignore_eos=True)
        for i, (p, o) in enumerate(random.integers([1, 1], [90, 12], (30, 2)))
    ]
    pieces = answered(logged, works, 6)
    for work in works:
        own = [piece for piece in pieces if piece.number == work.number]
        assert sum(len(piece.tokens) for piece in own) == work.max_tokens
        assert [piece.reason for piece in own if piece.reason] == ["length"]
    steps, _ = as_steps(logged.rows)
    assert float(steps.total_sampled.sum()) == sum(work.max_tokens for work in works)
    assert float(steps.total_tokens.max()) <= BUDGET


def test_it_serves_and_ends_what_nobody_waits_for(served: Served) -> None:
    pipeline = made()
    port = served.engine(pipeline, max_num_seqs=2)
    asked = {"prompt": "every letter is a token", "max_tokens": 5}
    tree = json.loads(ask(port, "/v1/completions", asked, x_engine_tokens="4")[1])
    assert tree["usage"] == {"prompt_tokens": 23, "completion_tokens": 4, "total_tokens": 27}
    assert tree["choices"][0]["text"]


def test_it_is_profiled_as_it_serves() -> None:
    engine = ProfiledPipeline(made(), Setup("tiny", "OpenVINO GenAI", "cpu", threads=1), BUDGET)
    loads: list[Load] = [
        StepLoad(1, 1, 16), JoinLoad(4, 16, 8, 6), RequestLoad(1, 8, 2), StepLoad(4, 1, 16),
    ]  # fmt: skip
    step, join, request, _ = (m.min_s for m in measure(engine, loads, trials=3))
    assert join > 4 * step  # seven passes
    assert request > step
    with pytest.raises(UnsupportedError, match="one decode step"):
        engine.prepare(StepLoad(1, 4, 4))
    engine.clear()
