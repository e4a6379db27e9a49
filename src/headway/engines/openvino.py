"""OpenVINO GenAI as a pipeline: chunked prefill beside decodes, random weights, on a CPU.

openvino-genai and gguf come from the extra ``openvino`` and are imported when one is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headway.engines.batch import Piece, Work
from headway.engines.openvino_engine import OpenVinoEngine

REASONS = {"LENGTH": "length", "STOP": "stop"}
RUNNING = "RUNNING"


class OpenVinoPipeline:
    """The model of ``config`` (a dense Llama or Mistral), filled with random numbers.

    Raises:
        MissingExtraError: openvino-genai or gguf is not installed.
        UnsupportedError: the model is of another kind.

    """

    def __init__(
        self,
        config: Mapping[str, object],
        name: str,
        max_num_batched_tokens: int = 512,
        threads: int = 1,
        cache_gb: int = 1,
    ) -> None:
        """Build the model in memory."""
        built = OpenVinoEngine(
            config,
            name,
            threads=threads,
            cache_gb=cache_gb,
            max_num_batched_tokens=max_num_batched_tokens,
            chunked_prefill=True,
        )
        self._genai, self._openvino, self._pipeline = built.genai, built.openvino, built.pipeline
        self._handles: dict[int, Any] = {}

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache in use, 0 to 1."""
        return float(self._pipeline.get_metrics().cache_usage) / 100

    def has_room(self, work: Work) -> bool:
        """See `headway.engines.batch.Pipeline`."""
        return True

    def add(self, work: Work) -> None:
        """See `headway.engines.batch.Pipeline`."""
        settings = self._genai.GenerationConfig()
        settings.max_new_tokens = work.max_tokens
        settings.ignore_eos = work.ignore_eos
        settings.do_sample = False
        prompt = self._openvino.Tensor(np.array([work.prompt], dtype=np.int64))
        self._handles[work.number] = self._pipeline.add_request(work.number, prompt, settings)

    def cancel(self, number: int) -> None:
        """See `headway.engines.batch.Pipeline`."""
        handle = self._handles.pop(number, None)
        if handle is not None:
            handle.cancel()

    def step(self) -> list[Piece]:
        """See `headway.engines.batch.Pipeline`."""
        self._pipeline.step()
        pieces: list[Piece] = []
        for number, handle in list(self._handles.items()):
            tokens: list[int] = []
            reason = ""
            while handle.can_read():
                for output in handle.read().values():
                    tokens += output.generated_ids
                    reason = REASONS.get(output.finish_reason.name, "")
            if reason:
                del self._handles[number]
            if tokens or reason:
                pieces.append(Piece(number, tuple(tokens), reason))
        return pieces
