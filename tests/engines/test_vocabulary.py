"""Texts as tokens: bytes for random weights, about words for engines that compute nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.engines.local import EngineOptions
from headway.engines.vocabulary import WordVocabulary


@given(st.text(max_size=40), st.text(max_size=40))
def test_equal_words_are_equal_tokens_and_nothing_is_lost(one: str, other: str) -> None:
    words = WordVocabulary()
    assert len(words.tokens(one)) <= len(one)
    assert bool(words.tokens(one)) == bool(one)
    # A prefix that ends where a word does has the same tokens whatever follows.
    shared = words.tokens(one + "\n\nx")[:-1]
    assert words.tokens(one + "\n\nx" + " " + other)[: len(shared)] == shared


def test_tokens_are_about_as_many_as_tokenizers_make() -> None:
    count = [len(WordVocabulary().tokens(text)) for text in (
        "time year people way", "internationalization", "1234567", "f(x) = 2;", "日本語", "",
    )]  # fmt: skip
    assert count == [4, 3, 3, 8, 3, 0]


def test_a_timed_engine_has_the_limits_of_a_server_and_others_those_of_a_cpu() -> None:
    timed = EngineOptions(runtime="timed", deployment="llama-3.1-8b@h100:tp1")
    assert timed.limits == (1024, 8192)
    assert EngineOptions().limits == (16, 512)
    assert EngineOptions(max_num_seqs=4).limits == (4, 512)
