"""Models by other names, what stands in for them, and what engines offer beside generating text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conftest import CHAT, Live, get, post

from headway.errors import InputError
from headway.gateway.config import Tenant
from headway.gateway.model_names import ModelName, engine_name
from headway.gateway.scheduler.admission import key_hash
from headway.http.fake import FakeEngine
from headway.http.message import JSON_HEADERS, HttpRequest
from headway.http.openai import with_model
from headway.http.server import ServerConnection


class Other(FakeEngine):
    """An engine that also tells, for paths of its own, what it was asked."""

    def received(self, connection: ServerConnection, request: HttpRequest) -> None:
        known = ("/v1/embeddings", "/v1/audio/transcriptions", "/tokenize", "/v1/responses/r1")
        if request.path not in known:
            super().received(connection, request)
            return
        told = {"method": request.method, "path": request.path, "size": len(request.body),
                "query": request.query, "model": self.model}  # fmt: skip
        connection.answer(200, JSON_HEADERS, json.dumps(told).encode(), request.keep_alive)


def other(live: Live, model: str = "fake") -> str:
    engine = Other(model=model)
    port = live.run(engine.start())
    live.engines.append(engine)
    return f"http://127.0.0.1:{port}/v1"


@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.sampled_from("abcdx"), st.booleans())),
    st.sampled_from("abcde"),
    st.sets(st.sampled_from("abcdex")),
)
def test_names_lead_to_an_end_and_to_what_is_up_where_they_can(
    table: dict[str, tuple[str, bool]], asked: str, up: set[str]
) -> None:
    names = {
        name: ModelName(name, serves="" if is_fallback else other, fallback=other * is_fallback)
        for name, (other, is_fallback) in table.items()
        if name != other
    }
    model = engine_name(names, asked, lambda name: name in up)
    if asked not in names:
        assert model == asked
    elif not names[asked].fallback:
        assert model == names[asked].serves
    elif asked in up:
        assert model == asked


def test_a_name_needs_a_meaning() -> None:
    with pytest.raises(InputError, match="serves or fallback"):
        ModelName("a")
    with pytest.raises(InputError, match="itself"):
        ModelName("a", fallback="a")


def test_only_the_model_of_a_body_changes() -> None:
    body = json.dumps({"model": "a", "n": 1, "messages": [{"content": "\u00e9"}]}).encode()
    assert json.loads(with_model(body, "b")) == {**json.loads(body), "model": "b"}
    assert with_model(b"no json", "b") == b"no json"


def test_an_alias_goes_to_the_engine_that_has_the_model(live: Live) -> None:
    urls = [other(live, "small"), other(live, "large")]
    port = live.gateway(*urls, models=(ModelName("best", serves="large"),))
    fleet = live.gateways[0].scheduler.fleet
    live.until(lambda: all(engine.models for engine in fleet.engines.values()))
    for _ in range(3):
        assert post(port, {**CHAT, "model": "best"})[0] == 200
        assert post(port, {**CHAT, "model": "small"})[0] == 200
    small, large = live.engines
    assert {json.loads(body)["model"] for body in small.bodies} == {"small"}
    assert [json.loads(body)["model"] for body in large.bodies] == ["large"] * 3
    names = {entry["id"] for entry in json.loads(get(port, "/v1/models")[2])["data"]}
    assert names == {"best", "small", "large"}


def test_a_fallback_answers_while_the_model_is_away(live: Live) -> None:
    urls = [other(live, "home"), other(live, "abroad")]
    port = live.gateway(*urls, models=(ModelName("home", fallback="abroad"),))
    fleet = live.gateways[0].scheduler.fleet
    live.until(lambda: all(engine.models for engine in fleet.engines.values()))
    assert post(port, {**CHAT, "model": "home"})[0] == 200
    live.run(live.engines[0].stop())
    live.until(lambda: not fleet.engines[urls[0]].healthy)
    assert post(port, {**CHAT, "model": "home"})[0] == 200
    assert [len(engine.bodies) for engine in live.engines] == [1, 1]
    assert json.loads(live.engines[1].bodies[0])["model"] == "abroad"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/embeddings", b'{"model": "fake", "input": "x"}'),
        ("POST", "/tokenize", b'{"prompt": "x"}'),
        ("POST", "/v1/audio/transcriptions", b"--b\r\nany bytes \x00\xff"),
        ("GET", "/v1/responses/r1", b""),
        ("DELETE", "/v1/responses/r1", b""),
    ],
)
def test_other_endpoints_are_passed_on_with_keys_limits_and_a_record(
    live: Live, method: str, path: str, body: bytes
) -> None:
    tenant = Tenant("one", key_hash("hw-one"))
    port = live.gateway(other(live), tenants=(tenant,))
    assert post(port, body, path, method)[0] == 401
    status, headers, answer = post(port, body, path, method, authorization="Bearer hw-one")
    assert status == 200
    told = json.loads(answer)
    assert (told["method"], told["path"], told["size"]) == (method, path, len(body))
    assert "x-headway-id" in headers
    (entry,) = live.entries(1)
    assert (entry.tenant, entry.api, entry.status) == ("one", "other", "done")


def test_embeddings_go_to_the_engine_that_has_their_model(live: Live) -> None:
    port = live.gateway(other(live, "chat"), other(live, "embed"))
    fleet = live.gateways[0].scheduler.fleet
    live.until(lambda: all(engine.models for engine in fleet.engines.values()))
    for _ in range(4):
        answer = post(port, {"model": "embed", "input": "x"}, "/v1/embeddings")[2]
        assert json.loads(answer)["model"] == "embed"


def test_an_answer_is_asked_for_where_it_was_made(live: Live) -> None:
    """An engine that does not know it says 404, and the next one is asked."""
    port = live.gateway(live.engine(), other(live))
    for _ in range(4):
        assert post(port, b"", "/v1/responses/r1", "GET")[0] == 200
    assert post(port, b"", "/v1/responses/unheard-of", "GET")[0] == 404


def test_what_nobody_offers_is_not_found(live: Live) -> None:
    port = live.gateway(other(live))
    assert post(port, b"{}", "/v1/nothing")[0] == 404
    assert get(port, "/v1/embeddings")[0] == 405
