"""Everything that Headway raises on purpose, with the exit code of the command line.

    HeadwayError
      InputError              what the user gave cannot be used                              2
        UnknownNameError      no such catalogue entry; carries the nearest names             2
        DoesNotFitError       the model exceeds the memory; carries the missing bytes        2
        UnsupportedError      the hardware or the model lacks what was asked for             2
      MissingError            something outside Headway is needed and not there              3
        MissingExtraError     an optional package; carries the command that installs it      3
        MissingServerError    a server that does not answer                                  3

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

    def __init__(
        self, kind: str, name: str, valid_names: Iterable[str], *, like: str | None = None
    ) -> None:
        """Compose the message from those of the ``valid_names`` that are nearest to ``name``.

        ``like`` is what counts of the name, where that is not all of it.
        """
        names = sorted(valid_names)
        text = (name if like is None else like).lower()[:80]
        self.nearest = tuple(get_close_matches(text, names, n=3, cutoff=0.5))

        hint = (
            f"did you mean {' or '.join(self.nearest)}?"
            if self.nearest
            else f"known are {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
        )
        short_name = name if len(name) <= 80 else name[:77] + "..."
        super().__init__(f"unknown {kind} {short_name!r}; {hint}")


class DoesNotFitError(InputError):
    """The weights and the KV cache exceed the memory of every allowed cluster."""

    def __init__(self, message: str, missing_bytes: float) -> None:
        """Keep ``missing_bytes``, the shortfall of the least short cluster."""
        self.missing_bytes = missing_bytes
        super().__init__(message)


class UnsupportedError(InputError):
    """The hardware or the model lacks what was asked for, and nothing is guessed instead."""


class MissingError(HeadwayError):
    """Something outside Headway is needed and not there."""


class MissingExtraError(MissingError):
    """An optional package is not installed; ``command`` installs it."""

    def __init__(self, purpose: str, extra: str) -> None:
        """Name the ``purpose`` that needs the package, and the ``extra`` that brings it."""
        self.command = f"pip install 'headway[{extra}]'"
        super().__init__(f"{purpose} needs an optional package: {self.command}")


class MissingServerError(MissingError):
    """A server that is needed does not answer."""

    def __init__(self, purpose: str, url: str, cause: str) -> None:
        """Name the ``purpose`` that needs the server at ``url``, and why it does not answer."""
        self.url = url
        super().__init__(f"{purpose} needs a server at {url}, which does not answer: {cause}")


def reason(error: Exception) -> str:
    """Return what went wrong, without the number and the path that an `OSError` adds."""
    return getattr(error, "strerror", None) or str(error)


def need(module: str, purpose: str, extra: str) -> None:
    """Raise `MissingExtraError` unless ``module`` is installed: ask before importing its users."""
    if find_spec(module) is None:
        raise MissingExtraError(purpose, extra)
