"""What is made of a stream, whatever it holds and however it is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError
from headway.http.openai import Usage, read_usage
from headway.measure.endpoint.probe import Probe
from headway.measure.endpoint.stream import Answer, failure_of

PROBE = Probe("0/8/0", 8, 4, 0.0)


def event(**content: object) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def word(text: str = "a", **delta: object) -> bytes:
    return event(choices=[{"delta": {"content": text, **delta}}])


WHOLE = (
    b": hello\n\n" + event(choices=[{"delta": {"role": "assistant"}}]) + word() + word() + word()
    + event(choices=[{"delta": {}, "finish_reason": "length"}])
    + event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 3}) + b"data: [DONE]\n\n"
)  # fmt: skip


def read(content: bytes, cuts: list[int] | None = None, ended: bool = True) -> Probe:
    answer, start = Answer(PROBE), 0
    for i, cut in enumerate([*sorted(cuts or []), len(content)]):
        answer.feed(content[start:cut], 0.1 * (i + 1))
        start = cut
    return answer.result(9.0 if ended else None)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_how_the_stream_is_cut_changes_times_only(cuts: list[int]) -> None:
    probe = read(WHOLE, cuts)
    assert probe.complete
    assert len(probe.chunks_s) == 3
    assert probe.usage == Usage(9, 3)
    assert probe.finish == "length"
    assert probe.ttft_s is not None
    assert probe.ttft_s <= (probe.e2e_s or 0)


@given(st.binary(max_size=400))
def test_any_bytes_are_an_answer_or_a_named_failure(content: bytes) -> None:
    probe = read(b"data:" + content)
    assert probe.complete == (probe.failure is None)


def test_failures_are_named_and_keep_what_was_seen() -> None:
    cut = read(word() + word(), ended=False)
    assert (cut.failure, len(cut.chunks_s)) == ("closed_early", 2)
    assert cut.e2e_s is None
    bad = read(word() + b'data: {"choices": [\n\n' + word())
    assert (bad.failure, len(bad.chunks_s)) == ("malformed", 1)
    assert read(event(surprise=1)).failure == "malformed"
    assert read(b"data: [1]\n\n").failure == "malformed"
    told = read(word() + event(error={"message": "overloaded"}))
    assert told.failure == "server_error"
    assert "overloaded" in told.message
    assert read(b"data: [DONE]\n\n").failure == "empty"
    assert read(word() * 40 + b"data: [DONE]\n\n").failure == "too_long"
    assert read(b"data: " + b"x" * 1_100_000).failure == "malformed"


def test_a_last_line_without_an_end_counts() -> None:
    assert read(WHOLE.rstrip()).complete


def test_reasoning_that_is_shown_and_that_is_not() -> None:
    streamed = (
        event(choices=[{"delta": {"reasoning_content": "hm"}}]) + word() + b"data: [DONE]\n\n"
    )
    probe = read(streamed, [60])
    assert len(probe.chunks_s) == 2
    assert probe.shown_s == probe.chunks_s[1]
    usage = {"prompt_tokens": 9, "completion_tokens": 10,
             "completion_tokens_details": {"reasoning_tokens": 7}}  # fmt: skip
    hidden = read(word() * 3 + event(choices=[], usage=usage) + b"data: [DONE]\n\n")
    assert hidden.hidden_tokens == 7
    assert hidden.tokens_per_chunk == pytest.approx(1.0)


def test_usage_under_the_names_of_several_vendors() -> None:
    assert read_usage({"input_tokens": 5, "output_tokens": 2}) == Usage(5, 2)
    cached = read_usage({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}})
    assert cached == Usage(5, None, 4)
    assert read_usage({"prompt_tokens": 5, "prompt_cache_hit_tokens": 3}).cached_tokens == 3
    assert read_usage({"prompt_tokens": -1, "completion_tokens": "7"}) == Usage()
    assert read_usage({"prompt_tokens": True, "prompt_tokens_details": []}) == Usage()


def test_statuses() -> None:
    assert [failure_of(s) for s in (200, 401, 403, 404, 429, 500, 503, 400)] == [
        None, "unauthorized", "unauthorized", "not_found", "rate_limited", "server_error",
        "server_error", "refused",
    ]  # fmt: skip


def test_bursts_and_stalls_do_not_change_the_time_per_token() -> None:
    even = Probe(
        "a", 1, 40, 0.0, chunks_s=tuple(0.5 + 0.01 * i for i in range(40)), ttft_s=0.5, e2e_s=1
    )
    stalled = Probe(
        "a", 1, 40, 0.0, ttft_s=0.5, e2e_s=2,
        chunks_s=tuple(0.5 + 0.01 * i + (0.8 if i > 20 else 0.0) for i in range(40)),
    )  # fmt: skip
    burst = Probe(
        "a", 1, 40, 0.0, ttft_s=0.5, e2e_s=1, usage=Usage(1, 80),
        chunks_s=tuple(0.5 + 0.02 * i for i in range(40)),
    )  # fmt: skip
    assert even.tpot_s == pytest.approx(0.01)
    assert stalled.tpot_s == pytest.approx(0.01)
    assert stalled.mean_tpot_s == pytest.approx(0.01 + 0.8 / 39)
    assert burst.tpot_s == pytest.approx(0.01)


def test_a_late_reader_finds_chunks_waiting_and_is_not_misled() -> None:
    true_s = [0.5 + 0.01 * i for i in range(40)]
    late = Probe(
        "a", 1, 40, 0.0, ttft_s=0.5, e2e_s=1,
        chunks_s=tuple(max(at, 0.65) if 10 <= i < 30 else at for i, at in enumerate(true_s)),
    )  # fmt: skip
    assert late.tpot_s == pytest.approx(0.01)
    assert late.calm_s == pytest.approx(true_s[-1])
    # All that came before the reader did: the time per token is unknown, the end is not early.
    behind = Probe("a", 1, 40, 0.0, ttft_s=0.9, e2e_s=1, chunks_s=(0.9,) * 40)
    assert behind.tpot_s is None
    assert behind.calm_s == 0.9


@given(st.lists(st.floats(0, 0.5), min_size=2, max_size=30))
def test_delays_of_the_reader_never_make_an_answer_shorter(delays: list[float]) -> None:
    arrivals: list[float] = []
    for i, delay in enumerate(delays):
        arrivals.append(max([0.5 + 0.01 * i + delay, *arrivals[-1:]]))
    probe = Probe("a", 1, 40, 0.0, ttft_s=arrivals[0], e2e_s=9, chunks_s=tuple(arrivals))
    assert probe.calm_s <= arrivals[-1]
    assert probe.calm_s >= arrivals[0]


def test_a_probe_is_read_back() -> None:
    probe = read(WHOLE)
    assert Probe.from_entry(json.loads(json.dumps(probe.to_entry()))) == probe
    with pytest.raises(InputError, match="not a probe"):
        Probe.from_entry({"id": "x"})
    with pytest.raises(InputError, match="order of time"):
        Probe("x", 1, 1, 0.0, chunks_s=(2.0, 1.0))
