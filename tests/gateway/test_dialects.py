"""Metrics of engines: a new dialect is one file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headway.errors import InputError
from headway.gateway import dialects
from headway.gateway.dialects import Dialect, EngineQueue, queue_of, shipped_dialects

VLLM = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2
vllm:num_requests_waiting_by_reason{reason="capacity"} 9
"""


def test_the_queue_of_an_engine_is_the_sum_of_its_parts() -> None:
    assert queue_of(VLLM) == EngineQueue(7, 2, extra_arguments="vllm_xargs")
    sglang = b'sglang:num_running_reqs{tp="0"} 5.0\nsglang:num_queue_reqs 1e1\n'
    assert queue_of(sglang) == EngineQueue(running=5, waiting=10)


@pytest.mark.parametrize(
    "text", [b"", b"<html>", b"vllm:num_requests_running 3\n", b"vllm:num_requests_running 1.2.3\n"]
)
def test_what_tells_no_queue_is_none(text: bytes) -> None:
    assert queue_of(text) is None


def test_a_new_dialect_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "dialects"
    shutil.copytree(Path(dialects.__file__).parent, folder)
    (folder / "acme.toml").write_text(
        'engine = "acme"\nrunning = ["acme:active"]\n'
        'waiting = ["acme:queued_new", "acme:queued_old"]\n'
    )
    monkeypatch.setattr(dialects, "files", lambda package: folder)
    shipped_dialects.cache_clear()
    try:
        acme = b"acme:active 8\nacme:queued_new 1\nacme:queued_old 2\n"
        assert queue_of(acme) == EngineQueue(running=8, waiting=3)
        assert queue_of(VLLM) == EngineQueue(7, 2, extra_arguments="vllm_xargs")
    finally:
        shipped_dialects.cache_clear()


def test_a_dialect_names_metrics() -> None:
    with pytest.raises(InputError, match="no metric's name"):
        Dialect("x", ("a b",), ("c",))
    with pytest.raises(InputError, match="running and waiting"):
        Dialect("x", (), ("c",))
