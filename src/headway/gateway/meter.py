"""Tokens and their times, read off an answer as it passes.

While a stream runs its events are counted, not decoded; only the first ones, until a token is
found, and the last ones, which hold the engine's own count, are read.
"""

from __future__ import annotations

import json
from typing import Any

from headway.http.events import num_events, payloads
from headway.http.message import BrokenAnswerError
from headway.http.openai import COMPLETIONS, RESPONSES

_SAID = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call")

MOST_CLOSING = 8  # events after the last token: its finish, the usage, [DONE]


class Meter:
    """Counts what one answer holds.

    Attributes:
        first_s, last_s: when the first and the last token were seen, on the loop's clock.
        seen_tokens: events with content so far; engines usually send one per token.
        output_tokens: the engine's own count if it gave one, else ``seen_tokens`` (set at the end).
        prompt_tokens, cached_tokens: as the engine counts; ``None`` where it does not say.
        finished: whether the answer said that it is complete.
    """

    __slots__ = (
        "_api", "_mark", "_tail", "cached_tokens", "finished", "first_s", "last_s",
        "output_tokens", "prompt_tokens", "seen_tokens",
    )  # fmt: skip

    def __init__(self, api: str) -> None:
        """Nothing was seen yet."""
        self._api = api
        self._mark = b'.delta"' if api == RESPONSES else None
        self._tail: tuple[bytes, bytes, bytes] = (b"", b"", b"")
        self.first_s: float | None = None
        self.last_s = 0.0
        self.seen_tokens = 0
        self.output_tokens = 0
        self.prompt_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.finished = False

    def see(self, events: bytes, now_s: float) -> None:
        """Whole events came; raises `BrokenAnswerError` if the first of them are no JSON."""
        count = num_events(events)
        if not count:
            return  # a comment keeps the connection alive, and says nothing
        tail = self._tail
        self._tail = (tail[1], tail[2], events)
        if self.first_s is not None:
            self.seen_tokens += count if self._mark is None else events.count(self._mark)
            self.last_s = now_s
            return
        said = payloads(events)
        for place, payload in enumerate(said):
            if payload == b"[DONE]":
                continue
            tree = _tree(payload)
            if tree is None:
                raise BrokenAnswerError("the backend's stream holds something that is not JSON")
            if self._says(tree):
                self.first_s = self.last_s = now_s
                rest = said[place + 1 :]
                if self._mark is not None:
                    rest = [other for other in rest if self._mark in other]
                self.seen_tokens += 1 + len(rest)
                return

    def end_stream(self) -> None:
        """The stream is over: read its last events."""
        empty = 0
        closing = [payload for part in self._tail for payload in payloads(part)]
        for payload in reversed(closing[-MOST_CLOSING:]):
            tree = None if payload == b"[DONE]" else _tree(payload)
            if tree is None:
                self.finished |= payload == b"[DONE]"
                empty += 1
                continue
            self._read_usage(tree)
            self._read_finish(tree)
            if self._says(tree):
                break
            empty += 1
        if self._api != RESPONSES and self.first_s is not None:
            # Those before the first token were never counted.
            self.seen_tokens = max(1, self.seen_tokens - empty)
        self.output_tokens = self.output_tokens or self.seen_tokens

    def whole(self, body: bytes, now_s: float) -> bool:
        """Read an answer that came in one piece; whether it is a JSON object."""
        tree = _tree(body)
        if tree is None:
            return False
        self.first_s = self.last_s = now_s
        self._read_usage(tree)
        self.finished = True
        self.output_tokens = max(1, self.output_tokens)
        return True

    def _says(self, tree: dict[str, Any]) -> bool:
        if self._api == RESPONSES:
            return str(tree.get("type", "")).endswith(".delta")
        choices = tree.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            if self._api == COMPLETIONS:
                if choice.get("text"):
                    return True
                continue
            delta = choice.get("delta")
            if isinstance(delta, dict) and any(delta.get(name) for name in _SAID):
                return True
        return False

    def _read_finish(self, tree: dict[str, Any]) -> None:
        if self._api == RESPONSES:
            kind = str(tree.get("type", ""))
            self.finished |= kind in (
                "response.completed", "response.incomplete", "response.failed", "error",
            )  # fmt: skip
            return
        choices = tree.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and choice.get("finish_reason"):
                self.finished = True
        if tree.get("error"):
            self.finished = True  # the engine has told its client what went wrong

    def _read_usage(self, tree: dict[str, Any]) -> None:
        usage = tree.get("usage")
        if usage is None and isinstance(tree.get("response"), dict):
            usage = tree["response"].get("usage")
        if not isinstance(usage, dict):
            return
        self.output_tokens = (
            _count(usage, "completion_tokens", "output_tokens") or self.output_tokens
        )
        self.prompt_tokens = _count(usage, "prompt_tokens", "input_tokens")
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
        if isinstance(details, dict):
            self.cached_tokens = _count(details, "cached_tokens", "cached_tokens")


def _count(tree: dict[str, Any], name: str, other: str) -> int | None:
    value = tree.get(name, tree.get(other))
    return value if isinstance(value, int) and 0 <= value < 10**9 else None


def _tree(payload: bytes) -> dict[str, Any] | None:
    try:
        tree = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None
