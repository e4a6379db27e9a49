"""OpenVINO GenAI with continuous batching and random weights, on a CPU.

openvino-genai and gguf come from the extra ``openvino`` and are imported here only. A step of the
engine is a step of the profile: the requests are admitted first, and then one step is timed.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headway.engines.random_gguf import write_random_gguf
from headway.errors import InputError, MissingExtraError, UnsupportedError
from headway.measure.harness import MOST_REPEATS, Timed
from headway.measure.measurement import Load, RequestLoad, Setup, StepLoad, this_host
from headway.measure.peak_memory import ProcessMemory

MOST_TOKENS = 1 << 16


class OpenVinoEngine:
    """One model in one process; ``cache_gb`` is the memory of its KV cache.

    ``chunked_prefill`` lets prompts join decoding sequences, as far as the step's tokens go.

    Raises:
        MissingExtraError: openvino-genai or gguf is not installed.
        UnsupportedError: the model is no dense Llama or Mistral.

    """

    def __init__(
        self,
        config: Mapping[str, object],
        name: str,
        threads: int = 1,
        cache_gb: int = 1,
        max_num_batched_tokens: int = MOST_TOKENS,
        chunked_prefill: bool = False,
    ) -> None:
        """Write the model to a file that lives as long as loading takes, and load it."""
        try:
            openvino: Any = importlib.import_module("openvino")
            genai: Any = importlib.import_module("openvino_genai")
        except ImportError:
            raise MissingExtraError("profiling with OpenVINO GenAI", "openvino") from None
        self.openvino, self.genai = openvino, genai
        limits = genai.SchedulerConfig()
        limits.cache_size = cache_gb
        limits.max_num_batched_tokens = max_num_batched_tokens
        limits.max_num_seqs = 256
        limits.dynamic_split_fuse = chunked_prefill
        limits.enable_prefix_caching = False
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            write_random_gguf(path, config, name)
            # Whoever starts the engine says on which core it runs.
            wishes = {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
            self.pipeline: Any = genai.ContinuousBatchingPipeline(str(path), limits, "CPU", wishes)
        self.peak_memory = ProcessMemory()
        self._source = np.random.default_rng(0)
        self._num_asked = 0
        self.setup = Setup(
            model=name,
            engine=f"OpenVINO GenAI {genai.__version__}",
            device="cpu",
            dtype="fp16 GGUF",
            threads=threads,
            host=this_host(),
            config=dict(config),
        )

    def prepared(self, load: Load) -> Timed:
        """See `headway.measure.harness.Engine`."""
        if isinstance(load, RequestLoad):
            self._ask(load.batch, load.prompt_tokens, load.output_tokens)
            return self._passes
        if not isinstance(load, StepLoad):
            raise UnsupportedError(f"this engine times whole requests and single steps, not {load}")
        if not load.computed_tokens:
            self._ask(load.batch, load.scheduled_tokens, 1)
            return self._drain
        if load.scheduled_tokens > 1:
            raise UnsupportedError(
                "OpenVINO GenAI takes no half of a prompt: a step begins with nothing cached or "
                f"adds one token, unlike {load}"
            )
        # A step in the middle: the first after a prefill and the last of a request do more.
        self._ask(load.batch, max(load.computed_tokens - 1, 1), 3 + MOST_REPEATS)
        self.pipeline.step()
        self.pipeline.step()
        return self._step

    def _step(self) -> None:
        self.pipeline.step()

    def _ask(self, batch: int, prompt_tokens: int, output_tokens: int) -> None:
        if batch * prompt_tokens > MOST_TOKENS:
            raise InputError(f"a step of this engine takes {MOST_TOKENS} tokens at most")
        self._drain()
        settings = self.genai.GenerationConfig()
        settings.max_new_tokens = output_tokens
        settings.ignore_eos = True
        settings.do_sample = False
        self._asked = []
        for _ in range(batch):
            tokens = self._source.integers(0, 256, (1, prompt_tokens), dtype=np.int64)
            self._num_asked += 1
            tensor = self.openvino.Tensor(tokens)
            # A request ends when nobody holds its handle any more.
            self._asked.append(self.pipeline.add_request(self._num_asked, tensor, settings))

    def _passes(self) -> Iterator[None]:
        while self.pipeline.has_non_finished_requests():
            self.pipeline.step()
            yield

    def _drain(self) -> None:
        for _ in self._passes():
            pass
