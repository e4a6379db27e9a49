"""A report as a data frame, by a library that is imported only here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from headway.errors import need
from headway.report.column import Value


def to_pandas(rows: Sequence[Mapping[str, Value]]) -> Any:
    """Return ``rows`` as a pandas data frame, one column per key."""
    need("pandas", "a pandas data frame", "pandas")
    return import_module("pandas").DataFrame.from_records([dict(row) for row in rows])


def to_polars(rows: Sequence[Mapping[str, Value]]) -> Any:
    """Return ``rows`` as a polars data frame, one column per key."""
    need("polars", "a polars data frame", "polars")
    frame = import_module("polars").DataFrame
    return frame([dict(row) for row in rows], infer_schema_length=None)
