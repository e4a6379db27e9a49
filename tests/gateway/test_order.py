"""Requests that wait: in the policy's order, by tenant, by deadline, and as engines' priorities."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.gateway.conftest import Live, get, post

from headway.gateway.config import Fairness, Limits, ServiceClass, Tenant
from headway.gateway.scheduler.admission import key_hash
from headway.gateway.scheduler.priority import Priorities
from headway.http.fake import FakeSpeed
from headway.http.openai import with_priority
from headway.predict.log import read_log
from headway.predict.prediction import LengthPrediction
from headway.schedule.deadline import EarliestDeadline, Moore
from headway.schedule.fair import FairShares
from headway.schedule.order import Fcfs, HighestResponseRatio, ShortestJob
from headway.schedule.view import ServiceTime
from headway.workload.request import Request


class FromPrompt:
    """Predicts the number at the end of the prompt; keeps what it was taught."""

    def __init__(self) -> None:
        self.taught: list[tuple[str, int]] = []

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        found = []
        for request in requests:
            n = float(request.prompt.split()[-1])
            found.append(LengthPrediction(((0.1, 0.8 * n), (0.5, n), (0.9, 1.2 * n))))
        return found

    def observe(self, request: Request, output_tokens: int) -> None:
        self.taught.append((request.prompt, output_tokens))


def chat(text: str) -> dict[str, object]:
    return {"model": "fake", "messages": [{"role": "user", "content": text}]}


def burst(
    live: Live, port: int, texts: Sequence[str], hold_s: float = 0.0, **headers: list[str]
) -> list[str]:
    """Keep one request running while ``texts`` come to wait; returns the order they ran in.

    It is kept for ``hold_s`` longer, for policies by which it matters how long somebody waited.
    """
    engine = live.engines[0]
    queue = live.gateways[0].queues["main"]
    key = {name: values[0] for name, values in headers.items() if name == "authorization"}
    threads = []
    with live.busy(port, **key):
        for i, text in enumerate(texts):
            more = {name: values[i] for name, values in headers.items() if values[i]}
            thread = threading.Thread(target=post, args=(port, chat(text)), kwargs=more)
            thread.start()
            threads.append(thread)
            live.until(lambda i=i: len(queue) == i + 1)  # type: ignore[misc]
        time.sleep(hold_s)
    for thread in threads:
        thread.join()
    return [json.loads(body)["messages"][0]["content"] for body in list(engine.bodies)[1:]]


SLOW = FakeSpeed(ttft_s=0.02)
ONE = {"max_inflight": 1}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Fcfs(), ["a 500", "b 20", "c 100", "d 3"]),
        (ShortestJob(), ["d 3", "b 20", "c 100", "a 500"]),
        (HighestResponseRatio(), ["d 3", "b 20", "c 100", "a 500"]),
    ],
)
def test_the_policy_says_who_goes_next(live: Live, policy: Fcfs, expected: list[str]) -> None:
    backend = live.engine(SLOW)
    port = live.gateway(backend, policy=policy, predictor=FromPrompt(), endpoint=ONE)
    assert burst(live, port, ["a 500", "b 20", "c 100", "d 3"], hold_s=0.5) == expected


def test_a_static_batch_holds_answers_of_one_length(live: Live) -> None:
    port = live.gateway(
        live.engine(SLOW), policy=ShortestJob(), predictor=FromPrompt(),
        endpoint={"max_inflight": 2, "batching": "static", "batch_ratio": 2.0},
    )  # fmt: skip
    order = burst(live, port, ["a 1000", "b 10", "c 1100", "d 90", "e 12", "f 100"])
    batches = [set(order[i : i + 2]) for i in (0, 2, 4)]
    assert batches == [{"b 10", "e 12"}, {"d 90", "f 100"}, {"a 1000", "c 1100"}]
    assert live.engines[0].max_running == 2


def test_a_static_batch_is_over_before_the_next_begins(live: Live) -> None:
    engine = live.engine(FakeSpeed(itl_s=0.01))
    port = live.gateway(
        engine, policy=ShortestJob(), predictor=FromPrompt(),
        endpoint={"max_inflight": 2, "batching": "static", "batch_ratio": 100.0},
    )  # fmt: skip
    live.engines[0].lengths.update({"a 10": 10, "b 40": 40, "c 50": 50, "d 60": 60})
    burst(live, port, ["a 10", "b 40", "c 50", "d 60"])
    done = {e.output_tokens: e for e in live.entries(5) if e.status == "done"}
    starts = {tokens: entry.sent_s or 0.0 for tokens, entry in done.items()}
    assert starts[10] == pytest.approx(starts[40], abs=0.005)
    assert starts[50] == pytest.approx(starts[60], abs=0.005)
    assert starts[50] >= (done[40].last_s or 0.0)


def test_deadlines_come_by_header_and_by_class(live: Live) -> None:
    from headway.workload.request import Slo

    port = live.gateway(
        live.engine(SLOW), policy=EarliestDeadline(), endpoint=ONE,
        classes=(ServiceClass("urgent", Slo(e2e_s=0.5)),),
    )  # fmt: skip
    order = burst(
        live, port, ["a", "b", "c"],
        x_headway_deadline_ms=["9000", "", "4000"], x_headway_class=["", "urgent", ""],
    )  # fmt: skip
    assert order == ["b", "c", "a"]
    deadlines = sorted(e.slo_e2e_s or 0 for e in live.entries(4))
    assert deadlines == [0, 0.5, 4.0, 9.0]


def test_who_can_be_in_time_goes_first_and_the_shortest_of_the_others(live: Live) -> None:
    port = live.gateway(
        live.engine(SLOW), policy=Moore(), predictor=FromPrompt(), endpoint=ONE,
        expected=ServiceTime(0.0, 0.0, 1e-3),
    )  # fmt: skip
    order = burst(
        live, port, ["none 900", "late 2000", "soon 100", "none 20", "later 100"],
        x_headway_ttft_ms=["", "1", "4000", "", "9000"],
    )  # fmt: skip
    assert order == ["soon 100", "later 100", "none 20", "none 900", "late 2000"]


@pytest.mark.parametrize(
    ("admission", "expected"),
    [("off", [200, 200, 200]), ("hopeless", [429, 200, 200]), ("strict", [429, 429, 200])],
)
def test_who_cannot_be_in_time_is_told_how_long_it_would_wait(
    live: Live, admission: str, expected: list[int]
) -> None:
    port = live.gateway(
        live.engine(SLOW), policy=Moore(), predictor=FromPrompt(), endpoint=ONE,
        admission=admission, expected=ServiceTime(0.0, 0.0, 1e-2),
    )  # fmt: skip
    answers: dict[str, tuple[int, dict[str, str]]] = {}

    def ask(text: str, **headers: str) -> None:
        status, found, _ = post(port, chat(text), **headers)
        answers[text] = status, found

    queue = live.gateways[0].queues["main"]
    threads = [threading.Thread(target=ask, args=("first 1000",))]
    with live.busy(port):
        threads[0].start()
        live.until(lambda: len(queue) == 1)
        for text, ttft_ms in (("now 10", "0.01"), ("soon 1000", "8000"), ("later 10", "30000")):
            threads.append(
                threading.Thread(target=ask, args=(text,), kwargs={"x_headway_ttft_ms": ttft_ms})
            )
            threads[-1].start()
            waiting = len(queue)
            live.until(lambda w=waiting, t=text: len(queue) > w or t in answers)  # type: ignore[misc]
    for thread in threads:
        thread.join()
    statuses = [answers[text][0] for text in ("now 10", "soon 1000", "later 10")]
    assert answers["first 1000"][0] == 200
    assert [statuses[0], statuses[2]] == [expected[0], expected[2]]
    if admission != "off":
        assert int(answers["now 10"][1]["retry-after"]) >= 1


def test_a_class_bounds_how_many_wait_and_for_how_long(live: Live) -> None:
    port = live.gateway(
        live.engine(SLOW), policy=ShortestJob(), predictor=FromPrompt(), endpoint=ONE,
        classes=(ServiceClass("batch", max_waiting=1, ttl_s=0.3),),
    )  # fmt: skip
    answers: list[tuple[int, bytes]] = []

    def ask(text: str) -> None:
        status, _, body = post(port, chat(text), x_headway_class="batch")
        answers.append((status, body))

    with live.busy(port):
        threads = [threading.Thread(target=ask, args=(text,)) for text in ("a 1", "b 2")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(status for status, _ in answers) == [429, 503]
    assert any(b"its class waits no longer" in body for _, body in answers)


def test_classes_share_by_weight(live: Live) -> None:
    port = live.gateway(
        live.engine(SLOW), policy=Fcfs(), predictor=FromPrompt(), endpoint=ONE,
        classes=(ServiceClass("big", weight=3.0), ServiceClass("small", weight=1.0)),
        fairness=Fairness(by_class=True),
    )  # fmt: skip
    who = ["small"] * 4 + ["big"] * 4
    order = burst(live, port, [f"{name} 20" for name in who], x_headway_class=who)
    started = [text.split()[0] for text in order]
    assert started[:5].count("big") >= 3


@pytest.mark.parametrize("header", ["x_headway_deadline_ms", "x_headway_ttft_ms"])
@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "inf", "1e99"])
def test_a_bad_objective_is_refused(live: Live, header: str, value: str) -> None:
    port = live.gateway(live.engine())
    assert post(port, chat("x"), **{header: value})[0] == 400
    assert post(port, chat("x"), x_headway_class="unknown")[0] == 400


def test_whoever_waits_longest_gets_a_turn(live: Live) -> None:
    port = live.gateway(
        live.engine(SLOW), policy=ShortestJob(), predictor=FromPrompt(), endpoint=ONE,
        fairness=Fairness(patience_s=0.0, oldest_every=2),
    )  # fmt: skip
    order = burst(live, port, ["a 500", "b 20", "c 100", "d 3", "e 4"])
    assert order.index("a 500") <= 1  # n = 0 older ones: at most 2 * (0 + 1) starts


def test_tenants_share(live: Live) -> None:
    keys = {"one": "hw-1", "two": "hw-2"}
    tenants = tuple(Tenant(name, key_hash(key)) for name, key in keys.items())
    port = live.gateway(
        live.engine(SLOW), endpoint=ONE, tenants=tenants, fairness=Fairness(by_tenant=True)
    )
    bearer = {name: f"Bearer {key}" for name, key in keys.items()}
    order = burst(
        live, port, ["1a", "1b", "1c", "2a"],
        authorization=[bearer["one"], bearer["one"], bearer["one"], bearer["two"]],
    )  # fmt: skip
    assert order.index("2a") <= 1


def test_the_policy_of_fair_shares_goes_by_weight(live: Live) -> None:
    keys = {"one": "hw-1", "two": "hw-2"}
    tenants = (
        Tenant("one", key_hash("hw-1"), weight=3.0),
        Tenant("two", key_hash("hw-2"), weight=1.0),
    )
    # Every answer is as long as predicted, and what it costs is configured: nothing is learned.
    port = live.gateway(
        live.engine(FakeSpeed(ttft_s=0.02, tokens=20)), endpoint=ONE, tenants=tenants,
        policy=FairShares(), predictor=FromPrompt(),
    )  # fmt: skip
    who = ["one"] * 9 + ["two"] * 9
    bearer = [f"Bearer {keys[name]}" for name in who]
    order = burst(live, port, [f"{name} 20" for name in who], authorization=bearer)
    started = [text.split()[0] for text in order]
    for n in range(1, 13):
        first, second = started[:n].count("one"), started[:n].count("two")
        assert abs(first / 3 - second) <= 1 / 3 + 1  # one request of each over its weight


def test_annotating_by_fair_shares_puts_a_greedy_tenant_last(live: Live) -> None:
    tenants = tuple(Tenant(name, key_hash(f"hw-{name}")) for name in ("greedy", "modest"))
    port = live.gateway(
        live.engine(), mode="annotate", tenants=tenants, policy=FairShares(),
        predictor=FromPrompt(), fairness=Fairness(patience_s=1000.0),
    )  # fmt: skip
    live.fill_engines()
    for _ in range(10):
        post(port, chat("much 3000"), authorization="Bearer hw-greedy")
    post(port, chat("little 3000"), authorization="Bearer hw-modest")
    *greedy, modest = (json.loads(body)["priority"] for body in live.engines[0].bodies)
    assert greedy == sorted(greedy)
    assert modest < greedy[2]


def test_a_clients_own_expectation_moves_its_prediction(live: Live) -> None:
    class Vague:
        def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
            return [LengthPrediction(((0.1, 10.0), (0.5, 100.0), (0.9, 1000.0)))] * len(requests)

        def observe(self, request: Request, output_tokens: int) -> None:
            pass

    port = live.gateway(live.engine(), predictor=Vague())

    def p50(**headers: str) -> float:
        found = post(port, chat("x"), **headers)[1]["x-headway-predicted-tokens"]
        return float(found.split(",")[0].removeprefix("p50="))

    assert p50() == pytest.approx(100, abs=1)
    assert p50(x_headway_expected_tokens="20") < 35
    assert p50(x_headway_expected_tokens="1000") > 500
    assert post(port, chat("x"), x_headway_expected_tokens="many")[0] == 400


def test_each_answer_teaches_the_predictor(live: Live) -> None:
    predictor = FromPrompt()
    port = live.gateway(live.engine(), predictor=predictor)
    _, headers, _ = post(port, chat("as long as 40"), x_fake_tokens="33")
    assert headers["x-headway-predicted-tokens"] == "p50=40, p90=48"
    live.until(lambda: predictor.taught == [("as long as 40", 33)])
    (entry,) = live.entries(1)
    assert entry.p50_tokens == pytest.approx(40)
    assert entry.output_tokens == 33


def test_a_chat_is_joined_live_as_it_was_learned(live: Live, tmp_path: Path) -> None:
    """The predictor is shown the same text by the gateway as by a log of the same request."""
    predictor = FromPrompt()
    port = live.gateway(live.engine(), predictor=predictor)
    turns = ("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi."), ("user", "Count to 9")
    body = {"model": "fake", "messages": [{"role": r, "content": text} for r, text in turns]}
    assert post(port, body)[0] == 200
    live.until(lambda: len(predictor.taught) == 1)

    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({**body, "output_tokens": 9}) + "\n")
    (observation,) = read_log(log)
    assert predictor.taught[0][0] == observation.prompt
    assert "assistant: Hi." in observation.prompt


def test_a_predictor_that_fails_loses_no_request(live: Live) -> None:
    port = live.gateway(
        live.engine(SLOW), policy=ShortestJob(), predictor=FromPrompt(), endpoint=ONE
    )
    order = burst(live, port, ["no number", "x 3", "y 2"])
    assert sorted(order) == ["no number", "x 3", "y 2"]
    assert post(port, chat("none at all"))[0] == 200
    entries = live.entries(5)
    assert [e.status for e in entries].count("done") == 4


def test_annotating_passes_everything_on_with_a_priority(live: Live) -> None:
    port = live.gateway(
        live.engine(), mode="annotate", policy=ShortestJob(), predictor=FromPrompt(), endpoint=ONE
    )
    live.fill_engines()
    for text in ("x 10", "x 1000", "x 5"):
        assert post(port, chat(text))[0] == 200
    bodies = [json.loads(body) for body in live.engines[0].bodies]
    first, long, short = (body["priority"] for body in bodies)
    assert long > short
    assert long - first <= 30_000 + 5000


def test_what_nobody_waits_for_is_annotated_without_being_kept(live: Live) -> None:
    port = live.gateway(
        live.engine(), mode="annotate", policy=ShortestJob(), predictor=FromPrompt()
    )
    for text in ("x 1000", "x 5"):
        _, headers, _ = post(port, chat(text))
        assert headers["x-headway-predicted-tokens"].startswith(f"p50={text.split()[1]}")
    long, short = (json.loads(body)["priority"] for body in live.engines[0].bodies)
    assert 0 <= short - long < 5000  # by arrival alone


def test_a_priority_leaves_every_other_byte() -> None:
    body = b' {"a": 1.0 ,\t"priority": 3 } \n'
    changed = with_priority(body, -7)
    assert changed.startswith(b' {"a": 1.0 ,\t"priority": 3')
    assert json.loads(changed) == {"a": 1.0, "priority": -7}
    assert json.loads(with_priority(b"{}", 1)) == {"priority": 1}


def test_nobody_who_comes_later_than_the_patience_overtakes() -> None:
    priorities = Priorities()

    def priority(key: float, arrival_unix_s: float, larger_first: bool = False) -> int:
        return priorities.priority(
            key, arrival_unix_s=arrival_unix_s, patience_s=30.0, larger_first=larger_first
        )

    for i in range(600):
        priority(float(i % 97), 1.8e9 + i)
    worst = priority(1e9, 1.8e9 + 700)
    best_later = priority(-1e9, 1.8e9 + 731)
    best_soon = priority(-1e9, 1.8e9 + 710)
    assert best_soon < worst < best_later
    assert priority(1e9, 1.8e9 + 700, larger_first=True) < 0


def test_a_full_queue_says_so(live: Live) -> None:
    port = live.gateway(live.engine(SLOW), endpoint=ONE, limits=Limits(queue=1))
    with live.busy(port):
        waiter = threading.Thread(target=post, args=(port, chat("x")))
        waiter.start()
        live.until(lambda: len(live.gateways[0].queues["main"]) == 1)
        status, headers, body = post(port, chat("x"))
    assert (status, json.loads(body)["error"]["code"]) == (429, "queue_full")
    assert "retry-after" in headers
    waiter.join()


def test_keys_are_asked_for_and_limits_kept(live: Live) -> None:
    tenants = (
        Tenant("free", key_hash("hw-a")),
        Tenant("few", key_hash("hw-b"), requests_per_minute=12),
    )
    port = live.gateway(live.engine(), tenants=tenants, admin_sha256=key_hash("root"))
    assert post(port, chat("x"))[0] == 401
    assert post(port, chat("x"), authorization="Bearer hw-c")[0] == 401
    assert post(port, chat("x"), authorization="Bearer hw-a")[0] == 200
    assert live.engines[0].headers[-1].get(b"authorization") is None
    codes = [post(port, chat("x"), authorization="Bearer hw-b")[0] for _ in range(3)]
    assert codes == [200, 200, 429]
    assert get(port, "/v1/queue")[0] == 401
    assert get(port, "/v1/queue", authorization="Bearer hw-a")[0] == 200
    assert post(port, b"", "/admin/reload", authorization="Bearer hw-a")[0] == 404
    assert post(port, b"", "/admin/reload", authorization="Bearer root")[0] == 400
    entries = live.entries(4)  # of whoever has no key nothing is kept
    assert sorted((e.tenant, e.status) for e in entries) == [
        ("few", "done"), ("few", "done"), ("few", "rejected"), ("free", "done"),
    ]  # fmt: skip
