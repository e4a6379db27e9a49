"""Rows that a database did not take before the end, kept in a file until the next start.

The first line names the columns, every other is a row; a last line that is cut off is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from headway.record.entry import COLUMNS, Row


def write_spill(path: Path, rows: Iterable[Row]) -> None:
    """Add ``rows`` to the file at ``path``, readable for its owner alone; raise `OSError`."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
        if not file.tell():
            file.write(json.dumps(COLUMNS) + "\n")
        for row in rows:
            file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_spill(path: Path) -> list[Row]:
    """Return the rows in the file at ``path``; none if there is no such file.

    Raises:
        ValueError: its rows have other columns than ours.

    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []
    rows: list[Row] = []
    for number, line in enumerate(lines):
        try:
            values = json.loads(line)
        except ValueError:
            continue  # cut off
        if number == 0 and values != list(COLUMNS):
            raise ValueError("it has the columns of another Headway")
        if number and isinstance(values, list) and len(values) == len(COLUMNS):
            rows.append(tuple(values))
    return rows
