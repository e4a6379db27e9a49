"""Hugging Face transformers with random weights, built from a `config.json`: no download.

torch and transformers come from the extra ``torch`` and are imported here only. Greedy decoding by
hand, so that a step is one forward pass and nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from headway.errors import InputError, MissingExtraError, UnsupportedError
from headway.measure.harness import Run
from headway.measure.measurement import Load, RequestLoad, Setup, StepLoad, this_host
from headway.measure.meter import CudaMemory, PeakMemory, ProcessMemory


class TransformersEngine:
    """One model in one process on one device.

    Args:
        config: the content of a `config.json`.
        name: of the model, for reports.
        device: "cpu", "cuda" or "cuda:1".
        dtype: as torch calls it: "float32", "bfloat16", "float16".
        threads: on a CPU; 1 where the machine is shared.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        UnsupportedError: transformers does not know the architecture, or the device is not there.

    """

    def __init__(
        self,
        config: Mapping[str, object],
        name: str,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int = 1,
    ) -> None:
        """Build the model; its weights are random, which costs the same time as trained ones."""
        try:
            torch: Any = importlib.import_module("torch")
            transformers: Any = importlib.import_module("transformers")
        except ImportError:
            raise MissingExtraError("profiling with transformers", "torch") from None
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UnsupportedError(f"there is no device {device!r} that torch can use here")
        if not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise InputError(f"dtype {dtype!r} is none of torch's, such as float32 or bfloat16")
        self._torch, self._device = torch, torch.device(device)
        if self._device.type == "cpu":
            torch.set_num_threads(threads)
        torch.manual_seed(0)

        # Random weights in the shape of the configuration.
        fields = {key: value for key, value in config.items() if key != "quantization_config"}
        try:
            shape = transformers.AutoConfig.for_model(fields.pop("model_type", None), **fields)
            with self._device:
                self._model: Any = transformers.AutoModelForCausalLM.from_config(
                    shape, dtype=getattr(torch, dtype)
                )
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UnsupportedError(f"transformers cannot build {name}: {error}") from None
        self._model.eval()
        self._vocab_size = int(shape.get_text_config().vocab_size)

        self.peak_memory: PeakMemory = ProcessMemory()
        if self._device.type == "cuda":
            self.peak_memory = CudaMemory(torch, self._device)
            device = f"{device} {torch.cuda.get_device_name(self._device)}"
        self.setup = Setup(
            model=name,
            engine=f"transformers {transformers.__version__}, torch {torch.__version__}",
            device=device,
            dtype=dtype,
            threads=threads if self._device.type == "cpu" else None,
            host=this_host(),
            config=dict(config),
        )

    def prepare(self, load: Load) -> Run:
        """See `headway.measure.harness.Engine`."""
        if isinstance(load, RequestLoad):
            prompts = self._tokens(load.batch, load.prompt_tokens)
            passes = self._passes(prompts, load.output_tokens)
            if self._device.type == "cuda":  # which would wait for every pass
                return lambda: self._finish(list(passes))
            return lambda: passes
        if not isinstance(load, StepLoad):
            raise UnsupportedError(f"this engine times whole requests and single steps, not {load}")

        cache = None
        if load.computed_tokens:
            cache = self._forward(self._tokens(load.batch, load.computed_tokens), None)[1]
        scheduled = self._tokens(load.batch, load.scheduled_tokens)
        # transformers adds to the cache that it is given, so that a second call has a token more.
        return lambda: self._finish(self._forward(scheduled, cache)[0])

    def stream(self, prompt_tokens: int, output_tokens: int) -> Iterator[None]:
        """Run one request; yield as each of its tokens is there."""
        for token in self._passes(self._tokens(1, prompt_tokens), output_tokens):
            self._finish(token)
            yield

    def _passes(self, prompts: Any, output_tokens: int) -> Iterator[Any]:
        """Yield the tokens of each pass as soon as it is on its way."""
        token, cache = self._forward(prompts, None)
        yield token
        for _ in range(output_tokens - 1):
            token, cache = self._forward(token, cache)
            yield token

    def _forward(self, tokens: Any, cache: Any) -> tuple[Any, Any]:
        with self._torch.inference_mode():
            output = self._model(
                input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            return output.logits[:, -1:].argmax(-1), output.past_key_values

    def _tokens(self, batch: int, length: int) -> Any:
        return self._torch.randint(0, self._vocab_size, (batch, length), device=self._device)

    def _finish(self, _: Any) -> None:
        if self._device.type == "cuda":
            self._torch.cuda.synchronize(self._device)
