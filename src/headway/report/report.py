"""The one form in which answers leave Headway: versioned, strict JSON, read back by everything.

``--json``, the dashboard and later comparisons all use it. A row is a flat mapping whose keys name
their unit; a value that is not known is ``None``, never 0 and never NaN.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from errno import EACCES, EISDIR
from pathlib import Path
from secrets import token_hex

from headway.errors import InputError

VERSION = 1
Value = str | int | float | bool | None
Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Report:
    """An answer with the question it answers.

    Attributes:
        kind: which command made it ("frontier", "estimate", ...).
        title: one line for people.
        question: what was asked, defaults included, so that it can be asked again.
        rows: the answer, best first or in the order of the axis.
        marks: row numbers by what they are ("preferred", "cheapest", "fastest").
        notes: what a reader must know to use the numbers: assumptions, what was left out and why.
        sources: where the inputs come from, by input.
    """

    kind: str
    title: str
    question: Row
    rows: tuple[Row, ...]
    marks: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in (self.question, *self.rows):
            for key, value in row.items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise InputError(f"{key} of a {self.kind} report is {value}, not a number")
        for mark, number in self.marks.items():
            if not 0 <= number < len(self.rows):
                raise InputError(f"mark {mark!r} points at row {number} of {len(self.rows)}")

    def to_json(self) -> str:
        """The report as JSON text with a closing newline."""
        tree = {
            "headway_report": VERSION,
            "kind": self.kind,
            "title": self.title,
            "question": dict(self.question),
            "rows": [dict(row) for row in self.rows],
            "marks": dict(self.marks),
            "notes": list(self.notes),
            "sources": dict(self.sources),
        }
        return json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report; raise `InputError` unless ``text`` is one of this version."""
        try:
            tree = json.loads(text)
        except ValueError as error:
            raise InputError(f"not a report: the text is not JSON ({error})") from None
        if not isinstance(tree, dict) or tree.get("headway_report") != VERSION:
            raise InputError(
                f"not a report of version {VERSION}: write one with --json, or read this one with "
                "the Headway that wrote it"
            )
        try:
            return cls(
                str(tree["kind"]),
                str(tree["title"]),
                dict(tree["question"]),
                tuple(dict(row) for row in tree["rows"]),
                dict(tree["marks"]),
                tuple(str(note) for note in tree["notes"]),
                dict(tree["sources"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"damaged report: {error!r}") from None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``path`` whole or not at all; raise `InputError` where it cannot be written."""
    write_together({path: content})


def write_together(files: Mapping[Path, str | bytes]) -> None:
    """Write all ``files`` whole, or none of them; raise `InputError` for the one that cannot be.

    A link is followed, and a pipe or a device (``/dev/stdout``) is written to, never replaced.
    """
    staged: list[tuple[Path, Path]] = []
    path = Path()
    try:
        streams = []
        for path, content in files.items():
            binary = content.encode() if isinstance(content, str) else content
            if _is_stream(path):
                streams.append((path, binary))
            else:
                staged.append(_stage(path, binary))
        for path, binary in streams:
            with path.open("wb", buffering=0) as stream:
                stream.write(binary)
        while staged:
            part, path = staged[-1]
            os.replace(part, path)
            staged.pop()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        for part, _ in staged:
            part.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    return path.exists() and not (path.is_file() or path.is_dir())


def _stage(path: Path, content: bytes) -> tuple[Path, Path]:
    """Write ``content`` beside the file that ``path`` leads to; return that part, and the file."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES))
    part = target.with_name(f".headway-{token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        if target.exists():
            part.chmod(target.stat().st_mode & 0o777)
    except BaseException:
        part.unlink()
        raise
    return part, target
