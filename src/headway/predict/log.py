"""Finished requests from a log: one JSON object per line, in the shapes that servers write.

A line needs a prompt and the tokens of the answer: a request in any shape that
`headway.predict.text.request_text` reads, and ``output_tokens``, ``completion_tokens`` or
``usage.completion_tokens``. ``model``, ``tenant`` (or ``user``), ``source`` and ``max_tokens`` are
read where they stand; anything else is ignored. What the object itself does not have is sought in
its ``request`` and ``response``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.errors import InputError
from headway.predict.prediction import MAX_TOKENS
from headway.predict.text import request_text
from headway.workload.request import Request

MAX_LINE_BYTES = 32_000_000
_TOKENS = ("output_tokens", "completion_tokens", "out_tokens")
LEAK_SHARE = 0.5  # of answers that end at their limit
MIN_LIMITS = 5  # different ones; with fewer, answers that are cut off look the same
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Observation:
    """One prompt and the length of its answer.

    Attributes:
        prompt: the text; a chat as `headway.predict.text.chat_text` gives it.
        output_tokens: of the answer, at least 0.
        model: who answered; empty where there is only one.
        tenant: on whose behalf; empty where that is not distinguished.
        source: where the prompt comes from, to report scores by; no predictor sees it.
        max_tokens: the user's limit on the answer, ``None`` for none.
    """

    prompt: str
    output_tokens: int
    model: str = ""
    tenant: str = ""
    source: str = ""
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.output_tokens <= MAX_TOKENS:
            raise InputError(f"output_tokens must be from 0 to 1e7, not {self.output_tokens}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens must be at least 1, not {self.max_tokens}")

    def request(self, number: int) -> Request:
        """Return the request as it arrived, with ``number`` as its id."""
        return Request(
            id=str(number),
            arrival_s=0.0,
            prompt=self.prompt,
            prompt_tokens=max(1, len(self.prompt) // 4),
            max_tokens=self.max_tokens,
            model=self.model,
            tenant=self.tenant,
        )


def read_log(path: Path, tick: Callable[[int], None] | None = None) -> list[Observation]:
    """Return the observations of every line; ``tick`` is called with the bytes read so far.

    Raises:
        InputError: the file cannot be read or is empty, or a line is malformed: it is named.
    """
    observations = list(_observations(path, tick))
    if not observations:
        raise InputError(f"{path} holds no finished request")
    return observations


def leak_warning(observations: Sequence[Observation]) -> str | None:
    """Return what is wrong with a log whose limits give away its lengths, or ``None``.

    Load generators write the length that they want as ``max_tokens``. Who learns from that, or is
    scored on it, reads the answer in the question.
    """
    num_limited = sum(o.max_tokens is not None for o in observations)
    num_equal = sum(o.output_tokens == o.max_tokens for o in observations)
    if num_equal <= LEAK_SHARE * len(observations) or _few_limits(observations):
        return None
    return (
        f"{num_equal:,} of {num_limited:,} answers are exactly as long as their max_tokens: the "
        "limit gives the length away, so scores on this log say nothing of prompts"
    )


def _few_limits(observations: Sequence[Observation]) -> bool:
    """Return whether limits are too few, such as one for all, to tell requests apart."""
    limits = {o.max_tokens for o in observations if o.max_tokens is not None}
    return len(limits) < MIN_LIMITS


def recorded_observations(where: str | Path) -> list[Observation]:
    """Return the answered requests of a gateway's record whose prompts were kept.

    Raises:
        InputError: it is no record, or no prompts were kept.

    """
    # Only here: a text or a log needs no database.
    from headway.record.store import record_name
    from headway.record.trace import answered_entries

    observations = [
        Observation(
            prompt=entry.prompt,
            output_tokens=entry.output_tokens,
            model=entry.model,
            tenant=entry.tenant,
            source="",
            max_tokens=entry.max_tokens,
        )
        for entry in answered_entries(where)
        if entry.prompt
    ]
    if not observations:
        raise InputError(
            f"{record_name(where)} holds no prompts to learn from: let the gateway keep them with "
            "keep_prompts = true"
        )
    return observations


def _observations(path: Path, tick: Callable[[int], None] | None) -> Iterator[Observation]:
    num_bytes = 0
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                num_bytes += len(line)
                if line.strip():
                    where = f"{path}, line {number}"
                    yield observation(_parsed(line, where), where)
                if tick is not None and number % 256 == 0:
                    tick(num_bytes)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _parsed(line: bytes, where: str) -> object:
    if len(line) > MAX_LINE_BYTES:
        raise InputError(f"{where}: longer than {MAX_LINE_BYTES} bytes")
    try:
        return json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a JSON object ({error})") from error


def observation(entry: object, where: str) -> Observation:
    """Return the finished request in ``entry``, a parsed line.

    Raises:
        InputError: something is missing or of the wrong type; ``where`` begins the message.
    """
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: a line is a JSON object, not {type(entry).__name__}")

    # The line itself first, then what it nests.
    places: list[Mapping[str, Any]] = [entry]
    for key in ("request", "response", "usage"):
        places += [p[key] for p in list(places) if isinstance(p.get(key), Mapping)]

    try:
        return Observation(
            prompt=_prompt(places),
            output_tokens=_count(_first(places, _TOKENS), "output_tokens"),
            model=_name(_first(places, ("model",)), "model"),
            tenant=_name(_first(places, ("tenant", "user")), "tenant"),
            source=_name(_first(places, ("source",)), "source"),
            max_tokens=_limit(_first(places, _LIMITS)),
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _prompt(places: list[Mapping[str, Any]]) -> str:
    for place in places:
        if place.get("prompt") is not None and not isinstance(place["prompt"], str | list):
            raise InputError(f"`prompt` is a text, not {type(place['prompt']).__name__}")
        if (
            place.get("prompt") is not None
            or isinstance(place.get("messages"), list)
            or isinstance(place.get("input"), str | list)
        ):
            return request_text(place)
    raise InputError("there is neither a text `prompt` nor a list of `messages` nor an `input`")


def _first(places: list[Mapping[str, Any]], keys: tuple[str, ...]) -> object:
    """Return the value of the first of ``keys`` that any of ``places`` has, else ``None``."""
    values = (place.get(key) for key in keys for place in places)
    return next((value for value in values if value is not None), None)


def _count(value: object, what: str) -> int:
    if value is None:
        raise InputError(f"`{what}` is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise InputError(f"`{what}` is a whole number, not {str(value)[:40]!r}")
    return int(value)


def _limit(value: object) -> int | None:
    return None if value is None else _count(value, "max_tokens")


def _name(value: object, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"`{what}` is a text, not {type(value).__name__}")
    return value[:200]
