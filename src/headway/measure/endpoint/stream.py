"""Server-sent events of an OpenAI-compatible answer, timed as they arrive, whatever arrives.

Failures are named, and nothing that was seen before them is lost:

    down          no connection            rate_limited   429, with what it asked to wait
    timeout       no byte for too long     server_error   5xx
    unauthorized  401 or 403               refused        any other status that is no success
    not_found     404                      malformed      a chunk that is no JSON of an answer
    empty         ended without a token    closed_early   ended without saying that it is the end
    too_long      went on far beyond the limit that was set
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headway.measure.endpoint.probe import Probe, Usage

FATAL = frozenset({"unauthorized", "not_found", "refused"})
MOST_LINE_BYTES = 1_000_000


def failure_of(status: int) -> str | None:
    """The name of the failure that an HTTP status tells, ``None`` for success."""
    if 200 <= status < 300:
        return None
    named = {401: "unauthorized", 403: "unauthorized", 404: "not_found", 429: "rate_limited"}
    return named.get(status, "server_error" if status >= 500 else "refused")


@dataclass(slots=True)
class Answer:
    """An answer as it grows; ``feed`` it bytes with the time they came, then ``ended``."""

    probe: Probe
    failure: str | None = None
    said: str = ""
    done: bool = False
    chunks_s: list[float] = field(default_factory=list)
    shown_s: float | None = None
    finish: str | None = None
    usage: Usage = field(default_factory=Usage)
    _rest: bytes = b""

    def feed(self, content: bytes, at_s: float) -> None:
        """Take ``content`` that arrived ``at_s`` seconds after the request was sent."""
        self._rest += content
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            self._line(line.strip(), at_s)
        if len(self._rest) > MOST_LINE_BYTES:
            self._fail("malformed", "a line of more than a megabyte")

    def ended(self, at_s: float | None) -> Probe:
        """The probe with all that was seen; ``at_s`` is the end of the stream."""
        if self._rest.strip():
            self._line(self._rest.strip(), self.chunks_s[-1] if self.chunks_s else at_s or 0.0)
        failure = self.failure
        if failure is None and not self.done and self.finish is None:
            failure, self.said = "closed_early", "the stream ended without its end being said"
        if failure is None and not self.chunks_s and not self.usage.output_tokens:
            failure, self.said = "empty", "the stream ended without a token"
        if failure is None and len(self.chunks_s) > 4 * self.probe.max_tokens + 16:
            failure = "too_long"
        return replace(
            self.probe,
            failure=failure,
            message=self.said[:200],
            ttft_s=self.chunks_s[0] if self.chunks_s else None,
            chunks_s=tuple(self.chunks_s),
            shown_s=self.shown_s,
            e2e_s=at_s if failure is None else None,
            usage=self.usage,
            finish=self.finish,
        )

    def _line(self, line: bytes, at_s: float) -> None:
        if self.done or self.failure or not line.startswith(b"data:"):
            return  # comments, event names and blank lines keep connections alive
        text = line[len(b"data:") :].strip()
        if text == b"[DONE]":
            self.done = True
            return
        try:
            event = json.loads(text)
        except ValueError:
            self._fail("malformed", f"a chunk that is no JSON: {text[:60]!r}")
            return
        if not isinstance(event, dict):
            self._fail("malformed", f"a chunk that is no JSON object: {text[:60]!r}")
        elif event.get("error"):
            self._fail("server_error", json.dumps(event["error"]))
        else:
            self._event(event, at_s)

    def _event(self, event: Mapping[str, object], at_s: float) -> None:
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.usage = read_usage(usage)
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            if usage is None and "choices" not in event:
                self._fail("malformed", f"a chunk without choices or usage: {str(event)[:60]}")
            return
        choice = choices[0]
        given = choice.get("delta")
        delta = given if isinstance(given, dict) else {}
        shown = delta.get("content") or choice.get("text")
        hidden = delta.get("reasoning_content") or delta.get("reasoning")
        if shown or hidden:
            self.chunks_s.append(max(at_s, self.chunks_s[-1] if self.chunks_s else 0.0))
        if shown and self.shown_s is None:
            self.shown_s = self.chunks_s[-1]
        if choice.get("finish_reason"):
            self.finish = str(choice["finish_reason"])[:40]

    def _fail(self, failure: str, said: str) -> None:
        if self.failure is None:
            self.failure, self.said = failure, said


def read_usage(usage: Mapping[str, object]) -> Usage:
    """Token counts, also from the names that single vendors use; what is missing is ``None``."""
    prompt = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    output = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    prompt_details = prompt if isinstance(prompt, dict) else {}
    output_details = output if isinstance(output, dict) else {}
    cached = prompt_details.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    return Usage(
        _count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        _count(usage.get("completion_tokens", usage.get("output_tokens"))),
        _count(cached),
        _count(output_details.get("reasoning_tokens")),
    )


def _count(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
    return value if whole and isinstance(value, int) else None
