"""The same bytes give the same events, however they were cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.http.conftest import cut

from headway.http.events import EventReader, as_event, payloads, split_events

TEXT = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=30)
LINE_END = st.sampled_from(["\n", "\r\n", "\r"])
LINES = st.sampled_from(["data: {}", "data:{}", "data", ": {}", "event: {}", "id: {}", "retry: 5"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream, and the data of its events by the letter of the standard."""
    wire, expected = "", []
    for _ in range(draw(st.integers(0, 6))):
        end = draw(LINE_END)
        data: list[str] = []
        for _ in range(draw(st.integers(0, 4))):
            form, text = draw(LINES), draw(TEXT)
            line = form.format(text)
            wire += line + end
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
        wire += end
        if data:
            expected.append("\n".join(data).encode())
    return wire.encode(), expected


@given(streams(), st.sets(st.integers(0, 400), max_size=40))
def test_the_same_bytes_give_the_same_events(
    stream: tuple[bytes, list[bytes]], places: set[int]
) -> None:
    wire, expected = stream
    reader = EventReader()
    found: list[bytes] = []
    passed = b""
    for piece in cut(wire, places):
        events = reader.feed(piece)
        passed += events
        found += payloads(events)
        assert b"".join(split_events(events)) == events
    assert found == expected
    assert passed + reader.rest() == wire


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"data:", b"x", b":"]), max_size=60).map(b"".join),
    st.sets(st.integers(0, 200), max_size=20),
)
def test_any_bytes_are_passed_on_unchanged(wire: bytes, places: set[int]) -> None:
    reader = EventReader()
    passed = b"".join(reader.feed(piece) for piece in cut(wire, places))
    assert payloads(passed) == payloads(EventReader().feed(wire))
    assert passed + reader.rest() == wire


@given(streams(), st.sets(st.integers(0, 400), max_size=40), st.integers(0, 30))
def test_an_event_in_parts_ends_where_it_would_have_ended(
    stream: tuple[bytes, list[bytes]], places: set[int], held_bytes: int
) -> None:
    wire, expected = stream
    reader = EventReader()
    found: list[bytes] = []
    part = b""  # of the event that is passing
    for piece in cut(wire, places):
        if events := reader.feed(piece):
            found += payloads(part + events)
            part = b""
        if reader.held_bytes > held_bytes:
            part += reader.rest()
    assert found == expected


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_an_event_of_a_megabyte_comes_whole_from_any_pieces(size: int) -> None:
    wire = as_event(json.dumps({"text": "ü" * 170_000}, ensure_ascii=False).encode())
    reader = EventReader()
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    found = [events for piece in pieces if (events := reader.feed(piece))]
    assert found == [wire]
    assert reader.held_bytes == 0


def test_an_event_ends_with_its_empty_line_and_no_sooner() -> None:
    reader = EventReader()
    assert reader.feed(b"data: 1\n\ndata: 2") == b"data: 1\n\n"
    assert reader.held_bytes == 7
    assert reader.feed(b"\r\n") == b""
    assert reader.feed(b"\r\n") == b"data: 2\r\n\r\n"
    assert payloads(b"\xef\xbb\xbfdata: first\n\n") == [b"first"]
    assert as_event(b"{}", b"end") == b"event: end\ndata: {}\n\n"
