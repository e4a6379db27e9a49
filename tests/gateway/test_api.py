"""The API as clients use it: the official client, and bytes that must not change."""

from __future__ import annotations

import gc
import json
from typing import Any

import openai
import pytest
from tests.gateway.conftest import CHAT, Live, get, post, streamed

from headway.gateway.server.answer import Answer
from headway.gateway.server.exchange import Exchange
from headway.http.fake import FakeSpeed
from headway.http.server import ServerConnection


def client(port: int, **settings: Any) -> openai.OpenAI:
    settings.setdefault("api_key", "unused")
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", max_retries=0, **settings)


@pytest.fixture
def port(live: Live) -> int:
    return live.gateway(live.engine())


def test_the_official_client_chats(port: int, live: Live) -> None:
    with client(port) as api:
        answer = api.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": "Say something."}]
        )
        assert (answer.choices[0].message.content or "").startswith("the a line")
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 8
    (entry,) = live.entries(1)
    assert (entry.status, entry.output_tokens, entry.model) == ("done", 8, "fake")
    assert entry.prompt is None
    assert len(entry.prompt_hash) == 32


def test_the_official_client_streams(port: int, live: Live) -> None:
    with client(port) as api:
        stream = api.chat.completions.create(
            model="fake",
            messages=[{"role": "user", "content": "Say something."}],
            stream=True,
            extra_headers={"x-fake-tokens": "20"},
        )
        chunks = list(stream)
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) == 20
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20
    (entry,) = live.entries(1)
    assert (entry.status, entry.output_tokens, entry.stream) == ("done", 20, 1)
    assert entry.arrival_s <= (entry.sent_s or 0) <= (entry.first_s or 0) < (entry.last_s or 0)
    record = entry.record
    assert record.status == "done"
    assert record.ttft_s is not None
    assert record.tpot_s is not None


def test_the_official_client_completes_and_responds(port: int) -> None:
    with client(port) as api:
        text = api.completions.create(model="fake", prompt="Once", max_tokens=3)
        assert text.choices[0].text == "the a line "
        events = list(api.completions.create(model="fake", prompt="Once", stream=True))
        assert (
            "".join(e.choices[0].text for e in events if e.choices)
            == "the a line of words that means nothing "
        )
        answer = api.responses.create(model="fake", input="Hello")
        assert answer.output_text.startswith("the a")
        with_events = list(api.responses.create(model="fake", input="Hello", stream=True))
        assert with_events[0].type == "response.output_text.delta"
        assert with_events[-1].type == "response.completed"
        assert [m.id for m in api.models.list()] == ["fake"]
        assert api.models.retrieve("fake").id == "fake"
        with pytest.raises(openai.NotFoundError, match="no backend serves"):
            api.models.retrieve("other")


async def _many(port: int, n: int) -> list[str]:
    import asyncio

    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0
    ) as api:

        async def one(i: int) -> str:
            stream = await api.completions.create(
                model="fake",
                prompt=f"Request {i}",
                stream=True,
                extra_headers={"x-fake-tokens": str(1 + i)},
            )
            return "".join([e.choices[0].text async for e in stream if e.choices])

        return list(await asyncio.gather(*(one(i) for i in range(n))))


def test_many_at_once_get_each_their_own(port: int, live: Live) -> None:
    answers = live.run(_many(port, 30))
    assert [len(a.split()) for a in answers] == list(range(1, 31))
    entries = live.entries(30)
    assert len({e.id for e in entries}) == 30
    assert sorted(e.output_tokens for e in entries) == list(range(1, 31))


def test_the_body_reaches_the_engine_byte_for_byte(live: Live) -> None:
    port = live.gateway(live.engine(with_metrics=False))  # vLLM's would be told what is predicted
    body = (
        b'{ "model":"fake","messages" : [{"role":"user","content":[{"type":"text",'
        b'"text":"\\u00e9 \xc3\xa9"},'
        b'{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],'
        b'"tools":[{"type":"function","function":{"name":"f"}}], '
        b'"unknown_field": 1.50e0, "b":1,"b":2 }\n'
    )
    status, headers, _ = post(port, body, x_other="kept", x_headway_class_="dropped")
    assert status == 200
    assert live.engines[0].bodies[-1] == body
    assert live.engines[0].headers[-1][b"x-other"] == b"kept"
    assert not any(name.startswith(b"x-headway") for name in live.engines[0].headers[-1])
    assert headers["x-fake-engine"] == "yes"
    assert headers["x-headway-id"].startswith("hw-")
    assert float(headers["x-headway-queue-ms"]) >= 0
    assert headers["x-headway-pool"] == "main"


def test_the_stream_reaches_the_client_byte_for_byte(live: Live) -> None:
    backend = live.engine()
    port = live.gateway(backend)
    direct = int(backend.rsplit(":", 1)[1].split("/")[0])
    body = {**CHAT, "stream": True}
    assert post(port, body)[2] == post(direct, body)[2]
    assert post(port, body, x_fake_fault="split")[2] == post(direct, body)[2]
    assert post(port, body, x_fake_fault="rechunk")[2] == post(direct, body)[2]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses"])
