"""A few thousand of the inputs of `benchmarks/wire_fuzz.py`: no crash, no hang."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.wire_fuzz import PIECES, fuzz


@pytest.mark.parametrize("parser", sorted(PIECES))
def test_no_parser_crashes_or_hangs(parser: str, tmp_path: Path) -> None:
    num_crashes, num_hangs, _ = fuzz(parser, 1500, seed=1, folder=tmp_path)
    assert (num_crashes, num_hangs) == (0, 0)
