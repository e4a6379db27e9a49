"""An append-only record that survives the end of its writer: one JSON object per line, fsynced.

A line that was torn by a kill is dropped when the file is opened again; all before it stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from headway.errors import InputError

Entry = Mapping[str, object]


class Ledger:
    """The file at ``path``: what it held when it was opened, and a place to add to."""

    def __init__(self, path: Path) -> None:
        """Open or create ``path``; raise `InputError` where it is no ledger or not writable."""
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            content = path.read_bytes()
            complete_bytes = content.rfind(b"\n") + 1
            if complete_bytes < len(content):
                os.ftruncate(self._file, complete_bytes)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from None

        try:
            self.entries = _entries(content[:complete_bytes], path)
        except InputError:
            os.close(self._file)
            raise

    def add(self, entry: Entry) -> None:
        """Append ``entry``; it is on disk when this returns."""
        line = json.dumps(dict(entry), allow_nan=False).encode() + b"\n"
        os.write(self._file, line)
        os.fsync(self._file)
        self.entries.append(json.loads(line))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_ledger(path: Path) -> list[dict[str, object]]:
    """Return the entries of the file at ``path``, without a torn last line.

    Raises:
        InputError: it cannot be read, or is no ledger; names the first bad line.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    return _entries(content[: content.rfind(b"\n") + 1], path)


def _entries(content: bytes, path: Path) -> list[dict[str, object]]:
    entries = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            raise InputError(f"{path}, line {number}: not JSON; is this a ledger?") from None
        if not isinstance(entry, dict):
            raise InputError(f"{path}, line {number}: not a JSON object; is this a ledger?")
        entries.append(entry)
    return entries


def is_ledger(path: Path) -> bool:
    """Return whether the file at ``path`` begins as a ledger does."""
    try:
        with path.open("rb") as stream:
            entry = json.loads(stream.readline())
    except (OSError, ValueError):
        return False
    return isinstance(entry, dict) and entry.get("kind") == "start"
