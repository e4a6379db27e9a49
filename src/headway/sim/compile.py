"""The one place where Python functions become machine code."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """``function`` as machine code: compiled on the first call and kept on disk for later runs."""
    return _machine_code(function, forceinline=True)


def rarely(function: F) -> F:
    """Return what `compiled` does, for what seldom happens: it is called, not copied to callers."""
    return _machine_code(function, forceinline=False)


def _machine_code(function: F, forceinline: bool) -> F:
    settings: Any = numba.config
    compiler: Any = numba.njit  # its stubs know neither private options nor what it returns
    before = settings.CACHE_DIR
    settings.CACHE_DIR = before or _cache_folder()
    try:
        # Nothing is allocated here, so references need no counting, which would cost four times
        # what the simulation does; and calls would pass a dozen arrays by their parts.
        compile_it = compiler(
            cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=forceinline
        )
        machine_code: Any = compile_it(function)
        machine_code.get_call_template = _without_literals(machine_code.get_call_template)
        return cast(F, machine_code)
    finally:
        settings.CACHE_DIR = before


def _without_literals(template: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``template`` so that a literal 0 is a number: else its function is compiled twice."""

    def ask(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        kinds: Any = numba.types
        return template(
            tuple(map(kinds.unliteral, args)),
            {name: kinds.unliteral(kind) for name, kind in kws.items()},
        )

    return ask


@cache
def _cache_folder() -> str:
    """A folder of its own for every state of the sources.

    Numba looks only at the file of a function for changes, not at the functions that it calls,
    and an installed file may keep its date from one version to the next.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(home) / "headway" / f"sim-{digest.hexdigest()[:16]}")


@contextmanager
def announcing(after_s: float = 2.0) -> Iterator[None]:
    """Say on stderr that the simulator is being compiled, should the first call take so long."""
    if _announced:
        yield
        return
    timer = threading.Timer(0.0 if _first_time() else after_s, _say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _announced.append(True)


_announced: list[bool] = []


def _first_time() -> bool:
    return not any(Path(_cache_folder()).rglob("kernel.run-*.nbc"))


def _say() -> None:
    if not _announced:
        print(
            "headway: compiling the simulator; this happens once and takes about half a minute",
            file=sys.stderr,
            flush=True,
        )
