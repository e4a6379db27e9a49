"""What a request body asks of an engine, and what it asks that this engine cannot do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headway.engines.batch import Work
from headway.errors import InputError
from headway.http.small import Incoming

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TOKENS = 128  # of an answer, where nobody says
# Who plays the world says by this header how long the answer will be. A gateway passes it on
# without reading it, so that what schedules never knows.
LENGTH_HEADER = b"x-engine-tokens"
_REFUSED = ("stop", "logprobs", "top_logprobs", "best_of", "suffix", "echo", "tools", "logit_bias",
            "response_format")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        work: for the pipeline.
        chat: whether the answer is a chat's.
        stream: whether it is wanted as a stream.
        usage: whether the stream ends with the counts of tokens.
        cut: whether the answer's own end lies before ``max_tokens``: then it "stops".

    """

    work: Work
    chat: bool
    stream: bool
    usage: bool
    cut: bool


def read_asked(
    incoming: Incoming, number: int, encode: Callable[[str], list[int]], context_tokens: int
) -> Asked:
    """Read a request.

    Args:
        incoming: as it came.
        number: the request's own.
        encode: gives the tokens of a text.
        context_tokens: most tokens of prompt and answer together.

    Raises:
        InputError: it is no JSON object, or asks for what this engine cannot do.

    """
    try:
        tree = json.loads(incoming.body)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise InputError("the body must be a JSON object")
    for name in _REFUSED:
        if tree.get(name):
            raise InputError(f"this engine has random weights and no {name!r}; leave it out")
    if tree.get("n", 1) != 1:
        raise InputError(f"this engine gives 1 answer, not {tree['n']!r}")
    chat = incoming.path == CHAT
    prompt = _chat(tree, encode) if chat else _prompt(tree.get("prompt"), encode)
    most = context_tokens - len(prompt)
    if most < 1:
        raise InputError(
            f"the prompt has {len(prompt)} tokens, and prompt and answer together have at most "
            f"{context_tokens}"
        )
    said = next((tree[k] for k in ("max_completion_tokens", "max_tokens") if tree.get(k)), TOKENS)
    limit = min(_whole(said, "max_tokens"), most)
    own = _own_length(incoming)
    cut = own is not None and own < limit
    tokens = limit if own is None else min(own, limit)
    options = tree.get("stream_options")
    return Asked(
        Work(
            number, tuple(prompt), tokens, own is not None or tree.get("ignore_eos") is True,
            _whole(tree.get("priority", 0), "priority", least=-(2**63)),
        ),
        chat,
        tree.get("stream") is True,
        isinstance(options, dict) and options.get("include_usage") is True,
        cut,
    )  # fmt: skip


def _own_length(incoming: Incoming) -> int | None:
    said = incoming.headers.get(LENGTH_HEADER)
    if said is None:
        return None
    if not said.isdigit() or int(said) < 1:
        raise InputError(f"x-engine-tokens is a whole number of at least 1, not {said!r}")
    return int(said)


def _whole(value: object, name: str, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return value


def _chat(tree: dict[str, Any], encode: Callable[[str], list[int]]) -> list[int]:
    """All texts of a conversation, one after the other; random weights know no roles."""
    messages = tree.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InputError("messages must be a list of at least one message")
    texts: list[str] = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        for part in [content] if isinstance(content, str) else content or []:
            text = part.get("text") if isinstance(part, dict) else part
            if not isinstance(text, str):
                raise InputError("this engine reads text only")
            texts.append(text)
    return _some(encode("\n".join(texts)))


def _prompt(prompt: object, encode: Callable[[str], list[int]]) -> list[int]:
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return _some(encode(prompt))
    if isinstance(prompt, list) and all(isinstance(t, int) and 0 <= t < 2**31 for t in prompt):
        return _some(prompt)
    raise InputError("prompt must be one text, or one list of tokens")


def _some(tokens: list[int]) -> list[int]:
    if not tokens:
        raise InputError("the prompt must not be empty")
    return tokens
