"""Everything that Headway raises on purpose.

    HeadwayError
      InputError            what the user gave cannot be used; exit code 2
        UnknownNameError    no such catalogue entry; carries the nearest names
        DoesNotFitError     the model exceeds the memory; carries the missing bytes
        UnsupportedError    the hardware or the model lacks what was asked for
      MissingExtraError     an optional dependency is not installed; carries the command

A message says what is wrong, what was given and what would work, in one sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec


class HeadwayError(Exception):
    """The root of every error that Headway raises on purpose."""


class InputError(HeadwayError, ValueError):
    """What the user gave cannot be used."""


class UnknownNameError(InputError):
    """A name that is in no catalogue."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Compose the message from the ``known`` names that are nearest to ``name``."""
        names = sorted(known)
        shown = name if len(name) <= 80 else name[:77] + "..."
        self.nearest = tuple(get_close_matches(name.lower()[:80], names, n=3, cutoff=0.5))
        hint = (
            f"did you mean {' or '.join(self.nearest)}?"
            if self.nearest
            else f"known are {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
        )
        super().__init__(f"unknown {kind} {shown!r}; {hint}")


class DoesNotFitError(InputError):
    """The weights and the KV cache exceed the memory of every allowed cluster."""

    def __init__(self, message: str, missing_bytes: float) -> None:
        """Keep ``missing_bytes``, the shortfall of the least short cluster."""
        self.missing_bytes = missing_bytes
        super().__init__(message)


class UnsupportedError(InputError):
    """The hardware or the model lacks what was asked for, and nothing is guessed instead."""


class MissingExtraError(HeadwayError):
    """An optional dependency is not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        """Name the command that installs ``extra``."""
        super().__init__(f"{purpose} needs an optional package: pip install 'headway[{extra}]'")


def reason(error: Exception) -> str:
    """What went wrong, without the number and the path that an `OSError` adds to its words."""
    return getattr(error, "strerror", None) or str(error)


def need(module: str, purpose: str, extra: str) -> None:
    """Raise `MissingExtraError` unless ``module`` is installed: ask before importing its users."""
    if find_spec(module) is None:
        raise MissingExtraError(purpose, extra)
