"""Base units: the text a person writes becomes a number in SI units, once, at the edge.

Inside, every quantity is in seconds, bytes, flops, joules, watts or dollars, and its name
says which. GB is 10^9 bytes, GiB is 2^30.

The readers below take the text and ``what`` it is, which their messages name, and raise
`InputError` for a text that they cannot read.
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
DAY_S = 24 * HOUR_S
YEAR_S = 365 * DAY_S
MONTH_H = YEAR_S / 12 / HOUR_S  # 730 hours

_NUMBER = re.compile(
    r"^\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*)\s*$", re.IGNORECASE
)
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
# Of a time, "5m" is five minutes, as everywhere but in numbers.
_SECONDS = {
    "ns": 1e-9,
    "us": US,
    "ms": 1e-3,
    "": 1.0,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": HOUR_S,
    "d": DAY_S,
}
_MAX_LIST_LENGTH = 10_000


def parse_number(text: str, what: str) -> float:
    """Return the number in ``text``, which may end in k, M, G, T, Ki, Mi or Gi (``128k``, ``1e6``).

    Raises:
        InputError: ``text`` is no finite number.

    """
    number = _scaled(text, _SCALES)
    if number is None:
        raise InputError(f"{what} must be a number such as 4096, 128k or 1e6, not {text[:40]!r}")
    if not math.isfinite(number):
        raise InputError(f"{what} must be finite, not {text[:40]!r}")
    return number


def parse_positive(text: str, what: str, zero: bool = False) -> float:
    """Return the number in ``text``, above 0.

    Raises:
        InputError: ``text`` is no number, not above 0 (which ``zero`` allows), or above 1e15.

    """
    number = parse_number(text, what)
    return 0.0 if zero and number == 0 else check_positive(number, what, maximum=1e15)


def parse_count(text: str, what: str, minimum: int = 1, maximum: int = 10**15) -> int:
    """Return the whole number in ``text`` (``256``, ``4k``), from ``minimum`` to ``maximum``.

    Raises:
        InputError: ``text`` is no whole number, or out of this range.

    """
    number = parse_number(text, what)
    if not minimum <= number <= maximum or number != int(number):
        shown_maximum = f"{maximum:,}" if maximum < 10**9 else f"{maximum:g}"
        raise InputError(
            f"{what} must be a whole number from {minimum} to {shown_maximum}, "
            f"not {text.strip()[:40]!r}"
        )
    return int(number)


def parse_counts(text: str, what: str, minimum: int = 1, maximum: int = 10**9) -> tuple[int, ...]:
    """Return the whole numbers of a list (``1,8,64``) or of doublings (``1..256``), or of both.

    A range keeps both of its ends: ``1..6`` is 1, 2, 4, 6. A number that comes twice is kept once.

    Raises:
        InputError: a part is no whole number, out of range, or a range falls.

    """
    counts: list[int] = []
    for part in text.split(","):
        first_text, dots, last_text = part.partition("..")
        first = parse_count(first_text, what, minimum, maximum)
        last = parse_count(last_text, what, minimum, maximum) if dots else first
        if last < first:
            raise InputError(f"{what} must rise from the first to the last, not {part.strip()!r}")

        # Doublings from the first up to the last; 0 has no double, so it is followed by 1.
        while first < last:
            counts.append(first)
            first = max(2 * first, 1)
        counts.append(last)

    if len(counts) > _MAX_LIST_LENGTH:
        raise InputError(f"{what} has {len(counts)} values, and at most {_MAX_LIST_LENGTH} work")
    return tuple(dict.fromkeys(counts))


def parse_numbers(text: str, what: str) -> tuple[float, ...]:
    """Return the numbers of a list (``0.5,1,2``), each once.

    Raises:
        InputError: a part is no finite number.

    """
    return tuple(dict.fromkeys(parse_number(part, what) for part in text.split(",")))


def parse_time_s(text: str, what: str, maximum_s: float = YEAR_S, zero: bool = False) -> float:
    """Return the seconds in ``text``: ``500ms``, ``2s``, ``5m``, ``8h``, or seconds without a unit.

    Raises:
        InputError: ``text`` is no time, not above 0 (which ``zero`` allows), or above
            ``maximum_s``.

    """
    seconds = _scaled(text, _SECONDS)
    if seconds is None:
        raise InputError(f"{what} must be a time such as 500ms, 2s or 5m, not {text[:40]!r}")
    if zero and seconds == 0:
        return 0.0
    return check_positive(seconds, f"{what} in seconds", maximum_s)


def parse_fraction(text: str, what: str) -> float:
    """Return the fraction in ``text``, from 0 to 1: ``0.3`` or ``30%``.

    Raises:
        InputError: ``text`` is no fraction.

    """
    stripped = text.strip()
    number = _scaled(stripped.removesuffix("%"), {"": 1.0})
    fraction = number / 100 if number is not None and stripped.endswith("%") else number

    if fraction is None or not 0 <= fraction <= 1:
        raise InputError(f"{what} must be a fraction such as 0.3 or 30%, not {text[:40]!r}")
    return fraction


def parse_monthly_fraction(text: str, what: str) -> float:
    """Return the fraction of each month in ``text``: ``0.08``, ``8%`` or ``8%/month``."""
    number_text, slash, per = text.partition("/")
    if slash and per.strip().lower() != "month":
        raise InputError(f"{what} is per month, such as 8% or 8%/month, not {text[:40]!r}")
    return parse_fraction(number_text, what)


def parse_usd_per_hour(text: str, what: str) -> float:
    """Return the dollars per hour in ``text``: ``50``, ``$50``, ``50usd/h`` or ``36k usd/month``.

    Raises:
        InputError: ``text`` is no sum of dollars above 0, or per something else.

    """
    amount, slash, per = text.strip().lower().partition("/")
    hours = {"h": 1.0, "hour": 1.0, "month": MONTH_H}.get(per.strip())
    if slash and hours is None:
        raise InputError(f"{what} is written 50, 50usd/h or 36k usd/month, not {text[:40]!r}")
    number = amount.strip().removeprefix("$").removesuffix("usd")
    return parse_positive(number, what) / (hours or 1.0)


def parse_rate_rps(text: str, what: str) -> float:
    """Return the requests per second in ``text``: ``10``, ``10/s``, ``600/min`` or ``4k/h``.

    Raises:
        InputError: ``text`` is no rate above 0.

    """
    number_text, slash, per = text.partition("/")
    unit_s = _SECONDS.get(per.strip().lower()) if slash else 1.0
    if unit_s is None or (slash and not per.strip()):
        raise InputError(f"{what} must be a rate such as 10, 10/s or 600/min, not {text[:40]!r}")
    return check_positive(parse_number(number_text, what) / unit_s, f"{what} per second")


def parse_rates_rps(text: str, what: str) -> tuple[float, ...]:
    """Return the rates of a list (``5,20``) or of doublings (``5..40``), or of both.

    Raises:
        InputError: a part is no rate, or a range falls.

    """
    rates: list[float] = []
    for part in text.split(","):
        first_text, dots, last_text = part.partition("..")
        rate = parse_rate_rps(first_text, what)
        last = parse_rate_rps(last_text, what) if dots else rate
        if last < rate:
            raise InputError(f"{what} must rise from the first to the last, not {part.strip()!r}")
        while rate < last * (1 - 1e-9):
            rates.append(rate)
            rate *= 2
        rates.append(last)
    return tuple(dict.fromkeys(rates))


def check_positive(value: float, what: str, maximum: float = 1e18) -> float:
    """Return ``value``; raise `InputError` unless it is finite, above 0 and at most ``maximum``."""
    if not (math.isfinite(value) and 0 < value <= maximum):
        limit = f"{maximum:,.0f}" if maximum < 1e9 else f"{maximum:g}"
        raise InputError(f"{what} must be above 0 and at most {limit}, not {value:g}")
    return value


def check_fraction(value: float, what: str) -> float:
    """Return ``value``; raise `InputError` unless it lies in (0, 1]."""
    if not 0 < value <= 1:
        raise InputError(f"{what} must be above 0 and at most 1, not {value:g}")
    return value


def _scaled(text: str, scales: dict[str, float]) -> float | None:
    """Return the number in ``text`` times the scale of its suffix; ``None`` where it has none."""
    match = _NUMBER.match(text)
    scale = scales.get(match.group(2).lower()) if match else None
    if match is None or scale is None:
        return None
    return float(match.group(1).replace("_", "")) * scale
