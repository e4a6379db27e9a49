"""OpenVINO GenAI with continuous batching and random weights, on a CPU.

openvino-genai and gguf come from the extra ``openvino`` and are imported here only.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headway.engines.random_gguf import write_random_gguf
from headway.engines.stepped import SteppedEngine
from headway.errors import MissingExtraError
from headway.measure.measurement import Setup, this_host
from headway.measure.meter import ProcessMemory

MAX_TOKENS = 1 << 16


class OpenVinoEngine(SteppedEngine):
    """One model in one process.

    Args:
        config: the content of a `config.json`.
        name: of the model, for reports.
        threads: of the CPU.
        cache_gb: memory of the KV cache.
        max_num_batched_tokens: of a step.
        chunked_prefill: prompts join decoding sequences, as far as the step's tokens go.

    Raises:
        MissingExtraError: openvino-genai or gguf is not installed.
        UnsupportedError: the model is no dense Llama or Mistral.

    """

    name = "OpenVINO GenAI"
    max_step_tokens = MAX_TOKENS

    def __init__(
        self,
        config: Mapping[str, object],
        name: str,
        *,
        threads: int = 1,
        cache_gb: int = 1,
        max_num_batched_tokens: int = MAX_TOKENS,
        chunked_prefill: bool = False,
    ) -> None:
        """Write the model to a file that lives as long as loading takes, and load it."""
        try:
            openvino: Any = importlib.import_module("openvino")
            genai: Any = importlib.import_module("openvino_genai")
        except ImportError:
            raise MissingExtraError("profiling with OpenVINO GenAI", "openvino") from None

        limits = genai.SchedulerConfig()
        limits.cache_size = cache_gb
        limits.max_num_batched_tokens = max_num_batched_tokens
        limits.max_num_seqs = self.max_sequences
        limits.dynamic_split_fuse = chunked_prefill
        limits.enable_prefix_caching = False

        # Whoever starts the engine says on which core it runs.
        properties = {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            write_random_gguf(path, config, name)
            self.pipeline: Any = genai.ContinuousBatchingPipeline(
                str(path), limits, "CPU", properties
            )

        self.openvino, self.genai = openvino, genai
        self.peak_memory = ProcessMemory()
        self._random = np.random.default_rng(0)
        self._handles: list[Any] = []
        self._num_requests = 0
        self.setup = Setup(
            model=name,
            engine=f"OpenVINO GenAI {genai.__version__}",
            device="cpu",
            dtype="fp16 GGUF",
            threads=threads,
            host=this_host(),
            config=dict(config),
        )

    def step(self) -> None:
        """See `SteppedEngine`."""
        self.pipeline.step()

    def has_work(self) -> bool:
        """See `SteppedEngine`."""
        return bool(self.pipeline.has_non_finished_requests())

    def add(self, prompt_tokens: int, output_tokens: int) -> None:
        """See `SteppedEngine`."""
        settings = self.genai.GenerationConfig()
        settings.max_new_tokens = output_tokens
        settings.ignore_eos = True
        settings.do_sample = False

        # A request ends when nobody holds its handle any more.
        if not self.has_work():
            self._handles.clear()
        tokens = self._random.integers(0, 256, (1, prompt_tokens), dtype=np.int64)
        self._num_requests += 1
        tensor = self.openvino.Tensor(tokens)
        self._handles.append(self.pipeline.add_request(self._num_requests, tensor, settings))
