"""Base units: the text a person writes becomes a number in SI units, once, at the edge.

Inside, every quantity is in seconds, bytes, flops, joules, watts or dollars, and its name
says which. GB is 10^9 bytes, GiB is 2^30.
"""

from __future__ import annotations

import math
import re

from headway.errors import InputError

GB = 1e9
KIB, MIB, GIB = 2.0**10, 2.0**20, 2.0**30
TFLOPS = 1e12
US = 1e-6
HOUR_S = 3600.0

_SCALES = {
    "": 1.0,
    "k": 1e3,
    "m": 1e6,
    "g": 1e9,
    "b": 1e9,
    "t": 1e12,
    "ki": KIB,
    "mi": MIB,
    "gi": GIB,
}
_NUMBER = re.compile(
    r"^\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*)\s*$", re.IGNORECASE
)


def parse_number(text: str, what: str) -> float:
    """Return the number in ``text``, which may end in k, M, G, T, Ki, Mi or Gi (``128k``, ``1e6``).

    Raises:
        InputError: ``text`` is no finite number; ``what`` names it in the message.

    """
    match = _NUMBER.match(text)
    scale = _SCALES.get(match.group(2).lower()) if match else None
    if match is None or scale is None:
        raise InputError(f"{what} must be a number such as 4096, 128k or 1e6, not {text[:40]!r}")
    number = float(match.group(1).replace("_", "")) * scale
    if not math.isfinite(number):
        raise InputError(f"{what} must be finite, not {text[:40]!r}")
    return number


def check_positive(value: float, what: str, most: float = 1e18) -> float:
    """Return ``value``; raise `InputError` unless it is finite, above 0 and at most ``most``."""
    if not (math.isfinite(value) and 0 < value <= most):
        limit = f"{most:,.0f}" if most < 1e9 else f"{most:g}"
        raise InputError(f"{what} must be above 0 and at most {limit}, not {value:g}")
    return value


def check_fraction(value: float, what: str) -> float:
    """Return ``value``; raise `InputError` unless it lies in (0, 1]."""
    if not 0 < value <= 1:
        raise InputError(f"{what} must be above 0 and at most 1, not {value:g}")
    return value
