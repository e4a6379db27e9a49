"""The six uncertainties of RT-LM as rule scores, from word lists and marks alone.

Names after Li et al., "RT-LM" (RTSS 2023, abstract). Its rules were not published with it, so the
formulas below are derived here. Words are classed by `headway.predict.lexicon`; a sentence ends
at ``.``, ``?``, ``!``, ``;`` or a line's end. All scores are at least 0 and divided by nothing:
a longer prompt can hold more doubt. At most the considered part of a prompt is scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headway.predict.lexicon import class_bits, has
from headway.predict.text import considered
from headway.predict.tokens import MARK, NEWLINE, START, WORD, Ints, Tokens, byte_set, tokenized

Floats = NDArray[np.float64]
_SENTENCE_END, _BULLET = byte_set(b".?!;"), byte_set(b"-*")
SCORES = ("structural", "syntactic", "semantic", "vague", "open_ended", "multi_part")


@dataclass(frozen=True, slots=True)
class UncertaintyScores:
    """How much in a prompt is left open, of six kinds; counts, 0 for none.

    Attributes:
        structural: attachment sites beyond the first, summed over prepositional phrases.
        syntactic: words that may be noun or verb with nothing before them to decide it.
        semantic: words with unrelated senses.
        vague: words and phrases that name no definite thing.
        open_ended: cues of a question without one answer, less cues of one with.
        multi_part: parts that are asked for beyond the first.
    """

    structural: float
    syntactic: float
    semantic: float
    vague: float
    open_ended: float
    multi_part: float


def uncertainty_scores(prompt: str) -> UncertaintyScores:
    """Return the six scores of one prompt; takes well under a millisecond for any text."""
    tokens = tokenized([considered(prompt).text])
    row = score_matrix(tokens, class_bits(tokens))[0]
    return UncertaintyScores(*(float(score) for score in row))


def score_matrix(tokens: Tokens, bits: NDArray[np.uint64]) -> Floats:
    """Return the six scores of each text in the order of `SCORES`; [texts, 6]."""
    kinds = tokens.kind[tokens.starts]
    word = kinds == WORD
    marks = np.where(kinds == MARK, tokens.raw[tokens.starts], 0)
    sentence = _sentences(kinds, marks)
    return np.column_stack(
        [
            _structural(tokens, bits, word, sentence),
            _syntactic(tokens, bits, word),
            _per_text(tokens, has(bits, "homonym")),
            _per_text(tokens, has(bits, "vague") | has(bits, "broad")),
            _open_ended(tokens, bits),
            _multi_part(tokens, bits, word, marks),
        ]
    )


def _sentences(kinds: NDArray[np.uint8], marks: NDArray[np.uint8]) -> Ints:
    ends = (kinds == NEWLINE) | (kinds == START) | _SENTENCE_END[marks]
    return np.cumsum(ends)


def _per_text(tokens: Tokens, counted: NDArray[np.bool_] | Floats) -> Floats:
    sums: Floats = np.add.reduceat(counted.astype(np.float64), tokens.heads)
    return sums


def _structural(
    tokens: Tokens, bits: NDArray[np.uint64], word: NDArray[np.bool_], sentence: Ints
) -> Floats:
    # "John saw a boy in the park with a telescope": the phrase with "in" may attach to the verb
    # or to "boy" (1 site too many), the one with "with" to verb, "boy" or "park" (2 too many).
    # The k-th such phrase of a sentence adds k. It counts if two words of content stand before
    # it (a verb and its object) and one right before it (else it is the verb's own particle).
    content = word & ~has(bits, "function_word")
    attaching = has(bits, "attaching") & word
    before = _count_before(content, sentence)

    counts = attaching & (before >= 2)
    counts[1:] &= content[:-1] | has(bits, "personal")[:-1]
    rank = _count_before(counts, sentence) + 1
    return _per_text(tokens, np.where(counts, rank, 0).astype(np.float64))


def _syntactic(tokens: Tokens, bits: NDArray[np.uint64], word: NDArray[np.bool_]) -> Floats:
    # "Rice flies like sand": each word may be noun or verb and none before it decides. A word
    # after a determiner, a modal, a pronoun or "to" is decided; so is an imperative that a
    # determiner or pronoun follows ("Book a table").
    fixing = has(bits, "fixing")
    open_class = has(bits, "noun_or_verb") & word
    undecided = open_class.copy()
    undecided[1:] &= ~fixing[:-1]
    starting = np.zeros(len(word), dtype=bool)
    starting[1:] = ~word[:-1]
    followed = np.zeros(len(word), dtype=bool)
    followed[:-1] = fixing[1:] | has(bits, "personal")[1:]
    undecided &= ~(starting & followed)
    return _per_text(tokens, undecided)


def _open_ended(tokens: Tokens, bits: NDArray[np.uint64]) -> Floats:
    opening = has(bits, "open_cue").astype(np.float64) + has(bits, "ask_open")
    closing = has(bits, "closed_cue").astype(np.float64) + has(bits, "ask_short")
    return np.maximum(_per_text(tokens, opening - closing), 0.0)


def _multi_part(
    tokens: Tokens, bits: NDArray[np.uint64], word: NDArray[np.bool_], marks: NDArray[np.uint8]
) -> Floats:
    # "cats and dogs differ in behavior, diet, and interaction": each joining word adds a part,
    # and so does a comma that no joining word follows; further questions and numbered or
    # bulleted lines add one each.
    joining = (has(bits, "joining") | has(bits, "and_then")) & word
    comma = marks == ord(",")
    comma[:-1] &= ~joining[1:]

    questions = _per_text(tokens, marks == ord("?"))
    line = np.zeros(len(word), dtype=bool)
    line[1:] = tokens.kind[tokens.starts[:-1]] == NEWLINE
    numeral = (tokens.raw[tokens.starts] >= ord("0")) & (tokens.raw[tokens.starts] <= ord("9"))
    bullet = line & (_BULLET[marks] | numeral)
    return _per_text(tokens, joining | comma | bullet) + np.maximum(questions - 1, 0.0)


def _count_before(counted: NDArray[np.bool_], group: Ints) -> Ints:
    """Return how many tokens of the same group (non-decreasing) were counted before each."""
    running: Ints = np.cumsum(counted) - counted
    first = np.searchsorted(group, group, side="left")
    return running - running[first]
