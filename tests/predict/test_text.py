import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.predict.length_model import prompt_rows
from headway.predict.ngrams import hashed
from headway.predict.text import chat_text, considered, request_text
from headway.predict.tokens import tokenized
from headway.predict.traits import FEATURES, requested_tokens

anything = st.text(alphabet=st.characters(exclude_categories=()), max_size=300)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text"]), inner)
    ),
    max_leaves=9,
)


@given(st.lists(anything, min_size=1, max_size=5))
@settings(max_examples=150)
def test_any_text_gives_finite_numbers(texts: list[str]) -> None:
    rows = prompt_rows(texts, [None] * len(texts))
    assert rows.dense.shape == (len(texts), len(FEATURES))
    assert np.isfinite(rows.dense).all()
    assert np.isfinite(rows.grams.values).all()


@given(st.lists(anything, min_size=1, max_size=5), anything)
@settings(max_examples=150)
def test_a_text_gives_the_same_numbers_in_any_company(texts: list[str], text: str) -> None:
    alone = prompt_rows([text], [7])
    together = prompt_rows([texts[0], text, *texts[1:], ""], [None, 7] + [None] * len(texts))
    np.testing.assert_array_equal(alone.dense[0], together.dense[1])
    begin, end = together.grams.bounds[1:3]
    np.testing.assert_array_equal(alone.grams.columns, together.grams.columns[begin:end])
    np.testing.assert_array_equal(alone.grams.values, together.grams.values[begin:end])


def test_tokens_are_words_marks_and_line_ends() -> None:
    tokens = tokenized(["Don't stop,\nB2b"])
    spans = zip(tokens.starts, tokens.ends, strict=True)
    found = [tokens.raw[a:b].tobytes() for a, b in spans]
    assert found == [b"\0", b"Don't", b"stop", b",", b"\n", b"B2b"]


def test_case_and_digits_do_not_change_a_hash() -> None:
    one, other = tokenized(["Top 10"]), tokenized(["tOP 37"])
    np.testing.assert_array_equal(one.hashes, other.hashes)


def test_different_words_have_different_columns() -> None:
    grams = hashed(tokenized(["alpha beta", "gamma delta"]), 17)
    first = set(grams.columns[: grams.bounds[1]].tolist())
    second = set(grams.columns[grams.bounds[1] :].tolist())
    assert len(first & second) <= 2  # the START token, and at most one collision


@pytest.mark.parametrize(
    "prompt",
    [
        "x" * 1_000_000,
        "a " * 500_000,
        "user: a\n" * 120_000,
        ";" * 1_000_000,
        " " * 1_000_000 + ";",
        "\n" * 1_000_000,
        "5 " * 500_000,
        "\ud800" * 1_000_000,
        "\0\x01\xff" * 300_000,
        "語" * 1_000_000,
    ],
    ids=[
        "x",
        "words",
        "turns",
        "marks",
        "spaces",
        "lines",
        "numbers",
        "surrogates",
        "bytes",
        "cjk",
    ],
)
def test_a_megabyte_takes_bounded_time(prompt: str) -> None:
    begun = time.process_time()
    rows = prompt_rows([prompt], [None])
    assert time.process_time() - begun < 1.0
    assert np.isfinite(rows.dense).all()
    assert len(rows.grams.values) < 60_000


def test_of_a_chat_the_last_question_and_the_system_prompt_are_read() -> None:
    chat = chat_text(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is iron?"},
            {"role": "assistant", "content": "A metal."},
            {"role": "user", "content": [{"type": "text", "text": "Is it heavy?"}]},
        ]
    )
    read = considered(chat)
    assert "Is it heavy?" in read.text
    assert "Be brief." in read.text
    assert "What is iron?" not in read.text
    assert (read.turns, read.tool_turns) == (4, 0)
    assert read.answer_chars > 0


def test_a_single_user_message_is_its_text() -> None:
    assert chat_text([{"role": "user", "content": "Hi"}]) == "Hi"


@pytest.mark.parametrize(
    ("text", "tokens", "parts"),
    [
        ("Write it in 50 words", 67.5, 0),
        ("a 500-word essay", 675, 0),
        ("in two short paragraphs", 200, 0),
        ("give 5 tips", 0, 5),
        ("a 3-sentence summary", 72, 0),
        ("What is iron?", 0, 0),
    ],
)
def test_a_requested_length_is_read(text: str, tokens: float, parts: float) -> None:
    assert requested_tokens(text) == (tokens, parts)


def test_a_chat_reads_alike_in_all_shapes_of_a_request() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is iron?"},
    ]
    chat = request_text({"messages": turns, "stream": True})
    assert chat == chat_text(turns)
    assert request_text({"instructions": "Be brief.", "input": "What is iron?"}) == chat
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "What is iron?"}]}]
    assert request_text({"instructions": "Be brief.", "input": parts}) == chat
    assert request_text({"prompt": "What is iron?"}) == "What is iron?"
    assert request_text({"input": "What is iron?"}) == "What is iron?"
    assert request_text({"prompt": [1, 2, 3]}) == request_text({}) == ""


def test_tools_are_read_behind_the_instructions() -> None:
    body = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is iron?"},
        ],
        "tools": [{"type": "function", "function": {"name": "search"}}],
    }
    read = considered(request_text(body))
    assert read.text.startswith("What is iron?\n\nBe brief.")
    assert '"tools": [' in read.text


@given(st.dictionaries(st.sampled_from(["prompt", "messages", "input", "tools"]), json_values))
def test_any_body_has_a_text(body: dict[str, object]) -> None:
    assert isinstance(request_text(body), str)
