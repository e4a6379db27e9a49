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

from headway.predict.lexicon import Bools, has, word_classes
from headway.predict.text import considered
from headway.predict.tokens import MARK, NEWLINE, START, WORD, Ints, Tokens, byte_set, tokenized

Floats = NDArray[np.float64]
_SENTENCE_END, _BULLET, _NUMERAL = byte_set(b".?!;"), byte_set(b"-*"), byte_set(b"0123456789")
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
    row = score_matrix(tokens, word_classes(tokens))[0]
    return UncertaintyScores(*(float(score) for score in row))


def score_matrix(tokens: Tokens, classes: Bools) -> Floats:
    """Return the six scores of each text in the order of `SCORES`; [texts, 6]."""
    kinds, word = tokens.kinds, tokens.kinds == WORD
    marks = np.where(kinds == MARK, tokens.first_bytes, 0)
    sentence = np.cumsum((kinds == NEWLINE) | (kinds == START) | _SENTENCE_END[marks])

    # What each token adds, then the sum of each text.
    added = np.zeros((len(word), 8))
    added[:, 0] = _structural(classes, word, sentence)
    added[:, 1] = _syntactic(classes, word)
    added[:, 2] = has(classes, "homonym")
    added[:, 3] = has(classes, "vague") | has(classes, "broad")
    added[:, 4] = has(classes, "open_cue")
    added[:, 4] += has(classes, "ask_open")
    added[:, 4] -= has(classes, "closed_cue")
    added[:, 4] -= has(classes, "ask_short")
    added[:, 5] = _parts(classes, word, tokens, marks)
    added[:, 6] = marks == ord("?")
    sums: Floats = np.add.reduceat(added, tokens.heads, axis=0)

    scores = sums[:, :6]
    np.maximum(scores[:, 4], 0.0, out=scores[:, 4])
    scores[:, 5] += np.maximum(sums[:, 6] - 1, 0.0)
    return scores


def _structural(classes: Bools, word: Bools, sentence: Ints) -> Ints:
    # "John saw a boy in the park with a telescope": the phrase with "in" may attach to the verb
    # or to "boy" (1 site too many), the one with "with" to verb, "boy" or "park" (2 too many).
    # The k-th such phrase of a sentence adds k. It counts if two words of content stand before
    # it (a verb and its object) and one right before it (else it is the verb's own particle).
    content = word & ~has(classes, "function_word")
    attaching = has(classes, "attaching") & word
    first = sentence.searchsorted(sentence)  # the first token of each token's sentence

    counts = attaching & (_count_before(content, first) >= 2)
    counts[1:] &= content[:-1] | has(classes, "personal")[:-1]
    return counts * (_count_before(counts, first) + 1)


def _syntactic(classes: Bools, word: Bools) -> Bools:
    # "Rice flies like sand": each word may be noun or verb and none before it decides. A word
    # after a determiner, a modal, a pronoun or "to" is decided; so is an imperative that a
    # determiner or pronoun follows ("Book a table").
    fixing = has(classes, "fixing")
    undecided = has(classes, "noun_or_verb") & word
    undecided[1:] &= ~fixing[:-1]
    imperative = ~word[:-2] & (fixing[2:] | has(classes, "personal")[2:])
    undecided[1:-1] &= ~imperative
    return undecided


def _parts(classes: Bools, word: Bools, tokens: Tokens, marks: NDArray[np.uint8]) -> Bools:
    # "cats and dogs differ in behavior, diet, and interaction": each joining word adds a part,
    # and so does a comma that no joining word follows; further questions and numbered or
    # bulleted lines add one each.
    joining = (has(classes, "joining") | has(classes, "and_then")) & word
    comma = marks == ord(",")
    comma[:-1] &= ~joining[1:]

    bullet: Bools = _BULLET[marks] | _NUMERAL[tokens.first_bytes]
    bullet[1:] &= tokens.kinds[:-1] == NEWLINE
    bullet[0] = False
    joining |= comma
    joining |= bullet
    return joining


def _count_before(counted: Bools, first: Ints) -> Ints:
    """Return how many tokens were counted before each, from the ``first`` of its sentence on."""
    running: Ints = np.cumsum(counted) - counted
    return running - running[first]
