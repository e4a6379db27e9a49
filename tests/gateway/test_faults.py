"""Engines, clients and disks that misbehave: nothing is lost, and everything ends in one record."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace

import openai
import pytest
from tests.gateway.conftest import CHAT, QUICK, Live, get, post, raw, request_bytes, streamed

from headway.gateway.config import Timeouts
from headway.gateway.pools import Endpoint
from headway.gateway.scheduler.engine import MAX_PAUSE_S, Breaker
from headway.http.bounds import WireBounds
from headway.http.descriptors import MOST_FILES, RESERVED
from headway.http.fake import FakeSpeed
from headway.record.sqlite import SqliteRecord

STREAM = {**CHAT, "stream": True}
DEAD = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    "fault", ["die", "die-in-event", "bad-chunk", "hang-midway", "close-early"]
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_a_stream_that_breaks_ends_with_an_error_event(live: Live, fault: str, path: str) -> None:
    port = live.gateway(live.engine())
    status, _, data = post(port, {**STREAM, "prompt": "x", "input": "x"}, path, x_fake_fault=fault)
    assert status == 200
    events = streamed(data)
    assert events[-1]["error"]["type"] == "server_error"
    assert all(event != "[DONE]" for event in events)
    if path == "/v1/responses":
        assert events[-1]["type"] == "error"
    (entry,) = live.entries(1)
    assert entry.status == "failed"
    assert entry.output_tokens >= 1


def test_the_official_client_raises_when_a_stream_breaks(live: Live) -> None:
    port = live.gateway(live.engine())
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0) as api:
        stream = api.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": "x"}], stream=True,
            extra_headers={"x-fake-fault": "die"},
        )  # fmt: skip
        with pytest.raises(openai.APIError, match="closed the connection in the middle"):
            list(stream)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("garbage", 502, "backend_failed"),
        ("close-before", 502, "backend_failed"),
        ("redirect", 502, "backend_failed"),
        ("hang", 504, "backend_timeout"),
        ("status-429", 429, "rate"),
        ("status-500", 500, None),
        ("status-503", 503, None),
        ("html-500", 500, "backend_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_byte_is_told_in_openais_shape(
    live: Live, fault: str, status: int, code: str | None, stream: bool
) -> None:
    port = live.gateway(live.engine())
    found, headers, body = post(port, {**CHAT, "stream": stream}, x_fake_fault=fault)
    assert found == status
    error = json.loads(body)["error"]
    assert error["message"]
    assert error["code"] == code
    if fault == "status-429":
        assert headers["retry-after"] == "1"
    (entry,) = live.entries(1)
    assert (entry.status, entry.code) == ("failed", status)


@pytest.mark.parametrize("fault", ["garbage", "not-json", "close-before", "hang", "status-500",
                                   "status-503", "status-429", "garbage-stream"])  # fmt: skip
def test_another_engine_is_tried_where_nothing_was_sent_yet(live: Live, fault: str) -> None:
    port = live.gateway(live.engine(), live.engine())
    failing = live.engines[0]
    failing.faults.append(fault)
    asked = 0
    while failing.faults:  # until one has met the engine that fails
        assert post(port, STREAM if fault == "garbage-stream" else CHAT)[0] == 200
        asked += 1
        assert asked < 50
    entries = live.entries(asked)
    assert [e.status for e in entries] == ["done"] * asked
    assert sorted(e.attempts for e in entries) == [1] * (asked - 1) + [2]


def test_a_stream_that_has_begun_is_never_begun_again(live: Live) -> None:
    port = live.gateway(live.engine(), live.engine())
    for engine in live.engines:
        engine.faults.append("die")
    _, _, data = post(port, STREAM)
    assert "error" in streamed(data)[-1]
    assert sum(len(engine.bodies) for engine in live.engines) == 1


def test_an_engine_that_is_down_is_answered_for_with_a_reason(live: Live) -> None:
    port = live.gateway(DEAD, timeouts=Timeouts(away_s=0.2))
    status, headers, body = post(port, CHAT)
    assert (status, json.loads(body)["error"]["code"]) == (503, "backend_unavailable")
    assert int(headers["retry-after"]) >= 1


def test_requests_wait_for_an_engine_that_is_away(live: Live) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        there = reserved.getsockname()[1]
    port = live.gateway(f"http://127.0.0.1:{there}/v1")
    gateway = live.gateways[0]
    live.until(lambda: not next(iter(gateway.scheduler.fleet.engines.values())).healthy)
    found: list[int] = []
    client = threading.Thread(target=lambda: found.append(post(port, CHAT)[0]))
    client.start()
    live.until(lambda: len(gateway.queues["main"]) == 1)
    live.engine(port=there)
    client.join()
    assert found == [200]


def test_an_answer_cut_short_that_was_not_streamed_is_a_502(live: Live) -> None:
    port = live.gateway(live.engine())
    status, _, body = post(port, CHAT, x_fake_fault="die")
    assert (status, json.loads(body)["error"]["code"]) == (502, "backend_failed")


def test_a_missing_done_is_forgiven(live: Live) -> None:
    port = live.gateway(live.engine())
    _, _, data = post(port, STREAM, x_fake_fault="no-done")
    assert streamed(data)[-1]["usage"]["completion_tokens"] == 8
    assert live.entries(1)[0].status == "done"


def test_a_connection_the_engine_closed_while_idle_is_replaced(live: Live) -> None:
    port = live.gateway(live.engine())
    assert post(port, CHAT)[0] == 200

    async def cut() -> None:
        # The moment before the gateway hears of it: only the engine's half is closed, after
        # the request is sent.
        for connection in list(live.engines[0].connections):
            connection.transport.abort()

    live.run(cut())
    assert post(port, CHAT)[0] == 200
    assert [e.status for e in live.entries(2)] == ["done", "done"]


@pytest.mark.parametrize("stream", [True, False])
def test_the_engine_stops_when_the_client_goes_away(live: Live, stream: bool) -> None:
    port = live.gateway(live.engine(FakeSpeed(ttft_s=0.02, itl_s=0.02, tokens=200)))
    body = json.dumps({**CHAT, "stream": stream}).encode()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request_bytes(body))
        if stream:
            assert client.recv(100)
        else:
            live.until(lambda: len(live.engines[0].bodies) == 1)
    live.until(lambda: live.engines[0].cancelled == 1)
    (entry,) = live.entries(1)
    assert (entry.status, entry.reason) == ("failed", "client_disconnected")


def test_a_client_that_goes_away_while_it_waits_is_forgotten(live: Live) -> None:
    port = live.gateway(live.engine(FakeSpeed(ttft_s=0.2)), endpoint={"max_inflight": 1})
    first = threading.Thread(target=post, args=(port, CHAT))
    first.start()
    queue = live.gateways[0].queues["main"]
    live.until(lambda: len(live.engines[0].bodies) == 1)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request_bytes(json.dumps(CHAT).encode()))
        live.until(lambda: len(queue) == 1)
    live.until(lambda: len(queue) == 0)
    first.join()
    assert len(live.engines[0].bodies) == 1
    assert sorted(e.status for e in live.entries(2)) == ["done", "failed"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{not json", "not JSON"),
        (b'{"model": "\xff\xfe"}', "not UTF-8"),
        (b"[1, 2]", "must be a JSON object"),
        (b"", "not JSON"),
        (b'{"model": 7}', "model must be a string"),
        (b'{"a": NaN}', "no JSON number"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    ],
)
def test_a_bad_body_is_a_400_that_says_why(live: Live, body: bytes, message: str) -> None:
    port = live.gateway(live.engine())
    status, _, answer = post(port, body)
    error = json.loads(answer)["error"]
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert message in error["message"]
    assert not live.engines[0].bodies
    assert [(e.status, e.code) for e in live.entries(1)] == [("rejected", 400)]


def test_a_hundred_megabytes_are_refused_before_they_are_read(live: Live) -> None:
    port = live.gateway(live.engine())
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
    answer = raw(port, head + b"x" * 300_000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"error"' in answer
    assert [(e.status, e.code) for e in live.entries(1)] == [("rejected", 413)]


def test_a_hundred_megabytes_in_chunks_are_cut_off(live: Live) -> None:
    port = live.gateway(live.engine())
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    answer = raw(port, head + piece * 20)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert len(live.entries(1)) == 1


def test_half_a_body_is_recorded_as_such(live: Live) -> None:
    port = live.gateway(live.engine())
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request_bytes(b'{"model"' * 10)[:-20])
        time.sleep(0.05)
    (entry,) = live.entries(1)
    assert (entry.status, entry.reason) == ("failed", "client_disconnected")


def test_a_body_that_does_not_come_times_out(live: Live) -> None:
    port = live.gateway(live.engine())
    answer = raw(port, request_bytes(b'{"model"' * 10)[:-20])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert [(e.status, e.code) for e in live.entries(1)] == [("rejected", 408)]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000, 431),
        (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: "
         b"chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3"
         b"\r\n\r\n{}", 400),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(live: Live, sent: bytes, status: int) -> None:
    port = live.gateway(live.engine())
    assert raw(port, sent).startswith(b"HTTP/1.1 %d " % status)


def test_a_slow_reader_slows_its_own_engine_and_loses_nothing(live: Live) -> None:
    port = live.gateway(live.engine(FakeSpeed(0.001, 0.0, tokens=800, token_bytes=10_000)),
                        timeouts=Timeouts(gap_s=5.0))  # fmt: skip
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.connect(("127.0.0.1", port))
        client.sendall(request_bytes(json.dumps(STREAM).encode()))
        time.sleep(0.4)
        answer = b""
        while not answer.endswith(b"0\r\n\r\n"):
            answer += client.recv(1 << 20)
    assert answer.count(b'"finish_reason": null') == 801  # the role comes first
    assert live.entries(1)[0].output_tokens == 800


def test_a_full_disk_stops_no_request_and_loses_no_record(live: Live) -> None:
    port = live.gateway(live.engine(), max_bytes=60_000, keep_prompts=True)
    store = live.gateways[0].scheduler.ledger.store
    assert store is not None
    database = store.database
    assert isinstance(database, SqliteRecord)
    for _ in range(12):
        body = {"model": "fake", "messages": [{"role": "user", "content": "x" * 8000}]}
        assert post(port, body)[0] == 200
    live.until(lambda: not store.flush())
    assert "full" in store.trouble
    assert store.unwritten > 0

    def more_room() -> None:
        with store.writing:
            database.bound(2**30)

    more_room()
    live.until(store.flush)
    assert [e.status for e in live.entries(12)] == ["done"] * 12


def test_records_survive_a_clock_that_jumps(live: Live) -> None:
    now = [1_000_000.0]
    port = live.gateway(live.engine(), unix_s=lambda: now[0])
    assert post(port, STREAM)[0] == 200
    now[0] -= 500_000.0
    assert post(port, STREAM)[0] == 200
    first, second = live.entries(2)
    assert first.arrival_s < second.arrival_s < first.arrival_s + 60
    assert 0 < (second.record.e2e_s or 0) < 60


def test_a_queue_that_is_too_long_in_time_is_given_up(live: Live) -> None:
    quick = Timeouts(queue_s=0.1, first_byte_s=5.0)
    port = live.gateway(live.engine(FakeSpeed(ttft_s=0.8)), timeouts=quick,
                        endpoint={"max_inflight": 1})  # fmt: skip
    first = threading.Thread(target=post, args=(port, CHAT))
    first.start()
    live.until(lambda: len(live.engines[0].bodies) == 1)
    status, headers, body = post(port, CHAT)
    assert (status, json.loads(body)["error"]["code"]) == (503, "queue_timeout")
    assert "retry-after" in headers
    first.join()
    assert sorted(e.status for e in live.entries(2)) == ["done", "rejected"]


def test_quick_timeouts_are_quick() -> None:
    assert QUICK.first_byte_s < 1


def test_whoever_would_take_the_last_descriptors_is_told_so(live: Live) -> None:
    port = live.gateway(live.engine(), endpoint={"max_inflight": 100}, most_files=RESERVED + 8)
    with ExitStack() as clients:
        for _ in range(4):  # a socket of the client's and one to the engine each
            clients.enter_context(live.busy(port))
        status, headers, body = post(port, CHAT)
        assert (status, json.loads(body)["error"]["code"]) == (503, "too_many_connections")
        assert headers["retry-after"] == "1"
        assert headers["connection"] == "close"
    live.until(lambda: post(port, CHAT)[0] == 200)
    assert {e.reason for e in live.entries(6)} >= {"too_many_connections", "client_disconnected"}


def test_idle_clients_make_room_and_busy_ones_leave_it_for_a_refusal(live: Live) -> None:
    bounds = WireBounds(spared_s=0.2, linger_s=5.0)
    port = live.gateway(live.engine(), most_files=RESERVED, timeouts=Timeouts(), bounds=bounds)

    def connect(sent: bytes) -> socket.socket:
        client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        client.sendall(sent)
        return client

    with ExitStack() as clients:
        for _ in range(RESERVED):
            connect(b"")
        time.sleep(0.3)
        assert get(port, "/health")[0] == 200  # who was idle for longest made room

        # Whoever has begun to ask keeps the place; of so many the last find none.
        busy = [connect(b"POST /v1/comp") for _ in range(2 * RESERVED)]
        refused = [client.recv(1000) for client in busy[RESERVED // 2 + 8 :]]
    assert all(answer.startswith(b"HTTP/1.1 503") for answer in refused)
    assert b"too_many_connections" in refused[0]


def test_a_process_takes_the_files_it_may_have() -> None:
    script = (
        "import resource as r; from headway.http.descriptors import allow_files;"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (256, hard));"
        "print(allow_files(), r.getrlimit(r.RLIMIT_NOFILE)[0], hard)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    allowed, soft, hard = map(int, done.stdout.split())
    assert allowed == soft
    assert soft == MOST_FILES or soft == hard > 256


def test_thousands_of_failures_are_a_pause_like_any_other() -> None:
    breaker = Breaker()
    for number in range(5000):
        breaker.fail(100.0 + number, 99.5 + number)
    assert not breaker.allows(5099.0 + MAX_PAUSE_S - 1)
    assert breaker.allows(5099.0 + MAX_PAUSE_S)


def test_one_crash_is_one_incident_however_many_requests_it_takes() -> None:
    breaker = Breaker()
    for _ in range(50):  # all began before it
        breaker.fail(now_s=10.0, began_s=9.0)
    assert breaker.failures == 1
    assert breaker.allows(10.0)
    for now_s in (11.0, 12.0):
        breaker.fail(now_s, began_s=now_s - 0.5)
    assert not breaker.allows(12.5)


def test_a_good_health_answer_ends_a_pause_until_it_proves_wrong() -> None:
    breaker = Breaker()
    for now_s in (1.0, 2.0, 3.0):
        breaker.fail(now_s, now_s - 0.1)
    breaker.note_health(is_good=True, now_s=3.1)
    assert breaker.allows(3.1)
    breaker.begin()
    assert not breaker.allows(3.2)  # one on trial
    breaker.fail(3.3, 3.15)

    breaker.note_health(is_good=True, now_s=3.4)
    assert not breaker.allows(3.5)  # healthy, and answers nothing
    breaker.note_health(is_good=False, now_s=3.6)
    breaker.note_health(is_good=True, now_s=3.8)
    assert breaker.allows(3.8)  # it was down, and is up again
    breaker.begin()
    breaker.answering()
    assert breaker.allows(3.9)


@pytest.mark.parametrize("mode", ["schedule", "annotate"])
def test_an_engine_that_crashed_is_used_as_soon_as_it_is_back(live: Live, mode: str) -> None:
    speed = FakeSpeed(ttft_s=0.01, itl_s=0.05, tokens=100)
    port = live.gateway(live.engine(speed), timeouts=Timeouts(), mode=mode)
    gateway, engine = live.gateways[0], live.engines[0]
    there = int(next(iter(gateway.scheduler.fleet.engines)).rsplit(":", 1)[1][:-3])
    clients = [threading.Thread(target=post, args=(port, STREAM)) for _ in range(20)]
    for client in clients:
        client.start()
    live.until(lambda: len(engine.connections) >= 20)

    live.run(engine.stop())
    for client in clients:
        client.join()
    state = next(iter(gateway.scheduler.fleet.engines.values()))
    assert state.breaker.failures <= 1
    for _ in range(5):  # who comes while it is away fails fast or waits, and counts as well
        threading.Thread(target=post, args=(port, CHAT)).start()
    live.until(lambda: not state.healthy)
    live.engine(FakeSpeed(), port=there)
    live.until(lambda: len(live.engines[1].bodies) >= 5)
    assert post(port, CHAT)[0] == 200


def test_a_request_without_a_first_byte_leaves_an_engine_that_is_dead(live: Live) -> None:
    port = live.gateway(live.engine(), live.engine(), timeouts=Timeouts())
    for engine in live.engines:
        engine.faults.append("hang")
    answers: list[int] = []
    client = threading.Thread(target=lambda: answers.append(post(port, STREAM)[0]))
    client.start()
    live.until(lambda: any(engine.bodies for engine in live.engines))
    stuck = next(engine for engine in live.engines if engine.bodies)
    for engine in live.engines:
        engine.faults.clear()

    state = next(
        state for state in live.gateways[0].scheduler.fleet.engines.values() if state.num_in_flight
    )
    while client.is_alive():  # its own health answers say that it is well, in between
        live.loop.call_soon_threadsafe(state.note_health, False, time.monotonic())
        client.join(0.02)
    assert answers == [200]
    assert stuck.cancelled == 1
    assert live.entries(1)[0].attempts == 2


def test_an_answer_that_says_its_end_ends_though_its_connection_does_not(live: Live) -> None:
    port = live.gateway(live.engine())
    status, _, data = post(port, STREAM, x_fake_fault="no-last-chunk")
    assert (status, streamed(data)[-1]) == (200, "[DONE]")
    (entry,) = live.entries(1)
    assert (entry.status, entry.output_tokens) == ("done", 8)
    state = next(iter(live.gateways[0].scheduler.fleet.engines.values()))
    assert state.num_in_flight == 0


@pytest.mark.parametrize("fault", ["not-json", "garbage-stream"])
def test_what_is_not_understood_reaches_the_client_as_it_is(live: Live, fault: str) -> None:
    port = live.gateway(live.engine())
    status, _, data = post(port, {**CHAT, "stream": fault == "garbage-stream"}, x_fake_fault=fault)
    assert (status, data[:6]) == (200, b"data: " if fault == "garbage-stream" else b"<html>")
    (entry,) = live.entries(1)
    assert (entry.status, entry.reason) == ("failed", "not_understood")
    state = next(iter(live.gateways[0].scheduler.fleet.engines.values()))
    assert (state.num_failed, state.breaker.failures) == (0, 0)


def test_a_stream_that_failed_leaves_its_connection_usable(live: Live) -> None:
    port = live.gateway(live.engine())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for fault in ("die", ""):
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(STREAM).encode(), {"x-fake-fault": fault}
        )
        answer = connection.getresponse()
        assert answer.status == 200
        assert (b"[DONE]" in answer.read()) == (not fault)
    connection.close()


def test_an_engine_that_takes_no_key_is_left_alone(live: Live) -> None:
    port = live.gateway(live.engine(), live.engine(), endpoint={"api_key": "x"})
    for _ in range(200):
        live.engines[0].faults.append("status-401")
    for _ in range(12):
        assert post(port, CHAT)[0] == 200
    assert len(live.engines[0].bodies) < 6


def test_another_engine_may_take_the_clients_key(live: Live) -> None:
    port = live.gateway(live.engine(), live.engine())
    for _ in range(12):
        live.engines[0].faults.append("status-401")
    assert [post(port, CHAT, authorization="Bearer theirs")[0] for _ in range(12)] == 12 * [200]


def test_an_engine_that_asks_for_a_pause_gets_one(live: Live) -> None:
    port = live.gateway(live.engine(), live.engine())
    for engine in live.engines:
        engine.faults.append("status-429")  # with Retry-After: 1
    assert post(port, CHAT)[0] == 429
    engines = live.gateways[0].scheduler.fleet.engines.values()
    now_s = time.monotonic()
    assert not any(engine.breaker.allows(now_s) for engine in engines)
    assert all(engine.breaker.allows(now_s + 1.0) for engine in engines)
    assert post(port, CHAT)[0] == 200


def test_a_pool_that_is_gone_takes_no_request_with_it(live: Live) -> None:
    urls = live.engine(FakeSpeed(ttft_s=0.05)), live.engine()
    endpoints = Endpoint(urls[0], pool="old"), Endpoint(urls[1], pool="new")
    port = live.gateway(endpoints=endpoints, timeouts=Timeouts())
    live.engines[0].faults.extend(["close-before"] * 10)
    statuses: list[int] = []
    clients = [
        threading.Thread(target=lambda: statuses.append(post(port, CHAT, x_headway_pool="old")[0]))
        for _ in range(10)
    ]
    for client in clients:
        client.start()
    live.until(lambda: len(live.engines[0].bodies) > 0)
    gateway = live.gateways[0]
    gone = gateway.backends[urls[0]].connections

    async def reload() -> None:
        gateway.reload(replace(gateway.config, endpoints=endpoints[1:]))

    live.run(reload())
    for client in clients:
        client.join(10)
    assert len(statuses) == 10
    assert set(statuses) <= {200, 502}
    live.until(lambda: not gone.num_open)
    assert post(port, CHAT)[0] == 200


def test_an_engine_that_speaks_nonsense_keeps_nobody_from_the_others(live: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    client.sendall(b"HTTP/1.1 2x0 \xff\r\n\r\n")
                    client.close()

        threading.Thread(target=talk, daemon=True).start()
        strange = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        port = live.gateway(strange, live.engine(), timeouts=Timeouts())
        states = live.gateways[0].scheduler.fleet.engines
        live.until(lambda: not states[strange].healthy)
        assert [post(port, CHAT)[0] for _ in range(5)] == [200] * 5
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def test_an_engine_that_keeps_its_connections_open_is_up(live: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        body = b'{"data": [{"id": "kept"}]}'

        def serve(client: socket.socket) -> None:
            with client, suppress(OSError):
                while client.recv(65_536):  # and never closes
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n" + body)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        live.gateway(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        (state,) = live.gateways[0].scheduler.fleet.engines.values()
        live.until(lambda: [model["id"] for model in state.models] == ["kept"])
        assert state.healthy
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def test_answers_are_read_in_passes_after_their_first_token_and_no_longer(live: Live) -> None:
    port = live.gateway(live.engine(FakeSpeed(ttft_s=0.01, itl_s=0.02, tokens=50)))
    passes = live.gateways[0].backends.passes
    assert passes is not None
    streams = [threading.Thread(target=post, args=(port, STREAM)) for _ in range(3)]
    for stream in streams:
        stream.start()
    live.until(lambda: len(passes) == 3)
    for stream in streams:
        stream.join()

    live.until(lambda: len(passes) == 0)
    assert streamed(post(port, STREAM)[2])[-1] == "[DONE]"
    assert [entry.output_tokens for entry in live.entries(4)] == [50] * 4
    assert live.gateways[0].backends.num_connections <= 4
