"""An engine's version, as a factor on all that was fitted, and the least that its steps take.

The table and what was measured lie in ``engine_versions.toml``.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import InputError
from headway.hardware.stacks import Engine, version_number
from headway.steptime.calibration import Calibration
from headway.steptime.kernel_coefficients import NAMES
from headway.steptime.work import Array

# Of a time that shrinks, seconds shrink and rates grow; what is neither stays.
_NEITHER = ("tile_rows", "unhidden", "held_steps")
_SIGNS = np.array(
    [0.0 if name in _NEITHER else 1.0 if name.endswith("_s") else -1.0 for name in NAMES]
)


def at_version(calibration: Calibration, engine: Engine) -> Calibration:
    """Return ``calibration`` as it would be of the version of ``engine``; unchanged without one.

    Raises:
        InputError: nobody knows when that version came out.

    """
    log_time = log_time_of(engine)
    if not log_time:
        return calibration
    level = ("engine", engine.name)
    factors: dict[tuple[str, str], Array] = dict(calibration.factors)
    factors[level] = factors.get(level, np.zeros(len(NAMES))) + log_time * _SIGNS
    return replace(calibration, factors=factors)


def log_time_of(engine: Engine) -> float:
    """Return the logarithm of a version's time over that of the runs of the fit, 0 for none.

    A version between two of the table is of the month of the older one.
    """
    table = _table()
    if engine.version is None:
        return 0.0
    if engine.name not in table:
        raise InputError(
            f"versions of {engine.name} were never compared; leave the version out, as in "
            f"--engine {engine.name}"
        )

    releases = {version_number(v): month for v, month in table[engine.name]["release"].items()}
    version = version_number(engine.version)
    earlier = [number for number in sorted(releases) if number <= version]
    month = releases[earlier[-1]] if earlier else str(table["first"])
    month = min(max(month, str(table["first"])), str(table["last"]))
    months = _months(month) - _months(str(table["fitted_around"]))
    return float(table[engine.name]["log_time_per_month"]) * months


def _months(text: str) -> int:
    day = date.fromisoformat(f"{text}-01")
    return 12 * day.year + day.month


@cache
def fastest_step_s(engine: str) -> float:
    """Return the shortest step of ``engine`` that was ever measured, in seconds; 0 if unknown."""
    row = _table().get(engine, {})
    return float(row.get("fastest_step_ms", 0.0)) * 1e-3


@cache
def _table() -> dict[str, Any]:
    path = Path(__file__).with_name("engine_versions.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))
