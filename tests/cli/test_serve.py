"""``headway serve`` as a process: started, reloaded, drained, killed."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.gateway.conftest import CHAT, Live, post, request_bytes, streamed
from tests.gateway.conftest import live as live  # a fixture

from headway.cli.serve import serve
from headway.errors import InputError
from headway.gateway.scheduler.admission import key_hash
from headway.http.fake import FakeSpeed
from headway.record.store import read_entries

START = "from headway.cli.serve import serve; serve()"
SLOW = FakeSpeed(ttft_s=0.05, itl_s=0.05, tokens=16)


class Process:
    """A gateway in a process of its own."""

    def __init__(self, *options: str) -> None:
        self.run = subprocess.Popen(
            [sys.executable, "-c", START, "--port", "0", "--policy", "fcfs", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.run.stdout is not None
        found = re.search(r":(\d+)/v1", self.run.stdout.readline())
        if found is None:
            assert self.run.stderr is not None
            raise AssertionError(self.run.stderr.read())
        self.port = int(found.group(1))

    def end(self) -> str:
        """The log, once it has ended."""
        _, log = self.run.communicate(timeout=20)
        return log


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def begin(*options: str) -> Process:
        made.append(Process(*options))
        return made[-1]

    yield begin
    for process in made:
        if process.run.poll() is None:
            process.run.kill()
        process.run.communicate()


def test_it_drains_when_told_to_stop(
    live: Live, start: Callable[..., Process], tmp_path: Path
) -> None:
    record = tmp_path / "drained.db"
    gateway = start("--backend", live.engine(SLOW), "--record", str(record))
    answers: list[bytes] = []
    client = threading.Thread(
        target=lambda: answers.append(post(gateway.port, {**CHAT, "stream": True})[2])
    )
    client.start()
    live.until(lambda: len(live.engines[0].bodies) == 1)
    gateway.run.send_signal(signal.SIGTERM)
    client.join()
    assert streamed(answers[0])[-1] == "[DONE]"
    gateway.end()
    assert gateway.run.returncode == 0
    assert [e.status for e in read_entries(record)] == ["done"]


def test_a_second_signal_hurries_it(live: Live, start: Callable[..., Process]) -> None:
    slow = FakeSpeed(ttft_s=0.05, itl_s=0.2, tokens=200)
    gateway = start("--backend", live.engine(slow))
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(request_bytes(json.dumps({**CHAT, "stream": True}).encode()))
        assert client.recv(100)
        gateway.run.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        gateway.run.send_signal(signal.SIGTERM)
        rest = b""
        while more := client.recv(65_536):
            rest += more
    assert b"shutting down" in rest
    gateway.end()


def test_a_killed_gateway_loses_a_second_at_most_and_marks_what_was_open(
    live: Live, start: Callable[..., Process], tmp_path: Path
) -> None:
    record = tmp_path / "killed.db"
    quick, slow = live.engine(), FakeSpeed(ttft_s=0.05, itl_s=1.0, tokens=50)
    gateway = start("--backend", quick, "--record", str(record))
    for _ in range(20):
        assert post(gateway.port, CHAT)[0] == 200
    live.engines[0].speed = slow
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(request_bytes(json.dumps({**CHAT, "stream": True}).encode()))
        assert client.recv(100)
        time.sleep(1.0)
        gateway.run.kill()
        gateway.end()
    live.engines[0].speed = FakeSpeed()
    again = start("--backend", quick, "--record", str(record))
    assert post(again.port, CHAT)[0] == 200
    again.run.send_signal(signal.SIGTERM)
    again.end()
    entries = list(read_entries(record))
    assert [e.status for e in entries] == ["done"] * 20 + ["failed", "done"]
    assert entries[20].reason == "gateway_killed"
    import sqlite3

    database = sqlite3.connect(record)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_reload_with_a_mistake_keeps_what_was(
    live: Live, start: Callable[..., Process], tmp_path: Path
) -> None:
    file = tmp_path / "headway.toml"
    good = f'admin_sha256 = "{key_hash("sesame")}"\n[[backend]]\nurl = "{live.engine()}"\n'
    file.write_text(good)
    gateway = start("--config", str(file))
    assert post(gateway.port, CHAT)[0] == 200
    file.write_text(good + "max_inflght = 3\n")
    status, _, body = post(gateway.port, b"", "/admin/reload", authorization="Bearer sesame")
    assert status == 400
    assert "did you mean max_inflight" in json.loads(body)["error"]["message"]
    gateway.run.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    assert post(gateway.port, CHAT)[0] == 200
    other = live.engine()
    file.write_text(good.replace(good.split('"')[3], other))
    status, _, _ = post(gateway.port, b"", "/admin/reload", authorization="Bearer sesame")
    assert status == 200
    assert post(gateway.port, CHAT)[0] == 200
    assert len(live.engines[1].bodies) == 1
    gateway.run.send_signal(signal.SIGTERM)
    log = gateway.end()
    assert "kept the old configuration" in log
    assert "sesame" not in log


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "serve needs an engine"),
        (["--backend", "localhost"], "an address such as"),
        (["--backend", "http://h/v1", "--host", "0.0.0.0"], "without an API key"),
        (["--backend", "http://h/v1", "--policy", "best"], "unknown policy"),
        (["--config", "/nowhere.toml"], "there is no file"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        serve.main(arguments, standalone_mode=False)


def test_it_makes_keys(capsys: pytest.CaptureFixture[str]) -> None:
    serve.main(["--make-key", "research"], standalone_mode=False)
    out = capsys.readouterr().out
    key = out.split()[0]
    assert key.startswith("hw-")
    assert f'key_sha256 = "{key_hash(key)}"' in out
