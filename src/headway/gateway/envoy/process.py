"""The Envoy that carries for a gateway: started, watched, told what to stop doing, and stopped.

It is spoken to through its administration, a socket in a folder of the gateway's own. An Envoy that
outlived its gateway goes on carrying, by its own default; the next gateway at the same port finds
it there and takes it over, so that nothing is interrupted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from importlib.resources import files
from pathlib import Path
from time import monotonic

from headway.errors import InputError, MissingExtraError
from headway.gateway.envoy.configuration import Tree

_log = logging.getLogger("headway.gateway")

START_S, LOOK_S, ANSWER_S = 20.0, 0.25, 2.0
RESTART_AFTER_S = 60.0  # one that ends sooner than this after a restart is not started again


def run_folder(port: int) -> Path:
    """Return the folder of the gateway at ``port``, which only its user may enter.

    Raises:
        InputError: it belongs to somebody else.

    """
    if not port:
        return Path(tempfile.mkdtemp(prefix="headway-envoy-"))
    folder = Path(tempfile.gettempdir()) / f"headway-envoy-{os.getuid()}-{port}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or folder.is_symlink():
        raise InputError(f"{folder} must belong to the user of the gateway, and to nobody else")
    return folder


class EnvoyProcess:
    """One Envoy.

    Attributes:
        folder: of its files and sockets.
        num_starts: how often it was started.

    """

    def __init__(self, folder: Path, failed: Callable[[str], None]) -> None:
        """Keep its files in ``folder``; ``failed`` is called once it cannot be kept running."""
        self.folder = folder
        self.num_starts = 0
        self._failed = failed
        self._process: subprocess.Popen[bytes] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._started_s = 0.0

    def write(self, name: str, tree: Tree) -> None:
        """Put ``tree`` into the file called ``name``, whole: Envoy sees the old one or the new."""
        draft = self.folder / f"{name}.draft"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(tree))
        draft.rename(self.folder / f"{name}.json")

    async def start(self) -> int:
        """Start it, or take over the one that runs; return the port that clients meet.

        Raises:
            InputError: it does not start, such as where the port is taken.
            MissingExtraError: there is none.

        """
        if await self._ask("GET", "/ready"):
            _log.info("took over the Envoy that was running")
            self._started_s = monotonic()
        else:
            self._run()

        until_s = monotonic() + START_S
        while (port := await self._port()) is None:
            if self._process is not None and self._process.poll() is not None:
                raise InputError("Envoy did not start: what it says stands above")
            if monotonic() > until_s:
                await self.stop()
                raise InputError(f"Envoy did not listen within {START_S:.0f} s: is the port taken?")
            await asyncio.sleep(0.05)
        self._watching = asyncio.get_running_loop().create_task(self._watch())
        return port

    def _run(self) -> None:
        binary = shutil.which("envoy")
        if binary is None:
            try:
                binary = str(files("envoy") / "_bin" / "envoy")
            except ModuleNotFoundError:
                raise MissingExtraError("a gateway through Envoy", "envoy") from None

        # Its own session: what ends the gateway from a terminal is for the gateway to pass on.
        command = [binary, "--config-path", str(self.folder / "bootstrap.json")]
        options = ["--disable-hot-restart", "--log-level", "warning"]
        self._process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._started_s = monotonic()
        self.num_starts += 1

    async def _port(self) -> int | None:
        """Return the port it listens at; ``None`` while it does not."""
        answer = await self._ask("GET", "/listeners?format=json")
        try:
            statuses = json.loads(answer).get("listener_statuses", [])
        except ValueError:
            return None
        if not statuses:
            return None
        return int(statuses[0]["local_address"]["socket_address"]["port_value"])

    async def _watch(self) -> None:
        """Start it again where it ends by itself, once a minute at most."""
        while True:
            await asyncio.sleep(LOOK_S)
            status = self._process.poll() if self._process is not None else None
            if status is None and (self._process is not None or await self._ask("GET", "/ready")):
                continue

            what = f"Envoy ended by itself (status {'unknown' if status is None else status})"
            if self.num_starts > 1 and monotonic() - self._started_s < RESTART_AFTER_S:
                _log.error("%s, again: the gateway stops", what)
                self._failed(what)
                return
            _log.error("%s; it is started again", what)
            self._run()

    async def drain(self) -> None:
        """Let it take no new connections; those that are open go on."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        await self._ask("POST", "/drain_listeners?graceful&skip_exit")

    async def stop(self) -> None:
        """End it."""
        if self._watching is not None:
            self._watching.cancel()
        if not await self._ask("POST", "/quitquitquit") and self._process is not None:
            self._process.terminate()
        if self._process is not None:
            try:
                await asyncio.to_thread(self._process.wait, 5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _ask(self, method: str, path: str) -> bytes:
        """Return the body of its administration's answer; empty where there is none."""
        return await asyncio.to_thread(_ask, self.folder / "admin", method, path)


def _ask(place: Path, method: str, path: str) -> bytes:
    connection = HTTPConnection("envoy", timeout=ANSWER_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(ANSWER_S)
    try:
        connection.sock.connect(str(place))
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        return body if answer.status == 200 else b""
    except (OSError, HTTPException):
        return b""
    finally:
        connection.close()
