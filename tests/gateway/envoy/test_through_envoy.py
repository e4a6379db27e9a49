"""`--through envoy`: a real Envoy carries the bytes, the scheduler decides as it does for ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import CHAT, Live, get, post, raw, request_bytes, streamed
from tests.gateway.envoy.conftest import HAS_ENVOY, needs_openssl, until

from headway.gateway.config import Limits, Tenant, Timeouts, Tls
from headway.gateway.pools import Endpoint
from headway.gateway.scheduler.admission import key_hash
from headway.http.fake import FakeSpeed
from headway.predict.storage import default_predictor

if not HAS_ENVOY:
    pytest.skip("needs a real Envoy: pip install headway[envoy]", allow_module_level=True)

from headway.gateway.envoy.answer_shape import FIRST_LOOKS, MAX_LOOK_ARRIVALS
from headway.gateway.envoy.gateway import EnvoyGateway
from headway.gateway.envoy.process import _ask, run_folder

STREAM = {**CHAT, "stream": True}
QUICK = FakeSpeed(ttft_s=0.002, itl_s=0.0002)
PATIENT = Timeouts(queue_s=5.0, connect_s=1.0, first_byte_s=5.0, gap_s=5.0, drain_s=2.0)


def through_envoy(live: Live, *urls: str, **settings: Any) -> int:
    settings.setdefault("timeouts", PATIENT)
    return live.gateway(*urls, gateway_type=EnvoyGateway, **settings)


def ended(live: Live, count: int) -> list[Any]:
    """The last entries, once so many have ended."""
    recent = live.gateways[-1].scheduler.ledger.recent
    until(lambda: len(recent) >= count)
    return list(recent)


def test_streams_pass_whole_and_are_recorded(live: Live) -> None:
    engine = live.engine(QUICK)
    port = through_envoy(live, engine, predictor=default_predictor())
    direct = int(engine.split(":")[2].split("/")[0])
    # Of more events than are looked into, of fewer, and all in one.
    for tokens in (2 * MAX_LOOK_ARRIVALS, 5, 1):
        status, headers, data = post(port, STREAM, x_fake_tokens=str(tokens))
        assert (status, data) == (200, post(direct, STREAM, x_fake_tokens=str(tokens))[2])
        assert headers["x-headway-id"].startswith("hw-")
        assert float(headers["x-headway-queue-ms"]) < 1000
        assert headers["x-headway-pool"] == "main"
    status, _, data = post(port, CHAT, x_fake_tokens="7")
    assert json.loads(data)["usage"]["completion_tokens"] == 7

    entries = live.entries(4)
    assert [e.status for e in entries] == ["done"] * 4
    *short, long = sorted(e.output_tokens for e in entries)
    assert short == [1, 5, 7]
    # Seen by half and told by its bytes; what came together on a busy machine is told less exactly.
    assert long == pytest.approx(2 * MAX_LOOK_ARRIVALS, rel=0.1)
    for entry in entries:
        assert entry.backend == engine
        assert entry.arrival_s <= (entry.sent_s or 0) <= (entry.first_s or 0)
        assert entry.p90_tokens is not None


def test_bytes_tell_the_tokens_of_what_is_not_looked_into(live: Live) -> None:
    port = through_envoy(live, live.engine(QUICK), live.engine(QUICK))
    for number in range(FIRST_LOOKS + 20):
        tokens = 3 + number * 7 % 90
        post(port, STREAM, x_fake_tokens=str(tokens))
        entry = ended(live, number + 1)[-1]
        # The first ones are seen in part, and their lines go through few points.
        tolerance = 1 if number >= FIRST_LOOKS else 1 + 0.2 * tokens
        assert abs(entry.output_tokens - tokens) <= tolerance
        assert 0 < (entry.first_s or 0) - entry.arrival_s < 1


def test_what_is_no_request_is_answered_as_ours_does(live: Live) -> None:
    port = through_envoy(live, live.engine(QUICK), limits=Limits(body_bytes=2**16))
    status, _, data = post(port, b"{")
    assert status == 400
    assert "not JSON" in json.loads(data)["error"]["message"]
    assert post(port, None, method="GET")[0] == 405
    assert post(port, b"x" * 2**20)[0] == 413
    assert get(port, "/health")[2] == b'{"status": "up"}'
    assert json.loads(get(port, "/v1/models")[2])["object"] == "list"
    assert get(port, "/nothing")[0] == 404


def test_keys_are_checked_before_a_body_is_read_and_stay_here(live: Live) -> None:
    engine = live.engine(QUICK)
    tenants = (Tenant("a", key_hash("secret")),)
    port = through_envoy(live, tenants=tenants, endpoints=(Endpoint(engine, api_key="engines"),))
    begun = request_bytes(b"x" * 10).replace(b"Content-Length: 10", b"Content-Length: 99999")
    assert b" 401 " in raw(port, begun)[:20]
    assert post(port, STREAM, Authorization="Bearer wrong")[0] == 401
    assert post(port, STREAM, Authorization="Bearer secret")[0] == 200
    assert live.engines[0].headers[-1][b"authorization"] == b"Bearer engines"
    assert [e.code for e in ended(live, 1)] == [200]
    ends = live.gateways[-1].scheduler.ledger.telemetry.ends
    assert ends["rejected", "unauthorized"] == 2


def test_who_waits_is_held_here_and_leaves_when_its_client_does(live: Live) -> None:
    slow = live.engine(FakeSpeed(ttft_s=0.3, itl_s=0.001))
    port = through_envoy(live, endpoints=(Endpoint(slow, max_inflight=1),), limits=Limits(queue=1))
    queues = live.gateways[-1].queues
    first = threading.Thread(target=post, args=(port, STREAM))
    first.start()
    until(lambda: len(live.engines[0].bodies) == 1)

    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request_bytes(json.dumps(STREAM).encode()))
        until(lambda: len(queues["main"]) == 1)
        status, headers, _ = post(port, STREAM)  # one more than may wait
        assert (status, headers["retry-after"]) == (429, "5")
    until(lambda: not len(queues["main"]))
    first.join()
    statuses = sorted((e.status, e.reason) for e in ended(live, 3))
    assert statuses == [("done", ""), ("failed", "client_disconnected"), ("rejected", "queue_full")]
    assert len(live.engines[0].bodies) == 1


def test_a_client_that_leaves_gives_its_place_back(live: Live) -> None:
    port = through_envoy(live, live.engine(FakeSpeed(ttft_s=0.01, itl_s=0.05, tokens=100)))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request_bytes(json.dumps(STREAM).encode()))
        client.recv(1000)
    (entry,) = ended(live, 1)
    assert (entry.status, entry.reason) == ("failed", "client_disconnected")
    assert live.engines[0].cancelled == 1
    assert all(e.num_in_flight == 0 for e in live.gateways[-1].scheduler.fleet.engines.values())


def test_a_dead_engine_costs_no_request(live: Live) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        port = through_envoy(live, dead, live.engine(QUICK))
        assert [post(port, STREAM)[0] for _ in range(8)] == [200] * 8
    entries = ended(live, 8)
    assert {e.backend for e in entries} == {live.gateways[-1].config.endpoints[1].url}


def test_errors_of_engines_are_told_and_counted(live: Live) -> None:
    port = through_envoy(live, live.engine(QUICK), retries=0)
    assert post(port, STREAM, x_fake_fault="status-400")[0] == 400
    status, _, data = post(port, STREAM, x_fake_fault="close-before")
    assert status == 503
    assert json.loads(data)["error"]["type"] == "server_error"
    outcomes = sorted((entry.status, entry.code) for entry in ended(live, 2))  # logs may overtake
    assert outcomes == [("failed", 400), ("failed", 503)]


def test_annotating_writes_the_order_into_the_body(live: Live) -> None:
    port = through_envoy(live, live.engine(QUICK), mode="annotate")
    assert post(port, STREAM)[0] == 200
    body = json.loads(live.engines[0].bodies[-1])
    assert isinstance(body.pop("priority"), int)
    assert body == STREAM


def test_a_reload_changes_the_engines(live: Live) -> None:
    first, second = live.engine(QUICK), live.engine(QUICK)
    port = through_envoy(live, first)
    assert post(port, STREAM)[0] == 200
    gateway = live.gateways[-1]

    async def reload() -> None:
        gateway.reload(replace(gateway.config, endpoints=(Endpoint(second),)))

    live.run(reload())
    until(lambda: post(port, STREAM)[0] == 200 and len(live.engines[1].bodies) > 0)


def test_an_envoy_that_ends_is_started_again(live: Live) -> None:
    port = through_envoy(live, live.engine(QUICK))
    gateway = live.gateways[-1]
    assert isinstance(gateway, EnvoyGateway)
    listeners = json.loads((gateway.envoy.folder / "listeners.json").read_text())
    listeners["resources"][0]["address"]["socket_address"]["port_value"] = port
    gateway.envoy.write("listeners", listeners)  # the same port after the restart
    process = gateway.envoy._process
    assert process is not None
    process.kill()
    until(lambda: gateway.envoy.num_starts == 2)
    until(lambda: not refused(port))
    assert post(port, STREAM)[0] == 200


def refused(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


@needs_openssl
def test_clients_may_speak_tls_and_http2(live: Live, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    port = through_envoy(live, live.engine(QUICK), tls=Tls(str(certificate), str(key)))
    context = ssl.create_default_context(cafile=str(certificate))
    for wanted in ("h2", "http/1.1"):
        context.set_alpn_protocols([wanted])
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            assert client.selected_alpn_protocol() == wanted
    # The last one spoke HTTP/1.1: a request over such a connection.
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(request_bytes(json.dumps(STREAM).encode(), more="Connection: close\r\n"))
        answer = b""
        while data := client.recv(65_536):
            answer += data
    assert b"[DONE]" in answer


@contextmanager
def served(engine: str, port: int) -> Iterator[subprocess.Popen[str]]:
    start = "from headway.cli.main import main; main()"
    command = [sys.executable, "-c", start, "serve", "--backend", engine, "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--through", "envoy"], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stdout is not None
        assert re.search(f":{port}/v1", process.stdout.readline())
        yield process
    finally:
        process.kill()
        process.communicate()


def test_envoy_goes_on_without_its_picker_and_the_next_one_takes_over(
    live: Live, request: pytest.FixtureRequest
) -> None:
    engine = live.engine(QUICK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])

    def clear_up() -> None:
        folder = run_folder(port)
        _ask(folder / "admin", "POST", "/quitquitquit")
        shutil.rmtree(folder)

    request.addfinalizer(clear_up)
    with served(engine, port) as process:
        assert "x-headway-id" in post(port, STREAM)[1]
        process.kill()
        began_s = time.monotonic()
        status, headers, data = post(port, STREAM)
        assert (status, streamed(data)[-1]) == (200, "[DONE]")
        assert "x-headway-id" not in headers  # nobody decided: Envoy's default did
        assert time.monotonic() - began_s < 2.0

    with served(engine, port) as process:
        assert "x-headway-id" in post(port, STREAM)[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0  # which ends Envoy, too
    until(lambda: refused(port))
