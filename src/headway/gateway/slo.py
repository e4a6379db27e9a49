"""Objectives of a request, from its headers."""

from __future__ import annotations

from headway.errors import InputError
from headway.workload.request import Slo

_HEADERS = (
    (b"x-headway-ttft-ms", "ttft_s"),
    (b"x-slo-ttft-ms", "ttft_s"),
    (b"x-headway-tpot-ms", "tpot_s"),
    (b"x-slo-tpot-ms", "tpot_s"),
    (b"x-headway-deadline-ms", "e2e_s"),
)
LEAST_MS, MOST_MS = 1e-3, 1e9
NONE = Slo()


def read_slo(headers: dict[bytes, bytes], classes: tuple[tuple[str, Slo], ...]) -> Slo:
    """The objectives that ``headers`` name: a class, and single ones that replace its.

    Raises:
        InputError: an unknown class, or an objective that is no number of milliseconds above 0.
    """
    name = headers.get(b"x-headway-class")
    found = NONE
    if name:
        known = dict(classes)
        text = name.decode("latin-1")
        if text not in known:
            raise InputError(f"unknown x-headway-class {text[:40]!r}; known are {sorted(known)}")
        found = known[text]
    given: dict[str, float] = {}
    for header, what in _HEADERS:
        value = headers.get(header)
        if value is not None and what not in given:
            given[what] = _milliseconds(header, value)
    if not given:
        return found
    return Slo(
        given.get("ttft_s", found.ttft_s),
        given.get("tpot_s", found.tpot_s),
        given.get("e2e_s", found.e2e_s),
    )


def _milliseconds(header: bytes, value: bytes) -> float:
    name = header.decode()
    try:
        number = float(value)
    except ValueError:
        raise InputError(f"{name} must be milliseconds, not {value[:40]!r}") from None
    if not LEAST_MS <= number <= MOST_MS:
        raise InputError(
            f"{name} must be from {LEAST_MS:g} to {MOST_MS:g} milliseconds, not {number:g}"
        )
    return number / 1e3
