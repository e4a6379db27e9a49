"""One request under way: what came when, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from headway.load.answer import Answer
from headway.load.plan import Planned

_SAID = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call")


Arrival = tuple[bytes, int]
NOTHING: Arrival = (b"", 0)


class Flight:
    """One request under way."""

    __slots__ = (
        "done", "due_s", "number", "planned", "prompt_tokens", "reused", "sent_s", "status",
        "tail", "times", "usage_tokens",
    )  # fmt: skip

    def __init__(
        self, number: int, planned: Planned, due_s: float, done: Callable[[Answer], None]
    ) -> None:
        self.number = number
        self.planned = planned
        self.due_s = due_s
        self.done = done
        self.sent_s = 0.0
        self.status = 0
        self.times: list[float] = []
        # The last arrivals, and how many times each of them added to `times`.
        self.tail: tuple[Arrival, Arrival, Arrival] = (NOTHING, NOTHING, NOTHING)
        self.usage_tokens = 0
        self.prompt_tokens = planned.prompt_tokens
        self.reused = False

    def see(self, events: bytes, now_s: float) -> None:
        """Whole events came at ``now_s``."""
        count = events.count(b"\n\n")
        if not self.times:
            # Nothing counts before the first event that says something; after it everything does
            # until the end, when what said nothing is taken back.
            said = [tree is not None and _says(tree) for tree in _trees(events)]
            count = len(said) - said.index(True) if True in said else 0
        self.times.extend([now_s] * count)
        self.tail = (self.tail[1], self.tail[2], (events, count))

    def end(self, problem: str = "") -> None:
        """It is over: what the last events hold that is no token was counted by mistake."""
        finished = False
        said: list[bool] = []
        for events, count in self.tail:
            trees = _trees(events)
            flags = [tree is not None and _says(tree) for tree in trees]
            said += flags[len(flags) - count :] if count <= len(flags) else [True] * count
            for tree in trees:
                if tree is None:
                    finished = True
                    continue
                usage = tree.get("usage")
                if isinstance(usage, dict):
                    self.usage_tokens = int(usage.get("completion_tokens") or 0)
                    self.prompt_tokens = int(usage.get("prompt_tokens") or self.prompt_tokens)
                if tree.get("error"):
                    problem = problem or f"the server said: {str(tree['error'])[:200]}"
                finished |= any(
                    isinstance(c, dict) and bool(c.get("finish_reason"))
                    for c in tree.get("choices") or ()
                )
        times = self.times
        last = len(times) - len(said)
        times[last:] = [time for time, is_token in zip(times[last:], said, strict=True) if is_token]
        if not problem and not times:
            problem = "the answer holds no token"
        if not problem and not finished:
            problem = "the answer ended early"
        tokens = self.usage_tokens or len(times)
        self.done(
            Answer(
                self.number, self.due_s, self.sent_s, tuple(times), self.prompt_tokens, tokens,
                self.status, problem,
            )
        )  # fmt: skip


def _says(tree: dict[str, Any]) -> bool:
    choices = tree.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        if choice.get("text") or choice.get("message"):
            return True
        delta = choice.get("delta")
        if isinstance(delta, dict) and any(delta.get(name) for name in _SAID):
            return True
    return False


def _trees(events: bytes) -> list[dict[str, Any] | None]:
    """The events' JSON objects; ``None`` for ``[DONE]``."""
    found: list[dict[str, Any] | None] = []
    for line in events.split(b"\n"):
        if not line.startswith(b"data:"):
            continue
        payload = line[5:].strip()
        if payload == b"[DONE]":
            found.append(None)
            continue
        try:
            tree = json.loads(payload)
        except ValueError:
            continue
        if isinstance(tree, dict):
            found.append(tree)
    return found
