"""What a request asks of an engine with random weights, and what such an engine cannot do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headway.engines.batch import Work
from headway.errors import InputError
from headway.http.message import HttpRequest
from headway.http.openai import CHAT, PATHS, read_body, read_request

DEFAULT_TOKENS = 128  # of an answer, where nobody says
# Who plays the world says by this header how long the answer will be. A gateway passes it on
# without reading it, so that what schedules never knows.
LENGTH_HEADER = b"x-engine-tokens"
_REFUSED = ("stop", "logprobs", "top_logprobs", "best_of", "suffix", "echo", "tools", "logit_bias",
            "response_format")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """One request.

    Attributes:
        work: for the pipeline.
        api: chat or completions.
        stream: whether the answer is wanted as a stream.
        with_usage: whether the stream ends with the counts of tokens.
        stops: whether the answer's own end lies before ``max_tokens``: then it "stops".

    """

    work: Work
    api: str
    stream: bool
    with_usage: bool
    stops: bool


def read_engine_request(
    request: HttpRequest, number: int, encode: Callable[[str], list[int]], context_tokens: int
) -> EngineRequest:
    """Return what ``request`` asks.

    Args:
        request: as it came.
        number: the request's own.
        encode: gives the tokens of a text.
        context_tokens: tokens that prompt and answer may have together.

    Raises:
        InputError: it is no JSON object, or asks for what this engine cannot do.

    """
    api = PATHS[request.path]
    tree = read_body(request.body)
    for name in _REFUSED:
        if tree.get(name):
            raise InputError(f"this engine has random weights and no {name!r}; leave it out")
    if tree.get("n", 1) != 1:
        raise InputError(f"this engine gives 1 answer, not {tree['n']!r}")

    # The prompt leaves so many tokens for the answer.
    prompt = _prompt_tokens(api, tree, request.body, encode)
    room = context_tokens - len(prompt)
    if room < 1:
        raise InputError(
            f"the prompt has {len(prompt)} tokens, and prompt and answer together have at most "
            f"{context_tokens}"
        )

    # The answer ends at the client's limit, or before it where its own length is known.
    limit = tree.get("max_completion_tokens") or tree.get("max_tokens") or DEFAULT_TOKENS
    max_tokens = min(_whole(limit, "max_tokens"), room)
    length = _length(request.headers)
    work = Work(
        number,
        tuple(prompt),
        max_tokens if length is None else min(length, max_tokens),
        ignore_eos=length is not None or tree.get("ignore_eos") is True,
        priority=_whole(tree.get("priority", 0), "priority", minimum=-(2**63)),
    )
    options = tree.get("stream_options")
    return EngineRequest(
        work=work,
        api=api,
        stream=tree.get("stream") is True,
        with_usage=isinstance(options, dict) and options.get("include_usage") is True,
        stops=length is not None and length < max_tokens,
    )


def _length(headers: Mapping[bytes, bytes]) -> int | None:
    text = headers.get(LENGTH_HEADER)
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"x-engine-tokens is a whole number of at least 1, not {text!r}")
    return int(text)


def _whole(value: object, name: str, minimum: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value < 2**63:
        raise InputError(f"{name} must be a whole number of at least {minimum}, not {value!r}")
    return value


def _prompt_tokens(
    api: str, tree: Mapping[str, object], body: bytes, encode: Callable[[str], list[int]]
) -> list[int]:
    """Return the tokens of a prompt; random weights know no roles of a conversation."""
    prompt = tree.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]

    if api == CHAT:
        if not isinstance(tree.get("messages"), list) or not tree["messages"]:
            raise InputError("messages must be a list of at least one message")
        generation = read_request(api, body)
        if generation.images:
            raise InputError("this engine reads text only")
        tokens = encode(generation.prompt)
    elif isinstance(prompt, str):
        tokens = encode(prompt)
    elif isinstance(prompt, list) and all(isinstance(t, int) and 0 <= t < 2**31 for t in prompt):
        tokens = prompt
    else:
        raise InputError("prompt must be one text, or one list of tokens")

    if not tokens:
        raise InputError("the prompt must not be empty")
    return tokens
