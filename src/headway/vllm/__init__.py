"""Our orders inside vLLM: ``vllm serve MODEL --scheduler-cls headway.vllm.Scheduler``.

The policy objects are those of `headway.schedule`, as in the simulator and the gateway. What vLLM
brings (`headway.vllm.scheduler`) is imported when it is asked for, so that this room can be looked
at without vLLM.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["Scheduler", "register"]


def register() -> None:
    """Check the version of vLLM, once a process: vLLM calls this through its plug-ins."""
    import_module("headway.vllm.version").check()


def __getattr__(name: str) -> Any:
    if name == "Scheduler":
        return import_module("headway.vllm.scheduler").Scheduler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
