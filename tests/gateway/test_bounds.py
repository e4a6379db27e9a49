"""Every bound in the table, tried on real sockets: whoever goes beyond it meets what it says."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests.gateway.conftest import CHAT, QUICK, Live, get, post, raw, request_bytes, streamed
from tests.http.conftest import Memory
from tests.record.test_store import ENTRY, Away

from headway.gateway.config import Limits, Tenant, Timeouts
from headway.gateway.scheduler.admission import key_hash
from headway.gateway.server.bounds import bounds_report
from headway.http.bounds import BOUNDS, WireBounds
from headway.http.client import ConnectionPool
from headway.http.descriptors import RESERVED
from headway.http.fake import FakeSpeed
from headway.http.message import as_chunk
from headway.http.passes import Passes
from headway.record.bounds import RecordBounds
from headway.record.entry import Row
from headway.record.sqlite import SqliteRecord
from headway.record.store import Store, read_entries

STREAM = {**CHAT, "stream": True}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LOCKED = (Tenant("a", key_hash("hw-a")),)


@contextmanager
def strange_engine(pieces: Callable[[], Iterator[bytes]]) -> Iterator[str]:
    """An engine that answers a POST with ``pieces``, and everything else as an engine does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client:
            try:
                if client.recv(65_536).startswith(b"GET"):
                    client.sendall(OK)
                    return
                for piece in pieces():
                    client.sendall(piece)
                client.recv(1)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@contextmanager
