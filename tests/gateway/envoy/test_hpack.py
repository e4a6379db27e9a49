"""Header blocks: the examples of RFC 7541, appendix C, and blocks that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.gateway.envoy.hpack import HeaderError, HeaderReader

# Appendix C.4: three requests on one connection, with Huffman codes and a dynamic table.
BLOCKS = (
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
)
FIRST = [
    (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"),
    (b":authority", b"www.example.com"),
]  # fmt: skip


def test_the_standards_examples() -> None:
    reader = HeaderReader()
    first, second, third = (reader.read(bytes.fromhex(block)) for block in BLOCKS)
    assert first == FIRST
    assert second == [*FIRST, (b"cache-control", b"no-cache")]
    assert third == [
        (b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"),
        (b":authority", b"www.example.com"), (b"custom-key", b"custom-value"),
    ]  # fmt: skip


def test_a_repeated_block_is_read_by_the_table_of_its_time() -> None:
    reader = HeaderReader()
    reader.read(b"\x40\x01a\x01x")  # entry 62: a: x
    assert reader.read(b"\xbe") == reader.read(b"\xbe") == [(b"a", b"x")]
    reader.read(b"\x40\x01a\x01y")  # which is 63 now
    assert reader.read(b"\xbe") == [(b"a", b"y")]
    assert reader.read(b"\xbf") == [(b"a", b"x")]


def test_old_entries_leave_a_full_table() -> None:
    reader = HeaderReader()
    for letter in (b"x", b"y"):
        reader.read(b"\x40\x01a\x7f\xa9\x0f" + letter * 2088)  # more than half of the table
    assert reader.read(b"\xbe") == [(b"a", b"y" * 2088)]
    with pytest.raises(HeaderError, match="names an entry that is not"):
        reader.read(b"\xbf")


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x80", "entry 0"),
        (b"\xff\xff\xff\xff\xff\xff", "without an end"),
        (b"\x40\x05ab", "within a string"),
        (b"\x3f\xe2\x1f", "table of 4097"),
        (b"\x00\x84\xff\xff\xff\xff\x00", "holds its own end"),
        (b"\x00\x81\x00\x00", "within a symbol"),
        (b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968 + b"\xbe" * 17, "more than 65536"),
    ],
)
def test_what_is_no_block_is_refused(block: bytes, why: str) -> None:
    with pytest.raises(HeaderError, match=why):
        HeaderReader().read(block)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_a_block_or_refused(blocks: list[bytes]) -> None:
    reader = HeaderReader()
    for block in blocks:
        try:
            headers = reader.read(block)
        except HeaderError:
            continue
        assert all(isinstance(part, bytes) for header in headers for part in header)
