"""Prompts survive reading, taking and writing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headway.errors import InputError
from headway.workload.traces import read_trace, write_trace


def test_prompts_are_read_and_written_in_the_order_of_arrival(tmp_path: Path) -> None:
    path, again = tmp_path / "log.jsonl", tmp_path / "again.jsonl"
    rows = [
        {"arrival_s": 2.0, "prompt_tokens": 3, "output_tokens": 4, "prompt": "late"},
        {"arrival_s": 1.0, "prompt_tokens": 5, "output_tokens": 6, "prompt": "early, \u00e9"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trace = read_trace(path)
    assert trace.prompts == ("early, \u00e9", "late")
    assert trace.head(1).prompts == ("early, \u00e9",)
    assert trace.request(1).prompt == "late"
    write_trace(trace, again)
    assert read_trace(again).prompts == trace.prompts


def test_some_prompts_are_not_enough(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = [
        {"arrival_s": 1.0, "prompt_tokens": 3, "output_tokens": 4, "prompt": "one"},
        {"arrival_s": 2.0, "prompt_tokens": 5, "output_tokens": 6},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="some requests only"):
        read_trace(path)
