"""Files that a user names: read whole, within bounds, and refused in one sentence.

TOML tables become frozen dataclasses: the fields of a class say which keys there may be, which
must be there, and of which type.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from headway.errors import InputError, UnknownNameError, reason

MAX_BYTES = 10_000_000
MAX_WHOLE = 2**63
Value = TypeVar("Value")
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def read_text(path: str | Path, what: str, max_bytes: int = MAX_BYTES) -> str:
    """Return the text in the file at ``path``, which should be ``what`` ("a TOML file").

    Raises:
        InputError: there is no such file, or it is none, too large, or not text in UTF-8.

    """
    where = Path(path).name or str(path)
    try:
        if Path(path).is_dir():
            raise InputError(f"{where} is a folder; give {what}")
        if Path(path).exists() and not Path(path).is_file():
            # A pipe or a device would block or never end.
            raise InputError(f"{where} is not a regular file; give {what}")
        with Path(path).open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise InputError(f"there is no file {str(path)[:200]!r}; give {what}") from None
    except (OSError, ValueError) as error:  # a name may be too long, or hold a null character
        raise InputError(f"{str(path)[:200]!r} cannot be read: {reason(error)}") from None

    if len(content) > max_bytes:
        raise InputError(f"{where} is larger than {max_bytes:,} bytes; is it {what}?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{where} is not text in UTF-8; give {what}") from None


def read_json(path: str | Path, what: str, max_bytes: int = MAX_BYTES) -> Any:
    """Return the JSON value in the file at ``path``; raise `InputError` as `read_text`."""
    text = read_text(path, what, max_bytes)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # numbers of 5000 digits are ValueErrors
        raise InputError(f"{Path(path).name} is not JSON; give {what}") from None


def read_toml(path: str | Path, what: str = "a TOML file") -> dict[str, Any]:
    """Return the tables in the file at ``path``; raise `InputError` as `read_text`."""
    return parse_toml(read_text(path, what), Path(path).name)


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Return the tables in ``text``; raise `InputError` if it is no TOML, and name ``where``."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{where} is not TOML that can be used: it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where} is not TOML: {error}") from None


def from_table(kind: type[Value], table: object, where: str) -> Value:
    """Return the dataclass ``kind`` with the fields of ``table``; messages name ``where``.

    Raises:
        InputError: ``table`` is none, lacks a field without a default, or one has a wrong type.
        UnknownNameError: a key that is no field.

    """
    table = as_table(table, where)
    own_fields = {f.name: f for f in fields(kind)}  # type: ignore[arg-type] # it is a dataclass
    hints = get_type_hints(kind)

    check_keys(table, own_fields, f"key in {where}")
    for name, own in own_fields.items():
        if name not in table and own.default is MISSING and own.default_factory is MISSING:
            raise InputError(f"{where} needs {name}")
    return kind(**{key: typed(table[key], hints[key], f"{key} in {where}") for key in table})


def as_table(value: object, where: str) -> dict[str, Any]:
    """Return ``value`` if it is a table; raise `InputError`, which names ``where``, if not."""
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a table, not {excerpt(value)}")
    return value


def check_keys(table: Iterable[str], valid_keys: Collection[str], what: str) -> None:
    """Raise `UnknownNameError`, which says ``what`` a key is, for one that is not valid."""
    for key in table:
        if key not in valid_keys:
            raise UnknownNameError(what, key, valid_keys)


def typed(value: object, hint: Any, where: str) -> Any:
    """Return ``value`` if it is of the type ``hint``, whole numbers as floats where those are due.

    Raises:
        InputError: it is of another type; messages name ``where``.

    """
    if isinstance(value, list) and hint == tuple[str, ...]:
        return tuple(typed(item, str, f"a name of {where}") for item in value)

    if isinstance(value, int) and abs(value) >= MAX_WHOLE:
        raise InputError(f"{where} must be less than 2^63, not {excerpt(value)}")

    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)

    # A truth value is an int to Python, but not to whoever wrote the file.
    if not any(type(value) is kind for kind in kinds):
        words = " or ".join(_WORDS[kind] for kind in kinds if kind in _WORDS)
        raise InputError(f"{where} must be {words or 'a list of names'}, not {excerpt(value)}")
    return value


def excerpt(value: object) -> str:
    """Return ``value`` as a message can carry it: on one line, and short."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than are ever shown
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."
