"""The engine's API as clients meet it."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import pytest
from tests.engines.conftest import Linear, Served, ask, gauges

from headway.engines.timed import TimedPipeline

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


def test_the_openai_client_works_unchanged(served: Served) -> None:
    openai = pytest.importorskip("openai")
    port = served.engine()
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list()] == ["timed"]
        whole = client.chat.completions.create(model="timed", max_tokens=5, **HELLO)
        assert whole.choices[0].message.content == "aaaaa"
        assert whole.choices[0].finish_reason == "length"
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (5, 5)
        stream = client.completions.create(
            model="timed", prompt="abc", max_tokens=4, stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        events = list(stream)
        assert "".join(e.choices[0].text for e in events if e.choices) == "aaaa"
        assert events[-1].usage.total_tokens == 7
        with pytest.raises(openai.BadRequestError, match="gives 1 answer"):
            client.chat.completions.create(model="timed", n=2, **HELLO)


def test_the_true_length_comes_in_a_header(served: Served) -> None:
    port = served.engine()
    asked = {"prompt": "abc", "max_tokens": 9}
    tree = json.loads(ask(port, COMPLETIONS, asked, x_engine_tokens="3")[1])
    assert (tree["usage"]["completion_tokens"], tree["choices"][0]["finish_reason"]) == (3, "stop")
    tree = json.loads(ask(port, COMPLETIONS, asked, x_engine_tokens="30")[1])
    assert (tree["usage"]["completion_tokens"], tree["choices"][0]["finish_reason"]) == (
        9,
        "length",
    )


@pytest.mark.parametrize(
    ("path", "tree", "message"),
    [
        (CHAT, {}, "messages must be"),
        (CHAT, {"messages": [{"content": [{"type": "image_url"}]}]}, "text only"),
        (CHAT, {**HELLO, "tools": [{"type": "function"}]}, "no 'tools'"),
        (COMPLETIONS, {"prompt": ""}, "must not be empty"),
        (COMPLETIONS, {"prompt": [1, -1]}, "one text, or one list of tokens"),
        (COMPLETIONS, {"prompt": "x", "max_tokens": "many"}, "max_tokens must be"),
        (COMPLETIONS, {"prompt": "x" * 5000}, "has 5000 tokens"),
        (COMPLETIONS, {"prompt": "x", "stop": ["."]}, "no 'stop'"),
    ],
)
def test_what_it_cannot_do_is_refused(
    served: Served, path: str, tree: dict[str, Any], message: str
) -> None:
    status, body = ask(served.engine(), path, tree)
    assert status == 400
    assert message in json.loads(body)["error"]["message"]


def test_what_is_no_request_is_refused(served: Served) -> None:
    port = served.engine()
    assert ask(port, "/nowhere")[0] == 404
    assert ask(port, CHAT)[0] == 405
    assert ask(port, "/health") == (200, b"")
    assert ask(port, COMPLETIONS, {"prompt": "x"}, x_engine_tokens="soon")[0] == 400
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", CHAT, "{not json")
    assert connection.getresponse().status == 400
    connection.close()


def test_metrics_have_vllms_names(served: Served) -> None:
    port = served.engine()
    ask(port, COMPLETIONS, {"prompt": "abcd", "max_tokens": 6})
    found = gauges(port)
    assert found["vllm:num_requests_running"] == found["vllm:num_requests_waiting"] == 0
    assert (found["vllm:prompt_tokens_total"], found["vllm:generation_tokens_total"]) == (4, 6)
    assert found["headway_engine_steps_total"] == 6
    assert "vllm:kv_cache_usage_perc" in found


def test_a_client_that_goes_away_is_computed_no_further(served: Served) -> None:
    port = served.engine(TimedPipeline(Linear(0.01)), max_num_seqs=1)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = json.dumps({"prompt": "abc", "max_tokens": 4000, "stream": True})
    connection.request("POST", COMPLETIONS, body)
    connection.getresponse()
    connection.close()
    # The only place is free again, so that another is answered before the first could have been.
    assert ask(port, COMPLETIONS, {"prompt": "abc", "max_tokens": 2})[0] == 200
    assert gauges(port)["vllm:num_requests_running"] == 0


class Broken(TimedPipeline):
    def step(self) -> Any:
        raise RuntimeError("out of memory")


def test_an_engine_that_breaks_says_so(served: Served) -> None:
    port = served.engine(Broken(Linear()))
    status, body = ask(port, COMPLETIONS, {"prompt": "abc"})
    assert status == 503
    assert "out of memory" in json.loads(body)["error"]["message"]
    assert ask(port, "/health")[0] == 503
    assert ask(port, COMPLETIONS, {"prompt": "abc"})[0] == 503


def test_the_gateway_learns_its_capacity(served: Served) -> None:
    from headway.gateway.pools import Endpoint
    from headway.gateway.scheduler.engine import EngineState
    from headway.gateway.server.backend import Backend
    from headway.schedule.view import ServiceTime

    port = served.engine(TimedPipeline(Linear(0.02)), max_num_seqs=2)

    async def look() -> Backend:
        endpoint = Endpoint(f"http://127.0.0.1:{port}/v1")
        backend = Backend(EngineState(endpoint, ServiceTime()))
        for _ in range(2):  # one look alone is not believed
            await backend.look()
        backend.connections.close()
        return backend

    connections = []
    for _ in range(5):
        connections.append(http.client.HTTPConnection("127.0.0.1", port, timeout=20))
        body = json.dumps({"prompt": "abc", "max_tokens": 1000, "stream": True})
        connections[-1].request("POST", COMPLETIONS, body)
    for _ in range(100):  # until all five have come in, and a step has begun
        backend = served.run(look())
        queue = backend.queue
        if queue is not None and (queue.running, queue.waiting) == (2, 3):
            break
        time.sleep(0.02)
    assert queue is not None
    assert (queue.running, queue.waiting) == (2, 3)
    assert int(backend.state.pace.target_in_flight) == 2
    for connection in connections:
        connection.close()