def test_events_of_a_megabyte_pass_whole_however_they_are_chunked(live: Live, path: str) -> None:
    backend = live.engine(FakeSpeed(token_bytes=1_000_000, tokens=3))
    port = live.gateway(backend)
    direct = int(backend.rsplit(":", 1)[1].split("/")[0])
    body = {**CHAT, "prompt": "x", "input": "x", "stream": True}
    expected = post(direct, body, path)[2]
    for fault in ("", "rechunk"):
        assert post(port, body, path, x_fake_fault=fault)[2] == expected
    assert [(e.status, e.output_tokens) for e in live.entries(2)] == [("done", 3)] * 2
    assert next(iter(live.gateways[0].scheduler.fleet.engines.values())).num_failed == 0


def test_an_answer_too_long_to_hold_passes_through(live: Live) -> None:
    port = live.gateway(live.engine())
    status, headers, body = post(port, CHAT, x_fake_fault="huge")
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert len(json.loads(body)["choices"][0]["message"]["content"]) == 12 * 2**20
    assert live.entries(1)[0].status == "done"


def test_connections_to_the_engine_are_used_again(port: int, live: Live) -> None:
    live.until(lambda: bool(live.gateways[0].backends) and live.engines[0].accepted >= 2)
    before = live.engines[0].accepted
    for _ in range(10):
        assert post(port, CHAT)[0] == 200
    looks = 4  # at most, of the health check in the meantime
    assert live.engines[0].accepted - before <= 1 + looks


def test_a_client_may_send_several_requests_ahead(port: int, live: Live) -> None:
    import socket

    from tests.gateway.conftest import request_bytes

    body = json.dumps(CHAT).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request_bytes(body) * 3)
        answer = b""
        while answer.count(b"chat.completion") < 3:
            answer += connection.recv(65_536)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert len(live.entries(3)) == 3


def test_old_clients_get_no_chunks(port: int) -> None:
    from tests.gateway.conftest import raw

    body = json.dumps({**CHAT, "stream": True}).encode()
    head = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = raw(port, head + body)
    assert b"chunked" not in answer
    assert streamed(answer)[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/embeddings", 404),
        ("POST", "/v1/models", 405),
        ("GET", "/admin/reload", 404),
        ("POST", "/admin/reload", 404),
        ("GET", "/health", 200),
        ("GET", "/", 200),
    ],
)
def test_paths(port: int, method: str, path: str, status: int) -> None:
    found, _, body = post(port, b"", path, method)
    assert found == status
    if status >= 400:
        assert json.loads(body)["error"]["message"]


def test_metrics_use_the_names_of_vllm(port: int, live: Live) -> None:
    post(port, {**CHAT, "stream": True})
    live.entries(1)
    text = get(port, "/metrics")[2].decode()
    for name in ("num_requests_running", "num_requests_waiting", "request_success_total 1",
                 "time_to_first_token_seconds_count 1", "e2e_request_latency_seconds_bucket",
                 "request_queue_time_seconds_sum", "generation_tokens_total 8"):  # fmt: skip
        assert f"headway:{name}" in text
    state = json.loads(get(port, "/state")[2])
    assert state["recent"][0]["output_tokens"] == 8


def test_what_waits_can_be_seen(live: Live) -> None:
    import threading

    port = live.gateway(live.engine(), endpoint={"max_inflight": 1})
    clients = [
        threading.Thread(target=post, args=(port, CHAT), kwargs={"x_request_id": f"mine-{i}"})
        for i in range(2)
    ]
    with live.busy(port):
        for thread in clients:
            thread.start()
        live.until(lambda: len(live.gateways[0].queues["main"]) == 2)
        tree = json.loads(get(port, "/v1/queue")[2])
        assert (tree["waiting"], tree["running"]) == (2, 1)
        assert [row["position"] for row in tree["data"]] == [0, 1]
        one = tree["data"][1]["request_id"]
        assert json.loads(get(port, f"/v1/queue?id={one}")[2])["data"][0]["position"] == 1
    for thread in clients:
        thread.join()
    assert len(live.entries(3)) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_is_over_leaves_nothing_for_the_garbage_collector(
    live: Live, stream: bool
) -> None:
    port = live.gateway(live.engine(), retries=0)
    gc.collect()
    gc.disable()
    try:
        for fault in ("", "die", "close-before", "status-500", "") * 4:
            more = {"x_fake_fault": fault} if fault else {}
            post(port, {**CHAT, "stream": stream}, **more)
        live.entries(20)
        kinds = Exchange | ServerConnection | Answer
        # The next sweep forgets what it might have noted as open; looks at the engine go on, and
        # whatever a fault leaves it leaves four times.
        live.until(lambda: sum(isinstance(left, kinds) for left in gc.get_objects()) <= 3)
    finally:
        gc.enable()
