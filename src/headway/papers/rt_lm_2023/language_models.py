"""The five models of RT-LM on two platforms: how long a static batch takes, how long answers are.

The paper's own times were not to be had. The ``cpu`` times are ours: `benchmarks.rt_lm_step_times`
on one thread of a busy server, random weights of the published shapes. The ``gpu`` times per token
are slopes in the logs of QASlow, a harness of the paper's first author (DialoGPT, BART, T5). Both
are rough, and say so below.
"""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import UnknownNameError
from headway.sim.static_batch import BatchTime

GPU, CPU = "gpu", "cpu"
PLATFORMS = (GPU, CPU)

# A step on a GPU waits for kernels to be launched, so that a further sequence costs next to
# nothing: 1% of it is assumed, for steps as for prompts.
_FURTHER_ON_GPU = 0.01
UNCERTAINTY = (
    "cpu: step times are good to about 25%, and a further sequence, 16 to 36% of a step, to a "
    "factor of two (others: 8 to 16%)",
    "gpu: slopes of logs that explain a quarter to a half of the variance; GODEL and BlenderBot by "
    "their layers; a further sequence is assumed to cost 1% of a step",
)


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """One model.

    Attributes:
        name: as the paper calls it.
        mean_tokens: of an answer in a dialogue.
        gpu, cpu: the time of a batch.

    """

    name: str
    mean_tokens: float
    gpu: BatchTime
    cpu: BatchTime

    def batch_time(self, platform: str) -> BatchTime:
        """Return the time of a batch on ``platform``, "gpu" or "cpu"."""
        if platform not in PLATFORMS:
            raise UnknownNameError("platform", platform, PLATFORMS)
        return self.gpu if platform == GPU else self.cpu


def _on_gpu(prompts_s: float, step_s: float) -> BatchTime:
    """Return the time of a batch from that of one request."""
    return BatchTime(
        fixed_s=prompts_s * (1 - _FURTHER_ON_GPU),
        request_s=prompts_s * _FURTHER_ON_GPU,
        token_s=step_s * (1 - _FURTHER_ON_GPU),
        token_request_s=step_s * _FURTHER_ON_GPU,
    )


LANGUAGE_MODELS = (
    LanguageModel(
        name="DialoGPT",  # medium: 24 layers, 355 million parameters
        mean_tokens=45.0,
        # Its logs also have 0.60 s before the first token: where lengths saturate, a line through
        # them begins too high. BART's takes its place.
        gpu=_on_gpu(prompts_s=0.054, step_s=0.0047),
        cpu=BatchTime(fixed_s=0.229, request_s=0.358, token_s=0.0750, token_request_s=0.0428),
    ),
    LanguageModel(
        name="GODEL",  # base: T5's shape with 12 + 12 layers
        mean_tokens=20.0,  # assumed
        gpu=_on_gpu(prompts_s=0.089, step_s=0.0098),  # twice BART's decoder layers
        cpu=BatchTime(fixed_s=0.123, request_s=0.092, token_s=0.0473, token_request_s=0.0115),
    ),
    LanguageModel(
        name="BlenderBot",  # 400M: 2 + 12 layers
        mean_tokens=22.0,  # assumed
        gpu=_on_gpu(prompts_s=0.054, step_s=0.0098),  # twice BART's decoder layers
        cpu=BatchTime(fixed_s=0.136, request_s=0.092, token_s=0.0821, token_request_s=0.0245),
    ),
    LanguageModel(
        name="BART",  # base: 6 + 6 layers
        mean_tokens=13.0,
        gpu=_on_gpu(prompts_s=0.054, step_s=0.0049),
        cpu=BatchTime(fixed_s=0.059, request_s=0.053, token_s=0.0324, token_request_s=0.0066),
    ),
    LanguageModel(
        name="T5",  # small: 6 + 6 layers
        mean_tokens=14.0,
        gpu=_on_gpu(prompts_s=0.089, step_s=0.0051),
        cpu=BatchTime(fixed_s=0.044, request_s=0.025, token_s=0.0204, token_request_s=0.0040),
    ),
)


def find_language_models(names: str) -> tuple[LanguageModel, ...]:
    """Return the models whose ``names`` are given, comma-separated, whatever their case."""
    by_name = {model.name.lower(): model for model in LANGUAGE_MODELS}
    keys = [name.strip().lower() for name in names.split(",")]
    for name in keys:
        if name not in by_name:
            raise UnknownNameError("language model", name, [m.name for m in LANGUAGE_MODELS])
    return tuple(by_name[name] for name in keys)
