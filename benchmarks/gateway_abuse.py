"""What somebody without a key can do to a gateway: memory, other clients' wait, rows in the record.

Each abuse runs for a few seconds in a process of its own, beside a client that asks ``/live`` all
the time; the longest wait of that client is how long the loop was blocked at most (on a machine
that does nothing else; on a busy one the time that the gateway and the client stood in line for a
core, which the kernel counts, is taken off and told). Memory is the process's own, at its highest,
over what it was before.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.gateway_overhead import gateway
from benchmarks.gateway_streams import memory_bytes

from headway.gateway.scheduler.admission import key_hash
from headway.load.clock import known_server
from headway.record.store import read_entries

MIB = 2**20
HEAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\n"
PIECE = b"x" * 65_536


def send(port: int, *parts: bytes, repeat: int = 1, wait_s: float = 2.0) -> None:
    """Send ``parts`` once and the last of them ``repeat`` times; read nothing, then wait."""
    with socket.create_connection(("127.0.0.1", port)) as client, suppress(OSError):
        client.settimeout(wait_s)
        for part in parts[:-1]:
            client.sendall(part)
        for _ in range(repeat):
            client.sendall(parts[-1])
        time.sleep(wait_s)


def at_once(count: int, action: Callable[[], None]) -> None:
    """Run ``action`` ``count`` times at once."""
    threads = [threading.Thread(target=action) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def endless_trailer(port: int) -> None:
    head = HEAD % b"/health" + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: "
    send(port, head, PIECE, repeat=512)


def bodies_without_a_key(port: int) -> None:
    for path in (b"/health", b"/v1/completions"):
        head = HEAD % path + b"Content-Length: %d\r\n\r\n" % (30 * MIB)
        at_once(20, lambda head=head: send(port, head, PIECE, repeat=480, wait_s=1.0))  # type: ignore[misc] # bound now


def pipelined_bodies(port: int) -> None:
    request = HEAD % b"/health" + b"Content-Length: %d\r\n\r\n" % MIB + b"x" * MIB
    send(port, request, repeat=60)


def unread_answers(port: int) -> None:
    for path in (b"/openapi.json", b"/state"):
        send(port, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path * 100, repeat=200)


def silent_connections(port: int) -> None:
    with ExitStack() as clients:
        for _ in range(500):
            clients.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(2.0)


def requests_without_a_key(port: int) -> None:
    body = json.dumps({"model": "m", "prompt": "x"}).encode()
    request = HEAD % b"/v1/completions" + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    for _ in range(3000):
        with socket.create_connection(("127.0.0.1", port)) as client, suppress(OSError):
            client.sendall(request)
            client.recv(1000)


ABUSES = (endless_trailer, bodies_without_a_key, pipelined_bodies, unread_answers,
          silent_connections, requests_without_a_key)  # fmt: skip


class Witness(threading.Thread):
    """Somebody else, who asks ``/live`` all the time.

    Attributes:
        longest_s: what it waited at most, without what it and the gateway waited for a core.
        longest_in_all_s: with that.
        max_bytes: the gateway's memory at its highest.

    """

    def __init__(self, port: int, pid: int) -> None:
        """Ask at ``port``; ``pid`` is the gateway's process."""
        super().__init__()
        self._port, self._pid = port, pid
        self._stop_asking = threading.Event()
        self.longest_s = self.longest_in_all_s = 0.0
        self.max_bytes = memory_bytes(pid)

    def run(self) -> None:
        """Ask until `stop`."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stop_asking.wait(0.002):
            began_s, in_line_s = time.monotonic(), self._in_line_s()
            connection.request("GET", "/live")
            connection.getresponse().read()
            wait_s = time.monotonic() - began_s
            self.longest_in_all_s = max(self.longest_in_all_s, wait_s)
            self.longest_s = max(self.longest_s, wait_s - self._in_line_s() + in_line_s)
            self.max_bytes = max(self.max_bytes, memory_bytes(self._pid))
        connection.close()

    def _in_line_s(self) -> float:
        """Return how long the gateway's loop and this thread have waited for a core so far."""
        tasks = f"/proc/{self._pid}", f"/proc/self/task/{threading.get_native_id()}"
        return sum(int(Path(task, "schedstat").read_text().split()[1]) for task in tasks) / 1e9

    def stop(self) -> None:
        """Ask no more."""
        self._stop_asking.set()
        self.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="abuses with this in their name")
    asked = parser.parse_args()
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, known_server() as known:
        config, record = Path(folder) / "headway.toml", Path(folder) / "live.db"
        config.write_text(
            f'[[backend]]\nurl = "{known.url}"\n'
            f'[[tenant]]\nname = "a"\nkey_sha256 = "{key_hash("hw-a")}"\n'
        )
        options = ("--config", str(config), "--record", str(record))
        with gateway(known.url, *options) as (url, pid):
            port = int(url.rsplit(":", 1)[1].removesuffix("/v1"))
            at_once(20, lambda: send(port, b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n", wait_s=0.2))
            for abuse in [abuse for abuse in ABUSES if asked.only in abuse.__name__]:
                before = memory_bytes(pid)
                witness = Witness(port, pid)
                witness.start()
                process = multiprocessing.get_context("spawn").Process(target=abuse, args=(port,))
                process.start()
                process.join()
                witness.stop()
                grown_mib = (witness.max_bytes - before) / MIB
                name = abuse.__name__
                print(f"{name.replace('_', ' '):24} {grown_mib:+7.1f} MiB, "
                      f"another waited {1e3 * witness.longest_s:6.1f} ms, with waits for a core "
                      f"{1e3 * witness.longest_in_all_s:6.1f}")  # fmt: skip
                result |= {f"{name}_mib": grown_mib, f"{name}_ms": 1e3 * witness.longest_s}
        rows = len(list(read_entries(record)))
    print(f"{rows} rows in the record")
    print(json.dumps({"benchmark": "gateway_abuse", "rows": rows, **result}))


if __name__ == "__main__":
    main()
