"""What will be asked, and when: settled before the first request is sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from hashlib import shake_128

import numpy as np

from headway.errors import InputError
from headway.http.openai import CHAT, COMPLETIONS, streaming_body
from headway.load.tokens import Count, exact_text
from headway.workload.arrivals import arrivals
from headway.workload.oracle import BlockHashes, Trace

PATHS = {CHAT: "/chat/completions", COMPLETIONS: "/completions"}
_WORDS = (
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world",
    "school", "state", "family", "student", "group", "country", "problem", "hand", "part",
    "place", "case", "week", "company", "system", "program", "question", "work", "number",
    "night", "house", "water",
)  # fmt: skip
_WORD_ARRAY = np.array(_WORDS, dtype=object)  # 32 of them: five bits choose one
# How an engine of ours is told the true length of an answer; a gateway passes it on unread.
LENGTH_HEADER = "x-engine-tokens"


@dataclass(frozen=True, slots=True)
class Planned:
    """One request to be sent.

    Attributes:
        due_s: seconds after the start; ignored by closed loops.
        body: the JSON to send.
        prompt_tokens: as planned; the server's own count replaces it in results.
        headers: further header lines, each ended by a line end.
        api: chat or completions.
        cancel_after: tokens after which its client goes away; ``None``: it reads to the end.
        after: number of the request whose answer a user reads before sending this one.

    """

    due_s: float
    body: bytes
    prompt_tokens: int
    headers: bytes = b""
    api: str = CHAT
    after: int | None = None
    cancel_after: int | None = None


def plan_trace(
    trace: Trace,
    model: str,
    api: str = CHAT,
    *,
    seed: int = 0,
    hide_lengths: bool = False,
    sessions: bool = False,
    count: Count | None = None,
) -> list[Planned]:
    """Return requests with the times and lengths of ``trace``.

    Prompts are the trace's own, where it has texts. Else they are words drawn at random, one of
    about a token each, or of exactly so many as ``count`` tells; two share a prefix as far as the
    trace says so by its hashes of blocks. With
    ``sessions`` a prompt that goes on where an earlier one ended is sent once that was answered, as
    a user does.
    The server is told to answer at exactly the trace's length (vLLM's ``ignore_eos``), which a
    scheduler on the way can read. With ``hide_lengths``, and where lengths differ, every request
    has the same limit, and the true length is in a header that `headway engine` knows.
    """
    random = np.random.default_rng([seed, 7])
    hides = hide_lengths and trace.output_tokens.min() < trace.output_tokens.max()
    common_limit = 1 << (int(trace.output_tokens.max()) - 1).bit_length()

    before = previous_turns(trace.prefixes) if sessions else {}
    planned: list[Planned] = []
    columns = (trace.arrival_s, trace.prompt_tokens, trace.output_tokens)
    for due_s, prompt_tokens, output_tokens in zip(*(c.tolist() for c in columns), strict=True):
        if trace.prompts is not None:
            text = trace.prompts[len(planned)]
        else:
            shared = _shared_words(trace.prefixes, len(planned), prompt_tokens, seed)
            words = [*shared, *_drawn(random, max(1, prompt_tokens - len(shared)))]
            if count is None:
                text = " ".join(words)
            else:
                text = exact_text(words, prompt_tokens, count, partial(_drawn, random))
        if hides:
            body = make_body(text, model, api, common_limit)
            headers = f"{LENGTH_HEADER}: {output_tokens}\r\n".encode()
        else:
            body = make_body(text, model, api, output_tokens, fixed_length=True)
            headers = b""
        after = before.get(len(planned))
        planned.append(Planned(due_s, body, prompt_tokens, headers=headers, api=api, after=after))
    return planned


def _drawn(random: np.random.Generator, count: int) -> list[str]:
    return _words_of(random.bytes(count))


def _words_of(noise: bytes) -> list[str]:
    """Return a word for each byte."""
    words: list[str] = _WORD_ARRAY[np.frombuffer(noise, np.uint8) & 31].tolist()
    return words


def _shared_words(
    prefixes: BlockHashes | None, row: int, prompt_tokens: int, seed: int
) -> list[str]:
    """Return the words of the whole blocks of prompt ``row``: equal hashes have equal words."""
    if prefixes is None:
        return []
    hashes = prefixes.hashes[prefixes.first[row] : prefixes.first[row + 1]]
    words: list[str] = []
    for key in hashes[: max(0, prompt_tokens - 1) // prefixes.tokens].tolist():
        words += _block_words(seed, key, prefixes.tokens)
    return words


@lru_cache(maxsize=4096)
def _block_words(seed: int, key: int, count: int) -> tuple[str, ...]:
    return tuple(_words_of(shake_128(f"{seed} {key}".encode()).digest(count)))


def previous_turns(prefixes: BlockHashes | None) -> dict[int, int]:
    """Return, by request, the last one before it whose whole blocks its prompt begins with.

    Only one turn goes on from each; prompts of no whole block belong to no session.
    """
    turns: dict[int, int] = {}
    continued: set[int] = set()
    if prefixes is None:
        return turns

    # The last request whose prompt ends with these blocks. A last block is seldom whole, and then
    # its hash comes never again: a prompt stands here with it and without.
    ends: dict[tuple[int, ...], int] = {}
    for row in range(len(prefixes.first) - 1):
        hashes = tuple(prefixes.hashes[prefixes.first[row] : prefixes.first[row + 1]].tolist())
        for length in range(len(hashes), 0, -1):
            previous = ends.pop(hashes[:length], None)
            if previous is not None and previous not in continued:
                turns[row] = previous
                continued.add(previous)
                break
        for length in (len(hashes), len(hashes) - 1):
            if length > 0:
                ends[hashes[:length]] = row
    return turns


def with_cancellations(planned: list[Planned], share: float, seed: int) -> list[Planned]:
    """Return ``planned``, a ``share`` of them cancelled after their first tokens, from 1 to 16."""
    if share <= 0:
        return planned
    random = np.random.default_rng([seed, 17])
    cancelled = random.random(len(planned)) < share
    tokens = random.integers(1, 17, size=len(planned))
    return [
        replace(one, cancel_after=int(tokens[row])) if cancelled[row] else one
        for row, one in enumerate(planned)
    ]


def ramped(trace: Trace, ramp_s: float) -> Trace:
    """Return ``trace`` with a rate that rises evenly to its own over ``ramp_s``."""
    if ramp_s <= 0:
        return trace
    even_s = trace.arrival_s
    arrival_s = np.where(even_s < ramp_s / 2, np.sqrt(2 * ramp_s * even_s), even_s + ramp_s / 2)
    return replace(trace, arrival_s=arrival_s)


def make_body(
    text: str, model: str, api: str, max_tokens: int | None, *, fixed_length: bool = False
) -> bytes:
    """Return a streaming request for ``text``."""
    if api not in PATHS:
        raise InputError(f"the API is chat or completions, not {api!r}")
    fields: dict[str, object] = {"stream_options": {"include_usage": True}}
    if max_tokens is not None:
        fields["max_tokens"] = max_tokens
        if fixed_length:
            fields |= {"ignore_eos": True, "min_tokens": max_tokens}
    return json.dumps(streaming_body(model, text, api, fields=fields)).encode()


def evenly_shaped(count: int, prompt_tokens: int, output_tokens: int) -> Trace:
    """Return ``count`` requests of one shape, all due at once: for closed loops and sweeps."""
    ones = np.ones(count, dtype=np.int64)
    return Trace(np.zeros(count), ones * prompt_tokens, ones * output_tokens, "fixed")


def shaped_arrivals(trace: Trace, rate_rps: float, gap_cv: float, seed: int) -> Trace:
    """Return ``trace`` with arrivals of its own: Poisson at ``gap_cv`` 1, burstier above."""
    times = arrivals(np.random.default_rng([seed, 11]), len(trace), rate_rps, gap_cv)
    return replace(trace, arrival_s=times)


def shares(planned: Sequence[Planned], processes: int) -> list[list[Planned]]:
    """Return ``planned`` dealt out to ``processes``, every one as busy as the next at all times."""
    if processes < 1:
        raise InputError(f"a load needs at least 1 process, not {processes}")
    return [list(planned[k::processes]) for k in range(processes) if planned[k::processes]]
