"""A real Envoy, in front of the fake engines and the gateway of `tests.gateway.conftest`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec

import pytest
from tests.gateway.conftest import live

__all__ = ["live"]

HAS_ENVOY = find_spec("envoy") is not None and find_spec("xds") is not None
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
PATIENCE_S = 20.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for ``condition``: an Envoy or a database takes its time on a busy machine."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")
