"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headway.errors import InputError
from headway.report.files import write_atomically, write_together


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_atomically(path, "before")
    write_atomically(path, b"after")
    assert path.read_text() == "after"
    assert os.listdir(tmp_path) == ["out.json"]
    with pytest.raises(InputError, match="cannot write"):
        write_atomically(tmp_path / "nowhere" / "out.json", "x")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(InputError, match="cannot write"):
        write_atomically(folder, "x")
    assert sorted(os.listdir(tmp_path)) == ["folder", "out.json"]


def test_several_files_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        write_together({tmp_path / "a.json": "a", tmp_path / "nowhere" / "b.html": "b"})
    assert os.listdir(tmp_path) == []
    write_together({tmp_path / "a.json": "a", tmp_path / "b.html": b"b"})
    assert sorted(os.listdir(tmp_path)) == ["a.json", "b.html"]


def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("before")
    link.symlink_to(target)
    write_atomically(link, "after")
    assert link.is_symlink()
    assert target.read_text() == "after"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(pipe, "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_file_keeps_its_mode_and_a_new_one_has_that_of_the_umask(tmp_path: Path) -> None:
    known, new = tmp_path / "known", tmp_path / "new"
    known.write_text("before")
    known.chmod(0o640)
    before = os.umask(0o077)
    try:
        write_together({known: "after", new: "after"})
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (known, new)] == [0o640, 0o600]