def silent_reader(port: int, sent: bytes) -> Iterator[socket.socket]:
    """A client that asks and reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        client.sendall(sent)
        yield client


def is_closed(client: socket.socket) -> bool:
    """Whether the server closes, after what it had sent."""
    client.settimeout(10)
    try:
        while client.recv(1 << 20):
            pass
    except ConnectionError:
        pass
    return True


# A client's side


def head_bytes(live: Live) -> None:
    port = live.gateway(live.engine())
    assert raw(port, b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000).startswith(b"HTTP/1.1 431 ")
    assert raw(port, CHUNKED + b"0\r\nA: " + b"x" * 600_000).startswith(b"HTTP/1.1 431 ")


def body_bytes(live: Live) -> None:
    port = live.gateway(live.engine())
    assert raw(port, request_bytes(b"x" * (2**20 + 1))).startswith(b"HTTP/1.1 413 ")


def queue(live: Live) -> None:
    port = live.gateway(live.engine(), endpoint={"max_inflight": 1}, limits=Limits(queue=1))
    with live.busy(port):
        waiting = threading.Thread(target=post, args=(port, CHAT))
        waiting.start()
        live.until(lambda: live.gateways[0].scheduler.dispatcher.num_waiting == 1)
        status, headers, _ = post(port, CHAT)
        assert (status, "retry-after" in headers) == (429, True)
    waiting.join()


def request_s(live: Live) -> None:
    port = live.gateway(live.engine())
    assert raw(port, b"POST /v1/completions HTTP/1.1\r\n").startswith(b"HTTP/1.1 408 ")


def queue_s(live: Live) -> None:
    port = live.gateway(live.engine(), endpoint={"max_inflight": 1})
    with live.busy(port):
        live.gateways[0].scheduler.config = replace(
            live.gateways[0].config, timeouts=replace(Timeouts(), queue_s=0.1)
        )
        status, _, body = post(port, CHAT)
    assert (status, json.loads(body)["error"]["code"]) == (503, "queue_timeout")


def away_s(live: Live) -> None:
    port = live.gateway("http://127.0.0.1:9/v1", timeouts=replace(QUICK, away_s=0.1))
    assert post(port, CHAT)[0] == 503


def drain_s(live: Live) -> None:
    port = live.gateway(live.engine(), timeouts=replace(Timeouts(), drain_s=0.1))
    answers: list[int] = []
    client = threading.Thread(
        target=lambda: answers.append(post(port, CHAT, x_fake_fault="hang")[0])
    )
    client.start()
    live.until(lambda: bool(live.engines[0].bodies))
    live.run(live.gateways[0].stop())
    client.join()
    assert answers == [503]


def num_headers(live: Live) -> None:
    port = live.gateway(live.engine())
    lines = b"".join(b"A%d: b\r\n" % number for number in range(BOUNDS.num_headers))
    assert raw(port, b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n" % lines).startswith(b"HTTP/1.1 431 ")


def early_body_bytes(live: Live) -> None:
    port = live.gateway(live.engine(), tenants=LOCKED)
    body = b"x" * (BOUNDS.early_body_bytes + 1)
    for path in ("/health", "/v1/completions", "/nowhere"):
        answer = raw(port, request_bytes(body, path))
        assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 401 "))
    sent = CHUNKED.replace(b"/v1/completions", b"/health") + as_chunk(body)
    assert raw(port, sent).startswith(b"HTTP/1.1 413 ")
    assert not live.entries(0)
    assert not live.gateways[0].scheduler.ledger.recent


def num_fields(live: Live) -> None:
    port = live.gateway(live.engine(), limits=Limits())
    count = BOUNDS.num_fields + 1
    fields = b"{" + b",".join(b'"a":1' for _ in range(count)) + b"}"
    status, _, body = post(port, fields)
    assert (status, b"fields" in body) == (400, True)
    text = json.dumps({**CHAT, "x": '{"a": 1}' * count}).encode()  # a text may hold any number
    assert post(port, text)[0] == 200


def num_commas(live: Live) -> None:
    port = live.gateway(live.engine(), limits=Limits())
    prompt = b"1," * BOUNDS.num_commas + b"1"
    status, _, body = post(port, b'{"model": "m", "prompt": [%b]}' % prompt, "/v1/completions")
    assert (status, b"commas" in body) == (400, True)


def num_pipelined(live: Live) -> None:
    port = live.gateway(live.engine())
    answer = raw(port, b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
    assert answer.count(b"HTTP/1.1 200") == 1 + BOUNDS.num_pipelined


def unread_bytes(live: Live) -> None:
    port = live.gateway(live.engine(), limits=Limits(answer_bytes=2**26), timeouts=Timeouts())
    body = json.dumps(CHAT).encode()
    with silent_reader(port, request_bytes(body, more="x-fake-fault: huge\r\n") * 3):
        live.until(lambda: any(c.full for c in live.gateways[0].connections))
        time.sleep(0.2)
        assert len(live.engines[0].bodies) == 1  # the next request waits


def unread_s(live: Live) -> None:
    bounds = WireBounds(unread_s=0.3)
    port = live.gateway(live.engine(), bounds=bounds, limits=Limits(answer_bytes=2**26))
    body = json.dumps(CHAT).encode()
    with silent_reader(port, request_bytes(body, more="x-fake-fault: huge\r\n")):
        live.until(lambda: any(c.full for c in live.gateways[0].connections))
        live.until(lambda: not live.gateways[0].connections)


def idle_s(live: Live) -> None:
    port = live.gateway(live.engine(), bounds=WireBounds(idle_s=0.3))
    for sent in (b"", b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(sent)
            assert is_closed(client)


def spared_s(live: Live) -> None:
    port = live.gateway(live.engine(), most_files=RESERVED, bounds=WireBounds(spared_s=0.1))
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(RESERVED)]
    time.sleep(0.3)
    assert get(port, "/live")[0] == 200
    for client in clients:
        client.close()


def linger_s(live: Live) -> None:
    port = live.gateway(live.engine(), tenants=LOCKED, bounds=WireBounds(linger_s=0.1))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 401"
        assert is_closed(client)


def flush_s(live: Live) -> None:
    port = live.gateway(live.engine(), limits=Limits(answer_bytes=2**26))
    body = json.dumps(CHAT).encode()
    with silent_reader(port, request_bytes(body, more="x-fake-fault: huge\r\n")) as client:
        live.until(lambda: any(c.full for c in live.gateways[0].connections))
        stopping = threading.Thread(target=lambda: live.run(live.gateways[0].stop()))
        stopping.start()
        answer = b""
        while more := client.recv(1 << 20):  # late, but whole
            answer += more
        stopping.join()
    assert len(answer) > 12 * 2**20
    assert answer.endswith(b"}")


# An engine's side


def answer_bytes(live: Live) -> None:
    port = live.gateway(live.engine(), limits=Limits(answer_bytes=2**20))
    _, headers, body = post(port, CHAT, x_fake_fault="huge")
    assert headers["transfer-encoding"] == "chunked"
    assert len(body) > 12 * 2**20


def connect_s(live: Live) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        there = listener.getsockname()
        crowd = [socket.socket() for _ in range(4)]
        for client in crowd:  # its backlog is full: who connects now waits for ever
            client.setblocking(False)
            client.connect_ex(there)
        quick = replace(QUICK, connect_s=0.1, away_s=0.1)
        port = live.gateway(f"http://127.0.0.1:{there[1]}/v1", timeouts=quick)
        assert post(port, CHAT)[0] == 503
        for client in crowd:
            client.close()


def first_byte_s(live: Live) -> None:
    port = live.gateway(live.engine())
    assert post(port, CHAT, x_fake_fault="hang")[0] == 504


def gap_s(live: Live) -> None:
    port = live.gateway(live.engine())
    assert "error" in streamed(post(port, STREAM, x_fake_fault="hang-midway")[2])[-1]


def quiet_bytes(live: Live) -> None:
    with strange_engine(lambda: iter([b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000])) as url:
        port = live.gateway(url, timeouts=Timeouts())
        status, _, body = post(port, CHAT)
    assert (status, b"too long" in body) == (502, True)


def held_event_bytes(live: Live) -> None:
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        yield b"Transfer-Encoding: chunked\r\n\r\n"
        yield as_chunk(b'data: {"choices": "' + b"x" * 2 * BOUNDS.held_event_bytes)
        go_on.wait(10)
        yield as_chunk(b'"}\n\ndata: [DONE]\n\n') + b"0\r\n\r\n"

    with strange_engine(pieces) as url:
        port = live.gateway(url, timeouts=Timeouts())
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(request_bytes(json.dumps(STREAM).encode()))
            answer = b""
            while len(answer) < BOUNDS.held_event_bytes:  # before its end is there
                answer += client.recv(65_536)
            go_on.set()
            while not answer.endswith(b"0\r\n\r\n"):
                answer += client.recv(65_536)


def fetched_bytes(live: Live) -> None:
    live.gateway(live.engine(model="m" * (BOUNDS.fetched_bytes + 1)))
    (state,) = live.gateways[0].scheduler.fleet.engines.values()
    live.until(lambda: not state.healthy)


def look_s(live: Live) -> None:
    url = live.engine(FakeSpeed(network_s=5.0))
    live.gateway(url)
    gateway = live.gateways[0]
    live.run(gateway.backends[url].look(timeout_s=0.1))
    assert not gateway.scheduler.fleet.engines[url].healthy


def pass_s(live: Live) -> None:
    ours, theirs = socket.socketpair()

    class Asking:
        transport = Memory()
        received = b""

        def data_received(self, data: bytes) -> None:
            self.received += data
            if len(self.received) == 1:
                theirs.send(b"2")
            else:
                arrived.set()

        def reading_ended(self, error: OSError | None) -> None: ...

    async def wait() -> None:
        passes = Passes(longest_s=0.01, rest=1e9)  # for hours, but for the bound
        passes.join(ours.fileno(), Asking())
        theirs.send(b"1")
        await asyncio.wait_for(arrived.wait(), 30)
        passes.close()

    arrived = asyncio.Event()
    with ours, theirs:
        live.run(wait())


def said_all_s(live: Live) -> None:
    port = live.gateway(live.engine(), timeouts=Timeouts())
    assert streamed(post(port, STREAM, x_fake_fault="no-last-chunk")[2])[-1] == "[DONE]"


def num_idle(live: Live) -> None:
    port = int(live.engine().rsplit(":", 1)[1].removesuffix("/v1"))

    async def open_three() -> int:
        pool = ConnectionPool("127.0.0.1", port, max_idle=2)
        for connection in [await pool.open() for _ in range(3)]:
            pool.give_back(connection)
        num_idle = pool.num_idle
        pool.close()
        return num_idle

    assert live.run(open_three()) == 2


def kept_s(live: Live) -> None:
    port = int(live.engine().rsplit(":", 1)[1].removesuffix("/v1"))

    async def wait() -> bool:
        pool = ConnectionPool("127.0.0.1", port, idle_s=0.05)
        pool.give_back(await pool.open())
        await asyncio.sleep(0.1)
        return pool.idle() is None

    assert live.run(wait())


def renew_s(live: Live) -> None:
    port = int(live.engine().rsplit(":", 1)[1].removesuffix("/v1"))

    async def num_free(host: str) -> int:
        pool = ConnectionPool(host, port, renew_s=0.02)
        connection = await pool.open()
        await asyncio.sleep(0.03)
        pool.give_back(connection)
        num_idle = pool.num_idle
        pool.close()
        return num_idle

    assert live.run(num_free("localhost")) == 0
    assert live.run(num_free("127.0.0.1")) == 1  # a number is where it was


# The record's


class Counting(SqliteRecord):
    """Remembers how many rows came at once; takes its time."""

    pause_s = 0.0

    def write(self, rows: Collection[Row]) -> None:
        self.sizes = [*getattr(self, "sizes", []), len(rows)]
        time.sleep(self.pause_s)
        super().write(rows)


def record_flush_s(live: Live) -> None:
    store = Store(SqliteRecord(live.record))
    store.add(ENTRY)
    live.until(lambda: bool(list(read_entries(live.record))))
    store.close()


def num_pending(live: Live) -> None:
    store = Store(Away(live.record), RecordBounds(num_pending=10))
    for number in range(25):
        store.add(replace(ENTRY, id=f"hw-{number}"))
    assert (store.unwritten, store.dropped) == (10, 15)
    store.close()


def batch_rows(live: Live) -> None:
    database = Counting(live.record)
    store = Store(database, RecordBounds(batch_rows=10))
    for number in range(95):
        store.add(replace(ENTRY, id=f"hw-{number}"))
    store.close()
    assert max(database.sizes) <= 10
    assert len(list(read_entries(live.record))) == 95


def close_s(live: Live) -> None:
    database = Counting(live.record)
    database.pause_s = 0.05
    store = Store(database, RecordBounds(batch_rows=1, close_s=0.2))
    for number in range(200):
        store.add(replace(ENTRY, id=f"hw-{number}"))
    store.close()
    assert database.spill.exists()
    Store(SqliteRecord(live.record)).close()
    assert len(list(read_entries(live.record))) == 200


def elsewhere(live: Live) -> None:
    """Needs a server of its own: `test_postgres.test_a_statement_is_not_waited_for_long`."""


PROOFS = {
    f"{where} {name}": proof
    for where, proofs in {
        "client": {
            "limits.head_bytes": head_bytes, "limits.body_bytes": body_bytes,
            "limits.queue": queue, "timeouts.request_s": request_s, "timeouts.queue_s": queue_s,
            "timeouts.away_s": away_s, "timeouts.drain_s": drain_s, "num_headers": num_headers,
            "early_body_bytes": early_body_bytes, "num_fields": num_fields,
            "num_commas": num_commas, "num_pipelined": num_pipelined,
            "unread_bytes": unread_bytes, "unread_s": unread_s, "idle_s": idle_s,
            "spared_s": spared_s, "linger_s": linger_s, "flush_s": flush_s,
        },
        "engine": {
            "limits.answer_bytes": answer_bytes, "timeouts.connect_s": connect_s,
            "timeouts.first_byte_s": first_byte_s, "timeouts.gap_s": gap_s,
            "quiet_bytes": quiet_bytes, "held_event_bytes": held_event_bytes,
            "fetched_bytes": fetched_bytes, "look_s": look_s, "said_all_s": said_all_s,
            "num_idle": num_idle, "kept_s": kept_s, "renew_s": renew_s, "pass_s": pass_s,
        },
        "record": {
            "flush_s": record_flush_s, "num_pending": num_pending, "batch_rows": batch_rows,
            "close_s": close_s, "statement_s": elsewhere,
        },
    }.items()
    for name, proof in proofs.items()
}  # fmt: skip


@pytest.mark.parametrize("bound", [f"{row.where} {row.name}" for row in bounds_report().rows])
def test_a_bound_is_kept(bound: str, live: Live) -> None:
    PROOFS[bound](live)
