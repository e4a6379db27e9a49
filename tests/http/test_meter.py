"""Tokens are counted as they pass: in every API, beside comments, however the bytes are cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.http.conftest import cut

from headway.http.events import EventReader, as_event
from headway.http.message import BrokenAnswerError
from headway.http.meter import TokenMeter, looks_usual
from headway.http.openai import CHAT, COMPLETIONS, RESPONSES, AnswerWriter, Usage, read_event

APIS = [CHAT, COMPLETIONS, RESPONSES]


def metered(api: str, wire: bytes, places: set[int]) -> TokenMeter:
    meter, reader = TokenMeter(api), EventReader()
    for number, piece in enumerate(cut(wire, places)):
        if events := reader.feed(piece):
            meter.see(events, float(number))
    meter.end_stream()
    return meter


@given(
    api=st.sampled_from(APIS), tokens=st.integers(1, 12), places=st.sets(st.integers(1, 2000)),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]), ping=st.booleans(), counts=st.booleans(),
)  # fmt: skip
def test_tokens_are_counted_however_bytes_are_cut(
    api: str, tokens: int, places: set[int], line_end: bytes, ping: bool, counts: bool
) -> None:
    writer = AnswerWriter(api=api, model="m", id="1")
    between = b": ping\n\n" if ping else b""
    usage = Usage(prompt_tokens=5, output_tokens=99) if counts else None
    events = [writer.delta("", opens=True)] if api == CHAT else []
    events += [writer.delta("word ") for _ in range(tokens)]
    wire = between.join(events) + between + writer.end("stop", usage) + between
    meter = metered(api, wire.replace(b"\n", line_end), places)

    assert meter.num_tokens == tokens
    assert meter.finished
    assert meter.first_s is not None
    assert meter.output_tokens == (99 if counts else tokens)
    assert not meter.error


@pytest.mark.parametrize("api", APIS)
def test_a_stream_that_breaks_off_is_not_finished(api: str) -> None:
    writer = AnswerWriter(api=api, model="m", id="1")
    meter = metered(api, writer.delta("a") + writer.delta("b"), set())
    assert (meter.num_tokens, meter.finished) == (2, False)


def test_an_error_is_told() -> None:
    meter = metered(CHAT, as_event(b'{"error": {"message": "overloaded"}}'), set())
    assert "overloaded" in meter.error
    assert meter.num_tokens == 0


def test_what_is_no_json_is_odd_and_no_token() -> None:
    meter = metered(CHAT, as_event(b"{not json") + as_event(b"[DONE]"), set())
    assert (meter.odd, meter.num_tokens, meter.finished) == (True, 0, True)
    with pytest.raises(BrokenAnswerError, match="not JSON"):
        read_event(b"[1]")


@pytest.mark.parametrize(
    ("events", "is_usual"),
    [
        (AnswerWriter(api=CHAT, model="m", id="1").delta("a"), True),
        (2 * AnswerWriter(api=COMPLETIONS, model="m", id="1").delta("a"), True),
        (as_event(b'{"choices": [], "error": {"message": "no"}}'), False),
        (as_event(b'{"choices": [{"delta": {"content": "a'), False),
        (as_event(b"not json"), False),
        (b": a comment\n\n", False),
        (as_event(b'{"type": "response.created"}'), False),
    ],
)
def test_what_does_not_look_like_an_answer_is_read_first(events: bytes, is_usual: bool) -> None:
    assert looks_usual(events) == is_usual


@pytest.mark.parametrize("api", APIS)
def test_an_answer_in_one_piece_is_read_as_it_is_written(api: str) -> None:
    usage = Usage(prompt_tokens=7, output_tokens=3, cached_tokens=2, reasoning_tokens=1)
    writer = AnswerWriter(api=api, model="m", id="1")
    body = json.dumps(writer.whole("text", "stop", usage)).encode()
    meter = TokenMeter(api)
    assert meter.read_whole(body, 1.0)
    assert meter.usage == usage
    assert not TokenMeter(api).read_whole(b"<html>", 1.0)
