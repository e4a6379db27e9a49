"""How far a chip is from all that an engine was measured on, as a deviation of its log-times."""

from __future__ import annotations

import re
from collections.abc import Set
from functools import cache

from headway.hardware.stacks import stacks

# Argonne's vLLM on Intel Max took four to nine times what other vendors' coefficients say. Of two
# lines of one vendor nothing was measured side by side, but Radeon has none of Instinct's kernels.
STRANGE_VENDOR, STRANGE_LINE = 1.0, 0.4


def strangeness(vendor: str, family: str, engine: str, measured: Set[tuple[str, str]]) -> float:
    """Return 0 where times carry over, else the deviation that is due besides all others.

    They carry over to a vendor that the engine was measured on, within a line of chips (cdna2 and
    cdna3 are of one, rdna3 is not), or anywhere where two lines of the vendor were measured: then
    it is learned how far lines lie apart.

    Args:
        vendor: who makes the chip.
        family: of the chip.
        engine: by name.
        measured: level and group of all that was measured.

    """
    if ("vendor, engine", f"{vendor}, {engine}") not in measured:
        return STRANGE_VENDOR
    families = {group for level, group in measured if level == "family"} & _families(vendor)
    lines = {_line(group) for group in families}
    return 0.0 if len(lines) != 1 or _line(family) in lines else STRANGE_LINE


def _line(family: str) -> str:
    """Return a family's name without its generation: cdna of cdna3."""
    return re.sub(r"[\d.]+(-\w+)?$", "", family)


@cache
def _families(vendor: str) -> frozenset[str]:
    """Return all families of a vendor that any engine runs on."""
    return frozenset().union(*(stack.families for stack in stacks() if stack.vendor == vendor))
