"""Header blocks of HTTP/2 (RFC 7541), as far as a server of gRPC needs them: it reads any block.

What it writes itself is constant and needs no table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import lru_cache

Header = tuple[bytes, bytes]

TABLE_BYTES = 4096  # of the dynamic table, which peers take as the default
MAX_LIST_BYTES = 65_536  # of all headers of one block: a short block can name long entries
ENTRY_BYTES = 32  # that an entry counts beyond its name and value (RFC 7541, 4.1)

_STATIC: tuple[Header, ...] = tuple(
    (name, value)
    for name, _, value in (
        line.partition(b" ")
        for line in (
            b":authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|"
            b":scheme https|:status 200|:status 204|:status 206|:status 304|:status 400|"
            b":status 404|:status 500|accept-charset|accept-encoding gzip, deflate|"
            b"accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|"
            b"authorization|cache-control|content-disposition|content-encoding|content-language|"
            b"content-length|content-location|content-range|content-type|cookie|date|etag|expect|"
            b"expires|from|host|if-match|if-modified-since|if-none-match|if-range|"
            b"if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate|"
            b"proxy-authorization|range|referer|refresh|retry-after|server|set-cookie|"
            b"strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
        ).split(b"|")
    )
)

# Bits of each symbol's Huffman code, the 257th ends a string (RFC 7541, appendix B). The codes
# themselves follow: shorter ones first, equally long ones in the order of symbols.
_END = 256
_CODE_BITS = (
    *(13, 23, *(28,) * 7, 24, 30, 28, 28, 30, *(28,) * 8, 30, *(28,) * 9),
    *(6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, *(6,) * 7),
    *(7, 8, 15, 6, 12, 10, 13, 6, *(7,) * 22, 8, 7, 8, 13, 19, 13, 14, 6, 15),
    *(5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7),
    *(15, 11, 14, 13, 28),
    *(20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23),
    *(23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24),
    *(21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26),
    *(20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24),
    *(21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24),
    *(26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30),
)


class HeaderError(Exception):
    """A header block that is none."""


class HeaderReader:
    """Reads the header blocks of one connection, in the order in which they come."""

    def __init__(self) -> None:
        """Nothing was indexed yet."""
        self._dynamic: deque[Header] = deque()
        self._dynamic_bytes = 0
        self._max_bytes = TABLE_BYTES
        self._recent: dict[bytes, list[Header]] = {}  # of blocks that only name entries

    def read(self, block: bytes) -> list[Header]:
        """Return the headers of ``block``.

        Raises:
            HeaderError: it is malformed, or its headers are too large.

        """
        recent = self._recent.get(block)
        if recent is not None:
            return recent
        try:
            headers, only_names = self._read(block)
        except IndexError:
            raise HeaderError("a header block ends early, or names an entry that is not") from None

        # A proxy sends the same block for call after call.
        if only_names and len(self._recent) < 64:
            self._recent[block] = headers
        return headers

    def _read(self, block: bytes) -> tuple[list[Header], bool]:
        headers: list[Header] = []
        num_bytes, at, only_names = 0, 0, True

        while at < len(block):
            first = block[at]
            if first & 0x80:  # an entry of the tables
                index, at = _integer(block, at, bits=7)
                header = self._entry(index)
            elif first & 0xE0 == 0x20:  # a new size of the dynamic table
                only_names = False
                size, at = _integer(block, at, bits=5)
                self._resize(size)
                continue
            else:  # a literal, to be indexed or not
                only_names = False
                is_indexed = bool(first & 0x40)
                index, at = _integer(block, at, bits=6 if is_indexed else 4)
                name, at = (self._entry(index)[0], at) if index else _string(block, at)
                value, at = _string(block, at)
                header = (name, value)
                if is_indexed:
                    self._add(header)

            headers.append(header)
            num_bytes += _size(header)
            if num_bytes > MAX_LIST_BYTES:
                raise HeaderError(f"headers of more than {MAX_LIST_BYTES} bytes")
        return headers, only_names

    def _entry(self, index: int) -> Header:
        if not index:
            raise HeaderError("a header block names entry 0")
        if index <= len(_STATIC):
            return _STATIC[index - 1]
        return self._dynamic[index - len(_STATIC) - 1]

    def _add(self, header: Header) -> None:
        self._recent.clear()
        self._dynamic.appendleft(header)
        self._dynamic_bytes += _size(header)
        self._evict()

    def _resize(self, max_bytes: int) -> None:
        if max_bytes > TABLE_BYTES:
            raise HeaderError(f"a dynamic table of {max_bytes} bytes")
        self._recent.clear()
        self._max_bytes = max_bytes
        self._evict()

    def _evict(self) -> None:
        while self._dynamic_bytes > self._max_bytes:
            self._dynamic_bytes -= _size(self._dynamic.pop())


def _size(header: Header) -> int:
    return len(header[0]) + len(header[1]) + ENTRY_BYTES


def _integer(block: bytes, at: int, *, bits: int) -> tuple[int, int]:
    """Return the integer whose first ``bits`` are the last ones of the byte ``at``, and its end."""
    limit = (1 << bits) - 1
    value, at = block[at] & limit, at + 1
    if value < limit:
        return value, at

    for shift in range(0, 28, 7):
        byte, at = block[at], at + 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise HeaderError("an integer without an end")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Return the string that begins ``at``, and its end."""
    is_huffman = bool(block[at] & 0x80)
    length, at = _integer(block, at, bits=7)
    text = block[at : at + length]
    if len(text) < length:
        raise HeaderError("a header block ends within a string")
    return (_from_huffman(text) if is_huffman else text), at + length


@lru_cache(maxsize=1024)
def _from_huffman(text: bytes) -> bytes:
    symbols = bytearray()
    code, num_bits = 0, 0
    for byte in text:
        for shift in range(7, -1, -1):
            code = code << 1 | (byte >> shift & 1)
            num_bits += 1
            symbol = _SYMBOLS.get((num_bits, code))
            if symbol is None:
                continue
            if symbol == _END:
                raise HeaderError("a string holds its own end")
            symbols.append(symbol)
            code, num_bits = 0, 0

    # The rest fills the last byte, with ones.
    if num_bits > 7 or code != (1 << num_bits) - 1:
        raise HeaderError("a string ends within a symbol")
    return bytes(symbols)


def _codes() -> Iterator[tuple[tuple[int, int], int]]:
    """Yield bits and value of each code, and its symbol."""
    code, before = 0, 0
    for num_bits, symbol in sorted((bits, symbol) for symbol, bits in enumerate(_CODE_BITS)):
        code <<= num_bits - before
        yield (num_bits, code), symbol
        code, before = code + 1, num_bits


_SYMBOLS = dict(_codes())
