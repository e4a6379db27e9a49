"""How long five small language models take per static batch on one CPU thread, by its size.

Weights are random and shapes are the published ones, so that steps take their real time and say
nothing sensible. A batch takes ``fixed + request x size`` for its prompts (of an encoder, or of a
decoder alone) and ``token + token_request x size`` for every step. Both are timed at sizes 1 to 8,
the least of several rounds counts, and a line is fitted to either. The spread between rounds and
what the lines miss is printed beside them. `headway.papers.rt_lm_2023` has the figures.

It needs torch and transformers, which Headway does not:

    python benchmarks/rt_lm_step_times.py [MODEL ...]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Headway does without them, and so do its checks.
torch: Any = import_module("torch")
hf: Any = import_module("transformers")

SIZES, ROUNDS, STEPS, PROMPT = (1, 2, 4, 8), 4, 6, 32

# Shapes as the models' config.json gives them.
MODELS: dict[str, Callable[[], Any]] = {
    "DialoGPT": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(n_embd=1024, n_layer=24, n_head=16, vocab_size=50257)
    ),
    "GODEL": lambda: hf.T5ForConditionalGeneration(
        hf.T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12, vocab_size=32128)
    ),
    "BlenderBot": lambda: hf.BlenderbotForConditionalGeneration(
        hf.BlenderbotConfig(
            d_model=1280,
            encoder_layers=2,
            decoder_layers=12,
            encoder_attention_heads=32,
            decoder_attention_heads=32,
            encoder_ffn_dim=5120,
            decoder_ffn_dim=5120,
            vocab_size=8008,
        )
    ),
    "BART": lambda: hf.BartForConditionalGeneration(
        hf.BartConfig(
            d_model=768,
            encoder_layers=6,
            decoder_layers=6,
            encoder_attention_heads=12,
            decoder_attention_heads=12,
            encoder_ffn_dim=3072,
            decoder_ffn_dim=3072,
            vocab_size=50265,
        )
    ),
    "T5": lambda: hf.T5ForConditionalGeneration(
        hf.T5Config(d_model=512, d_ff=2048, num_layers=6, num_heads=8, vocab_size=32128)
    ),
}


def batch_s(model: Any, size: int) -> tuple[float, float]:
    """Return CPU seconds of the prompts of ``size`` requests, and of one decode step of all."""
    prompts = torch.randint(5, 5000, (size, PROMPT))
    token = torch.full((size, 1), 7)
    began_s = time.thread_time()

    # The prompts: by the encoder where there is one, and the first decode step fills its caches.
    if model.config.is_encoder_decoder:
        encoded = model.get_encoder()(prompts)
        state = {"encoder_outputs": encoded, "decoder_input_ids": token}
        out = model(**state, use_cache=True)
    else:
        out = model(prompts, use_cache=True)
    prompts_s = time.thread_time() - began_s

    # Steps with one token per sequence.
    began_s = time.thread_time()
    for _ in range(STEPS):
        if model.config.is_encoder_decoder:
            out = model(**state, past_key_values=out.past_key_values, use_cache=True)
        else:
            out = model(token, past_key_values=out.past_key_values, use_cache=True)
    return prompts_s, (time.thread_time() - began_s) / STEPS


def line(seconds: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the constant, the part per sequence, and the largest relative miss of a line."""
    slope, constant = np.polyfit(SIZES, seconds, 1, w=1 / seconds)
    miss = float(np.max(np.abs(constant + slope * np.array(SIZES) - seconds) / seconds))
    return float(constant), float(slope), miss


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    print("model          prompts of one  further   step of one  further  spread  lines miss")
    result: dict[str, dict[str, float]] = {}
    for name in sys.argv[1:] or MODELS:
        model = MODELS[name]().eval()
        num_parameters = sum(p.numel() for p in model.parameters())
        batch_s(model, 1)
        rounds = np.array([[batch_s(model, size) for size in SIZES] for _ in range(ROUNDS)])

        least = rounds.min(axis=0)
        spread = float(np.median(rounds.max(axis=0) / least)) - 1
        fixed_s, request_s, prompt_miss = line(least[:, 0])
        token_s, token_request_s, step_miss = line(least[:, 1])
        one_s, step_s = fixed_s + request_s, token_s + token_request_s
        print(
            f"{name:<12} {1e3 * one_s:9.1f} ms {request_s / one_s:10.1%} {1e3 * step_s:10.1f} ms "
            f"{token_request_s / step_s:8.1%} {spread:7.0%} {max(prompt_miss, step_miss):8.0%}",
            flush=True,
        )
        result[name] = {
            "parameters": num_parameters,
            "fixed_s": round(fixed_s, 5),
            "request_s": round(request_s, 5),
            "token_s": round(token_s, 5),
            "token_request_s": round(token_request_s, 5),
        }
        del model
    print(json.dumps({"benchmark": "rt_lm_step_times", "one_thread": result}))


if __name__ == "__main__":
    main()
