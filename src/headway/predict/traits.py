"""What the layout and the wording of a prompt say about the answer: a dense row per prompt.

The row holds how often each class of `headway.predict.lexicon` occurs, at all and among the first
words, the six uncertainty scores, and what can be read off the layout: sizes, code, lists,
questions, language, chat turns, tools, the limit on the answer and a requested length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headway.predict.lexicon import NAMES, class_bits
from headway.predict.text import Considered
from headway.predict.tokens import NEWLINE, WORD, Tokens, byte_set
from headway.predict.uncertainty import SCORES, score_matrix

Floats = NDArray[np.float32]
FIRST_WORDS = 7

_TO_TWELVE = "zero one two three four five six seven eight nine ten eleven twelve"
_NUMERALS = {word: i for i, word in enumerate(_TO_TWELVE.split())} | {
    "a": 1, "an": 1, "single": 1, "fifteen": 15, "twenty": 20, "fifty": 50, "hundred": 100,
    "dozen": 12,
}  # fmt: skip
# English answer tokens for one unit, roughly: 4 characters or 0.75 words to a token.
_UNIT_TOKENS = {
    "word": 1.35, "character": 0.25, "letter": 0.3, "sentence": 24.0, "line": 14.0,
    "paragraph": 100.0, "page": 600.0, "stanza": 40.0, "verse": 40.0, "token": 1.0,
}  # fmt: skip
_REQUEST = re.compile(
    r"\b(\d{1,5}|"
    + "|".join(_NUMERALS)
    + r")[\s-]+(?:([^\W\d]\w{1,13})[\s-]+)?([^\W\d]\w{2,14}?)s?\b",
    re.IGNORECASE,
)
_URL = re.compile(r"https?://")
_CODE_MARKS = frozenset("`{(;#")
_CODE_BYTE = byte_set(b"{}=<>_\\$`#|")
_CODE = re.compile(r"```|\bdef \w+\(|\bfunction \w+\(|#include|\bclass \w+[:({]|[{};][ \t]*\n")
_TOOLS = re.compile(r'"tools?"\s*:|\btool[_ ]call|\bavailable tools\b', re.IGNORECASE)

_LAYOUT = (
    "log_chars", "log_words", "log_lines", "questions", "colons", "commas", "quotes", "brackets",
    "bullets", "capitals", "digits", "other_bytes", "wide_bytes", "code_marks", "mean_word",
    "sentences", "ends_question", "ends_stop", "ends_colon", "has_material", "log_material",
    "log_instruction", "known_words",
)  # fmt: skip
_ASIDE = (
    "log_cut", "turns", "log_system", "log_earlier", "log_answer", "tool_turns", "log_max_tokens",
    "has_max_tokens", "log_requested", "has_requested", "requested_parts", "url", "code", "tools",
)  # fmt: skip
_LOGARITHMS = [
    i for i, name in enumerate(_ASIDE) if name.startswith("log_") or name == "requested_parts"
]
FEATURES: tuple[str, ...] = (
    *_LAYOUT,
    *_ASIDE,
    *SCORES,
    *(f"count_{name}" for name in NAMES),
    *(f"first_{name}" for name in NAMES),
)


def requested_tokens(text: str) -> tuple[float, float]:
    """Return the answer tokens that ``text`` asks for in so many words, and the parts; 0 for none.

    "in 50 words" is 67 tokens, "two paragraphs" 200, "5 tips" 5 parts of unknown size.
    """
    tokens = parts = 0.0
    for match in _REQUEST.finditer(text):
        number, between, unit = match.group(1).lower(), match.group(2), match.group(3).lower()
        count = float(number) if number.isdecimal() else float(_NUMERALS.get(number, 0))
        size = _UNIT_TOKENS.get(unit) or _UNIT_TOKENS.get((between or "").lower().rstrip("s"))
        if size:
            tokens = max(tokens, count * size)
        elif number not in ("a", "an", "single", "one", "zero") and count <= 100:
            parts = max(parts, count)
    return min(tokens, 1e5), parts


def dense_rows(
    texts: Sequence[Considered], tokens: Tokens, max_tokens: Sequence[int | None]
) -> Floats:
    """Return one row of `FEATURES` for each text; [texts, features]."""
    bits = class_bits(tokens)
    spread = np.unpackbits(bits.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    spread = spread[:, : len(NAMES)]
    counts = np.add.reduceat(spread, tokens.heads, axis=0, dtype=np.float32)

    # The same among the first words alone.
    place = np.arange(len(tokens.owner)) - tokens.heads[tokens.owner]
    opening = np.where((place <= FIRST_WORDS)[:, None], spread, 0)
    firsts = np.add.reduceat(opening, tokens.heads, axis=0, dtype=np.float32)

    rows = np.column_stack(
        [
            _layout(tokens, bits),
            _asides(texts, max_tokens),
            np.log1p(score_matrix(tokens, bits)),
            np.log1p(counts),
            np.minimum(firsts, 2),
        ]
    )
    return rows.astype(np.float32)


def _asides(texts: Sequence[Considered], max_tokens: Sequence[int | None]) -> NDArray[np.float64]:
    rows = np.array(
        [_aside(t, m) for t, m in zip(texts, max_tokens, strict=True)], dtype=np.float64
    )
    rows[:, _LOGARITHMS] = np.log1p(rows[:, _LOGARITHMS])
    return rows


def _aside(text: Considered, max_tokens: int | None) -> tuple[float, ...]:
    """Return the columns of `_ASIDE`, those called ``log_`` before the logarithm is taken."""
    tokens, parts = requested_tokens(text.text)
    return (
        text.prompt_chars - text.earlier_chars,
        min(text.turns, 20),
        text.system_chars,
        text.earlier_chars,
        text.answer_chars,
        min(text.tool_turns, 20),
        max_tokens or 0,
        float(max_tokens is not None),
        tokens,
        float(tokens > 0),
        parts,
        float("://" in text.text and _URL.search(text.text) is not None),
        float(not _CODE_MARKS.isdisjoint(text.text) and _CODE.search(text.text) is not None),
        float("tool" in text.text.lower() and _TOOLS.search(text.text) is not None),
    )


def _layout(tokens: Tokens, bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    raw, kinds = tokens.raw, tokens.kind[tokens.starts]
    firsts, heads = tokens.firsts, tokens.heads

    def byte_count(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.add.reduceat(chosen, firsts, dtype=np.float64)

    def token_count(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.add.reduceat(chosen, heads, dtype=np.float64)

    # Sizes, and where the instruction ends and the material begins.
    size = (_text_ends(tokens) - firsts).astype(np.float64)
    words = token_count(kinds == WORD)
    lines = token_count(kinds == NEWLINE)
    mark = raw[tokens.starts]
    material = _material_starts(tokens, kinds)
    written = np.append(heads, len(kinds))
    instruction = (np.where(material > 0, material, written[1:]) - heads).astype(np.float64)
    last = mark[written[1:] - 1]

    line_start = np.zeros(len(kinds), dtype=bool)
    line_start[1:] = kinds[:-1] == NEWLINE
    bullets = line_start & ((mark == ord("-")) | (mark == ord("*")) | (mark == 49))
    ends = (mark == ord(".")) | (mark == ord("!")) | (mark == ord("?"))
    return np.column_stack(
        [
            np.log1p(size),
            np.log1p(words),
            np.log1p(lines),
            np.minimum(token_count(mark == ord("?")), 5),
            np.minimum(token_count(mark == ord(":")), 8),
            np.log1p(token_count(mark == ord(","))),
            np.minimum(byte_count((raw == 34) | (raw == 39)), 8),
            np.log1p(token_count((mark == ord("(")) | (mark == ord("[")))),
            np.log1p(token_count(bullets)),
            byte_count((raw >= 65) & (raw <= 90)) / size,
            byte_count((raw >= 48) & (raw <= 57)) / size,
            byte_count(raw >= 128) / size,
            byte_count((raw >= 0xE3) & (raw <= 0xED)) / size,
            byte_count(_CODE_BYTE[raw]) / size,
            byte_count(tokens.kind == WORD) / np.maximum(words, 1),
            np.log1p(token_count(ends)),
            last == ord("?"),
            last == ord("."),
            last == ord(":"),
            material > 0,
            np.log1p(size - _bytes_before(tokens, material)),
            np.log1p(instruction),
            token_count(bits != 0) / np.maximum(words, 1),
        ]
    )


def _material_starts(tokens: Tokens, kinds: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the token of each text where a blank line first ends the instruction; 0 for none."""
    blank = np.flatnonzero((kinds[1:] == NEWLINE) & (kinds[:-1] == NEWLINE))
    material = np.zeros(len(tokens.heads), dtype=np.intp)
    owners = tokens.owner[blank]
    first = np.concatenate([[True], owners[1:] != owners[:-1]]) if len(owners) else owners == 0
    material[owners[first]] = blank[first] + 1
    return material


def _bytes_before(tokens: Tokens, material: NDArray[np.intp]) -> NDArray[np.float64]:
    at = np.where(material > 0, tokens.starts[material], _text_ends(tokens))
    return (at - tokens.firsts).astype(np.float64)


def _text_ends(tokens: Tokens) -> NDArray[np.intp]:
    # The very last byte is the space that `tokenized` adds.
    return np.append(tokens.firsts[1:], len(tokens.raw) - 1)
