"""Prompts have exactly the tokens that a tokenizer counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError
from headway.load.load_plan import LoadPlan
from headway.load.plan import plan_trace
from headway.load.tokens import exact_text, tokenizer_count
from headway.workload.oracle import BlockHashes, Trace

WORDS = ("time", "year", "people", "question", "a")


def by_pieces(size: int) -> Callable[[str], int]:
    """Return a tokenizer of pieces of words: so many characters are one token."""
    return lambda text: sum(-(-len(word) // size) for word in text.split(" "))


@given(
    st.lists(st.sampled_from(WORDS), max_size=60),
    st.integers(0, 200),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_a_text_has_as_many_tokens_as_were_asked_for(
    words: list[str], num_tokens: int, size: int, random: Random
) -> None:
    count = by_pieces(size)
    text = exact_text(words, num_tokens, count, lambda n: random.choices(WORDS, k=n))
    assert count(text) == num_tokens
    if count(" ".join(words)) <= num_tokens and size > 7:
        assert text.split()[: len(words)] == words  # each word is one token: none is in the way


def test_what_no_text_fulfils_is_said() -> None:
    with pytest.raises(InputError, match="exactly 3 tokens"):
        exact_text(["time"], 3, lambda text: 2 * len(text.split()), lambda n: ["time"] * n)


def test_prompts_share_their_blocks_and_have_their_tokens() -> None:
    lengths = np.array([40, 40, 25])
    prefixes = BlockHashes(
        first=np.array([0, 2, 4, 5]), hashes=np.array([7, 8, 7, 9, 7]), tokens=16
    )
    trace = Trace(np.zeros(3), lengths, np.ones(3, np.int64), "t", prefixes=prefixes)
    texts = [
        body.split('"content": "')[1].split('"')[0]
        for body in (one.body.decode() for one in plan_trace(trace, "m", count=by_pieces(6)))
    ]
    assert [by_pieces(6)(text) for text in texts] == lengths.tolist()
    assert texts[0].split()[:12] == texts[1].split()[:12] == texts[2].split()[:12]


def test_a_models_own_tokenizer_counts(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="pip install 'headway[tokenizer]'")
    path = tmp_path / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["time and people", "a year in a life"], trainer)
    tokenizer.save(str(path))

    plan = LoadPlan(concurrency=(1,), num_requests=3, prompt=50, tokenizer=str(path))
    count = tokenizer_count(Path(plan.tokenizer))
    for one in plan_trace(plan.trace(), "m", count=count):
        assert count(one.body.decode().split('"content": "')[1].split('"')[0]) == 50
    path.write_text("{}")
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        tokenizer_count(path)
