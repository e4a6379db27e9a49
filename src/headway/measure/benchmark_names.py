"""What results say that they measured, held against what a user says: a mix-up misleads for good.

Tools write names of their own ("meta-llama/Llama-3.1-8B-Instruct", "h200", "dynamo-trt"). One that
no catalogue knows cannot be compared; how many of each kind were compared is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from headway.errors import InputError, UnknownNameError
from headway.hardware import catalogue as hardware
from headway.measure.benchmark_files import Bench
from headway.model import catalogue as models
from headway.steptime.deployment import Deployment

# What tools call the engines; a client for any server ("openai") names none.
_ENGINE_WORDS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "trt": "tensorrt-llm",
    "trtllm": "tensorrt-llm",
    "tensorrt": "tensorrt-llm",
    "atom": "atom",
    "lmdeploy": "lmdeploy",
}


def check_names(bench: Bench, source: str, deployment: Deployment) -> None:
    """Raise `InputError` where ``bench`` of file ``source`` is of another deployment."""
    engine, tp = str(deployment.engine).partition("@")[0], int(deployment.parallelism.tp)
    compared = (
        ("engine", _engine(bench.engine), engine),
        ("model", _model(bench.model), deployment.model.name),
        ("on", _hardware(bench.hardware), deployment.cluster.name),
    )
    for option, measured, name in compared:
        # Something of the user's own has a name that no file can be held against.
        is_own = (option == "model" and name not in models.names()) or (
            option == "on" and name not in hardware.names()
        )
        if measured is not None and measured != name and not is_own:
            raise InputError(
                f"{source[:80]!r} was measured with {option} {measured}, not {name}: give "
                f"--{option} {measured}, or leave the file out"
            )

    if bench.tp is not None and bench.tp != tp:
        raise InputError(
            f"{source[:80]!r} was measured with tp {bench.tp}, not {tp}: give --tp {bench.tp}"
        )


def names_note(benches: Sequence[Bench]) -> str:
    """Return how many of the results said themselves what was measured."""
    models_named = sum(_model(bench.model) is not None for bench in benches)
    engines_named = sum(_engine(bench.engine) is not None for bench in benches)
    hardware_named = sum(_hardware(bench.hardware) is not None for bench in benches)
    return (
        f"of {len(benches)} results, {models_named} name a model that the catalogue knows, "
        f"{engines_named} an engine and {hardware_named} an accelerator, and these are yours; the "
        "rest is taken as you name it"
    )


def _model(text: str | None) -> str | None:
    try:
        return None if text is None else models.find_entry(text).name
    except UnknownNameError:
        return None


def _engine(text: str | None) -> str | None:
    words = re.split(r"[^a-z]+", (text or "").lower())
    return next((_ENGINE_WORDS[word] for word in words if word in _ENGINE_WORDS), None)


def _hardware(text: str | None) -> str | None:
    """Return the accelerator called ``text``, or ``text`` before its first sign: h200-nv, h200."""
    for name in ("" if text is None else text, *re.split(r"[-_ ]", text or "")[:1]):
        try:
            return hardware.find_entry(name).name
        except UnknownNameError:
            continue
    return None
