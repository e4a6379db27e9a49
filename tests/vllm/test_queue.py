"""Waiting requests come out as the policy says, each exactly once, whoever else comes and goes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError
from headway.predict.prediction import LEVELS
from headway.schedule.hints import QUANTILES, TTFT
from headway.schedule.order import order
from headway.schedule.view import Floats, View
from headway.vllm.keys import KeyWriter
from headway.vllm.lengths import Lengths
from headway.vllm.preemption import BLOCK, Preemption
from headway.vllm.queue import PolicyQueue
from headway.vllm.row import Rows
from headway.vllm.settings import Settings


@dataclass
class Parameters:
    extra_args: dict[str, object] | None = None


@dataclass(eq=False)
class Request:
    """What this room reads of vLLM's requests."""

    request_id: str
    arrival_time: float
    num_prompt_tokens: int = 10
    max_tokens: int = 10_000
    num_output_tokens: int = 0
    num_preemptions: int = 0
    is_prefill_chunk: bool = False
    sampling_params: Parameters = field(default_factory=Parameters)


def request(number: int, arrival_s: float, tokens: float, **extra: object) -> Request:
    spread = np.linspace(0.5, 1.5, len(LEVELS)) * tokens
    arguments = {QUANTILES: spread.tolist(), **extra}
    return Request(str(number), arrival_s, sampling_params=Parameters(arguments))


def queue(policy: str, now_s: float = 0.0, **options: float) -> PolicyQueue:
    settings = Settings(policy=policy, **options)  # type: ignore[arg-type]  # all are numbers
    rows = Rows(settings, Lengths())
    return PolicyQueue(
        KeyWriter(settings.order), lambda some: rows.view(some, {}), lambda: now_s,
        settings.patience_s,
    )  # fmt: skip


requests = st.lists(st.tuples(st.floats(0, 10), st.floats(1, 500)), min_size=1, max_size=40)


@given(requests, st.sampled_from(["fcfs", "sjf", "hrrn", "gittins", "moore"]), st.data())
def test_each_comes_out_once_in_the_order_of_the_policy(
    rows: list[tuple[float, float]], policy: str, data: st.DataObject
) -> None:
    now_s, waiting = 10.0, queue(policy, now_s=10.0, ttft_s=12.0)
    some = [request(i, arrival, tokens) for i, (arrival, tokens) in enumerate(rows)]
    for one in some:
        waiting.add_request(one)
    gone = data.draw(st.lists(st.sampled_from(some), unique_by=id))
    waiting.remove_requests(gone)
    rest = [one for one in some if one not in gone]

    line = list(waiting)
    popped = [waiting.pop_request() for _ in range(len(waiting))]
    assert line == popped
    assert {one.request_id for one in popped} == {one.request_id for one in rest}
    if rest:
        settings = Settings(policy=policy, ttft_s=12.0)
        view = Rows(settings, Lengths()).view(rest, {})
        expected = [rest[row] for row in order(settings.order, view, now_s)]
        keys = {one.request_id: place for place, one in enumerate(expected)}
        assert [keys[one.request_id] for one in popped] == sorted(keys.values()) or _ties(rows)


def _ties(rows: list[tuple[float, float]]) -> bool:
    """Equal requests may change places: the queue has forgotten which row they had."""
    return len(set(rows)) < len(rows) or len({arrival for arrival, _ in rows}) < len(rows)


def test_who_has_waited_too_long_goes_first() -> None:
    waiting = queue("sjf", now_s=100.0, patience_s=50.0)
    waiting.add_request(request(0, arrival_s=10.0, tokens=900))
    waiting.add_request(request(1, arrival_s=5.0, tokens=900))
    waiting.add_request(request(2, arrival_s=99.0, tokens=1))
    assert [one.request_id for one in waiting] == ["1", "0", "2"]


def test_an_empty_queue_says_so() -> None:
    with pytest.raises(IndexError):
        queue("sjf").pop_request()


