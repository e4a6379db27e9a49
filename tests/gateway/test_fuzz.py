"""Whatever is asked, no 500 is the gateway's own, and every request ends in one record."""

from __future__ import annotations

import json
import socket

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import Live, get, post, request_bytes

from headway.errors import InputError
from headway.http.message import BrokenAnswerError
from headway.http.meter import TokenMeter
from headway.http.openai import PATHS, read_request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
FIELDS = st.sampled_from([
    "model", "messages", "prompt", "input", "instructions", "stream", "max_tokens", "tools",
    "max_completion_tokens", "priority",
])  # fmt: skip
BODY = st.dictionaries(FIELDS, JSON, max_size=6)
SOME = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_any_json_is_answered(live: Live) -> None:
    port = live.gateway(live.engine())
    count = 0

    @SOME
    @given(st.sampled_from(sorted(PATHS)), BODY)
    def ask(path: str, body: dict[str, object]) -> None:
        nonlocal count
        count += 1
        status, _, answer = post(port, body, path)
        assert status in (200, 400)
        if status == 400:
            assert json.loads(answer)["error"]["message"]

    ask()
    assert len(live.entries(count)) == count


def test_any_bytes_get_an_answer_or_a_close(live: Live) -> None:
    port = live.gateway(live.engine())

    @SOME
    @given(st.binary(max_size=300), st.booleans())
    def ask(sent: bytes, as_body: bool) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(request_bytes(sent) if as_body else sent + b"\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(65_536)
        assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.0 5"))

    ask()
    assert get(port, "/health")[0] == 200


@SOME
@given(st.sampled_from(sorted(set(PATHS.values()))), BODY)
def test_any_request_is_read(api: str, body: dict[str, object]) -> None:
    try:
        asked = read_request(api, json.dumps(body).encode())
    except InputError:
        return
    assert asked.prompt_tokens(4.0) >= 1


@SOME
@given(st.sampled_from(sorted(set(PATHS.values()))), st.lists(JSON, max_size=4))
def test_any_events_are_counted_or_refused(api: str, events: list[object]) -> None:
    meter = TokenMeter(api)
    try:
        for i, event in enumerate(events):
            meter.see(b"data: " + json.dumps(event).encode() + b"\n\n", float(i))
    except BrokenAnswerError:
        return
    meter.end_stream()
    assert meter.output_tokens >= 0
