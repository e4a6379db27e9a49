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

from headway.predict.lexicon import NAMES, Bools, word_classes
from headway.predict.text import Considered
from headway.predict.tokens import BYTE_KINDS, NEWLINE, WORD, Tokens, byte_set
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
# For a text in lower case, which takes a quarter of the time; few words begin as numerals do.
_REQUEST = re.compile(
    r"\b(?=[\d" + "".join(sorted({word[0] for word in _NUMERALS})) + r"])"
    r"(\d{1,5}|" + "|".join(sorted(_NUMERALS)) + r")[\s-]+"
    r"(?:([^\W\d]\w{1,13})[\s-]+)?([^\W\d]\w{2,14}?)s?\b"
)
_URL = re.compile(r"https?://")
_CODE_MARKS = frozenset("`{(;#")
_BULLET = byte_set(b"-*1")
# Bytes that are counted in a text (the last: those of words), and first bytes of tokens.
_BYTES = np.stack(
    [
        byte_set(b"\"'"), byte_set(bytes(range(65, 91))), byte_set(b"0123456789"),
        byte_set(bytes(range(128, 256))), byte_set(bytes(range(0xE3, 0xEE))),
        byte_set(b"{}=<>_\\$`#|"), BYTE_KINDS == WORD,
    ],
    axis=1,
).astype(np.float64)  # fmt: skip
_FIRST_BYTES = np.stack(
    [BYTE_KINDS == WORD, *map(byte_set, (b"\n", b"?", b":", b",", b"([", b".!?"))], axis=1
).astype(np.float64)
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
_LAYOUT_LOGARITHMS = [
    _LAYOUT.index(name)
    for name in (
        "log_chars", "log_words", "log_lines", "commas", "brackets", "bullets", "sentences",
        "log_material", "log_instruction",
    )
]  # fmt: skip
_LAYOUT_OTHERS = [i for i in range(len(_LAYOUT)) if i not in _LAYOUT_LOGARITHMS]
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
    for match in _REQUEST.finditer(text.lower()):
        number, between, unit = match.groups()
        count = float(number) if number.isdecimal() else float(_NUMERALS.get(number, 0))
        size = _UNIT_TOKENS.get(unit) or _UNIT_TOKENS.get((between or "").rstrip("s"))
        if size:
            tokens = max(tokens, count * size)
        elif number not in ("a", "an", "single", "one", "zero") and count <= 100:
            parts = max(parts, count)
    return min(tokens, 1e5), parts


def dense_rows(
    texts: Sequence[Considered], tokens: Tokens, max_tokens: Sequence[int | None]
) -> Floats:
    """Return one row of `FEATURES` for each text; [texts, features]."""
    classes = word_classes(tokens)
    token, name = classes.nonzero()
    owner = tokens.owner[token]
    shape = len(texts), len(NAMES)
    place = owner * len(NAMES) + name
    counts = np.bincount(place, minlength=shape[0] * shape[1])

    # The same among the first words alone.
    opening = place[token - tokens.heads[owner] <= FIRST_WORDS]
    firsts = np.bincount(opening, minlength=shape[0] * shape[1])

    rows = [
        _layout(tokens, classes),
        _asides(texts, max_tokens),
        np.log1p(score_matrix(tokens, classes)),
        np.log1p(counts.reshape(shape)),
        np.minimum(firsts, 2).reshape(shape),
    ]
    return np.concatenate(rows, axis=1, dtype=np.float32)


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


def _layout(tokens: Tokens, classes: Bools) -> NDArray[np.float64]:
    firsts, heads, num_texts = tokens.firsts, tokens.heads, len(tokens.heads)

    # How often each byte occurs in each text, and how often as the first one of a token.
    sizes = np.append(firsts[1:], len(tokens.raw)) - firsts
    byte_owner = np.repeat(np.arange(0, 256 * num_texts, 256), sizes)
    in_text = np.bincount(byte_owner + tokens.raw, minlength=256 * num_texts)
    at_head = np.bincount(256 * tokens.owner + tokens.first_bytes, minlength=256 * num_texts)
    byte_counts = in_text.reshape(num_texts, 256) @ _BYTES
    token_counts = at_head.reshape(num_texts, 256) @ _FIRST_BYTES
    quotes, capitals, digits, high, wide, code, letters = byte_counts.T
    words, lines, questions, colons, commas, brackets, ends = token_counts.T

    # Sizes, and where the instruction ends and the material begins.
    size = (_text_ends(tokens) - firsts).astype(np.float64)
    some_words = np.maximum(words, 1)
    material = _material_starts(tokens)
    written = np.append(heads[1:], len(tokens.kinds))
    instruction = np.where(material > 0, material, written) - heads
    last = tokens.first_bytes[written - 1]

    bullets = _BULLET[tokens.first_bytes]
    bullets[0] = False
    bullets[1:] &= tokens.kinds[:-1] == NEWLINE
    num_bullets = np.bincount(tokens.owner[bullets], minlength=num_texts)
    num_known = np.bincount(tokens.owner[classes.any(axis=1)], minlength=num_texts)

    rows = np.empty((num_texts, len(_LAYOUT)))
    logarithms = np.array(
        [size, words, lines, commas, brackets, num_bullets, ends,
         size - _bytes_before(tokens, material), instruction]
    )  # fmt: skip
    rows[:, _LAYOUT_LOGARITHMS] = np.log1p(logarithms).T
    rows[:, _LAYOUT_OTHERS] = np.array(
        [np.minimum(questions, 5), np.minimum(colons, 8), np.minimum(quotes, 8),
         capitals / size, digits / size, high / size, wide / size, code / size,
         letters / some_words, last == ord("?"), last == ord("."), last == ord(":"),
         material > 0, num_known / some_words]
    ).T  # fmt: skip
    return rows


def _material_starts(tokens: Tokens) -> NDArray[np.intp]:
    """Return the token of each text where a blank line first ends the instruction; 0 for none."""
    is_newline = tokens.kinds == NEWLINE
    blank = (is_newline[1:] & is_newline[:-1]).nonzero()[0]
    material = np.zeros(len(tokens.heads), dtype=np.intp)
    # Backwards, so that the first of a text is written last.
    material[tokens.owner[blank[::-1]]] = blank[::-1] + 1
    return material


def _bytes_before(tokens: Tokens, material: NDArray[np.intp]) -> NDArray[np.float64]:
    at = np.where(material > 0, tokens.starts[material], _text_ends(tokens))
    return (at - tokens.firsts).astype(np.float64)


def _text_ends(tokens: Tokens) -> NDArray[np.intp]:
    # The very last byte is the space that `tokenized` adds.
    return np.append(tokens.firsts[1:], len(tokens.raw) - 1)