def test_lengths_are_those_of_the_request_else_those_that_ended_here() -> None:
    lengths = Lengths()
    assert lengths.of({}, 100).max() == 100  # nothing is known: up to the limit
    for _ in range(64):
        lengths.note(7)
    assert np.all(lengths.of({}, 100) == 7)
    own = np.linspace(1, 50, len(LEVELS))
    assert np.array_equal(lengths.of({QUANTILES: own.tolist()}, 100), own)
    assert np.array_equal(lengths.of({QUANTILES: "many"}, 100), lengths.of({}, 100))


class Slots:
    """Running requests that may make way, under one order."""

    def __init__(self, policy: str, **options: float) -> None:
        self.settings = Settings(policy=policy, **options)  # type: ignore[arg-type]  # numbers
        self.rows = Rows(self.settings, Lengths())
        self.writer = KeyWriter(self.settings.order)
        self.quantum = self.settings.order.quantum_tokens

        def ahead(one: Request, produced: Floats) -> View:
            return self.rows.ahead(one, one.arrival_time + 0.5, produced)

        self.preemption = Preemption(self.writer, ahead, self.settings.max_preemptions)

    def column(self, one: Request) -> Floats:
        """What the policy says of ``one`` now, asked for it alone."""
        first_s = {one.request_id: one.arrival_time + 0.5} if one.num_output_tokens else {}
        return self.writer.columns(self.rows.view([one], first_s))[:, 0]

    def victim(self, front: Request, running: list[Request], now_s: float) -> Request | None:
        found: Request | None = self.preemption.victim(self.column(front), running, now_s)
        return found


def test_a_shorter_request_takes_the_slot_of_a_longer_one_after_its_quantum() -> None:
    slots = Slots("gittins")
    long, short = request(0, 0.0, 800), request(1, 1.0, 4)
    assert slots.preemption.candidates([long]) == []  # it has not begun
    long.num_output_tokens = short.num_output_tokens = slots.quantum
    assert slots.preemption.candidates([long]) == [long]
    assert slots.victim(request(1, 1.0, 4), [long], 2.0) is long
    assert slots.victim(request(0, 0.0, 800), [short], 2.0) is None
    long.num_preemptions = slots.settings.max_preemptions
    assert slots.preemption.candidates([long]) == []


@pytest.mark.parametrize("policy", ["gittins", "slack"])
def test_keys_that_are_asked_for_ahead_are_those_of_the_moment(policy: str) -> None:
    slots = Slots(policy, ttft_s=1.0, tpot_s=0.1)
    one = request(0, 3.0, 400)
    for number in (1, 2, 3, BLOCK, BLOCK + 1, 3 * BLOCK, 2):
        one.num_output_tokens = number * slots.quantum
        np.testing.assert_allclose(slots.preemption._column(one), slots.column(one))


def test_under_an_order_that_does_not_preempt_nobody_makes_way() -> None:
    slots = Slots("sjf")
    long = request(0, 0.0, 800)
    long.num_output_tokens = slots.quantum
    assert slots.preemption.candidates([long]) == []


def test_due_dates_come_from_the_request_or_the_settings() -> None:
    rows = Rows(Settings(policy="moore", ttft_s=3.0), Lengths())
    view = rows.view([request(0, 1.0, 5), request(1, 1.0, 5, **{TTFT: 0.5})], {})
    assert view.first_deadline_s.tolist() == [4.0, 1.5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"headway": {"polcy": "moore"}}, "unknown setting 'polcy'"),
        ({"headway": {"policy": "mor"}}, "unknown policy 'mor'"),
        ({"headway": 3}, "must be a JSON object"),
        ({"headway": {"ttft_s": -1}}, "ttft_s"),
        ({"headway": {"max_preemptions": -1}}, "max_preemptions"),
    ],
)
def test_a_wrong_setting_is_one_sentence(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Settings.of(options)


def test_no_settings_are_the_defaults() -> None:
    assert Settings.of(None) == Settings()
