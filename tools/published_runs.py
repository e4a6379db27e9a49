"""What the benchmarks told their engines, beyond the columns of the collection.

From the scripts of InferenceMAX and InferenceX that started them (SemiAnalysis, Apache-2.0,
``benchmarks/dsr1_*_b200*.sh`` and ``dsr1_*_trt*.sh`` of November 2025).
"""

from __future__ import annotations

from headway.steptime.deployment import EngineLimits

# SGLang on Blackwell looks at new requests every ten decode steps, or thirty from 16 users on.
POLLING_CHIPS = ("b200", "b300")
POLL_STEPS, BUSY_POLL_STEPS, BUSY_USERS = 10, 30, 16
# TensorRT-LLM lets prompts wait until every attention group has one.
BALANCE_STEPS = 60


def limits_of_run(engine: str, model: str, hardware: str, concurrency: float) -> EngineLimits:
    """Return what the engine of a run of InferenceX was told."""
    if model != "deepseek-r1":
        return EngineLimits()
    if engine == "sglang" and hardware in POLLING_CHIPS:
        return EngineLimits(poll_steps=BUSY_POLL_STEPS if concurrency >= BUSY_USERS else POLL_STEPS)
    return EngineLimits(balance_steps=BALANCE_STEPS if engine == "tensorrt-llm" else 0)
