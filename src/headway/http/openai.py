"""What a client asks for, read from its request without changing a byte of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from headway.errors import InputError

CHAT, COMPLETIONS, RESPONSES = "chat", "completions", "responses"
PATHS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/responses": RESPONSES,
}
IMAGE_TOKENS = 512  # what engines make of a usual picture; the engine's own count replaces it
MOST_TOKENS = 100_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A generating request.

    Attributes:
        api: chat, completions or responses.
        model: as the client spells it.
        prompt: all text of it.
        images: pictures and sounds in it.
        stream: whether the answer is wanted as a stream.
        max_tokens: the client's limit; ``None`` for none.
        given_tokens: tokens of the prompt, where the client sent tokens; else 0.

    """

    api: str
    model: str
    prompt: str
    images: int
    stream: bool
    max_tokens: int | None
    given_tokens: int = 0

    def prompt_tokens(self, characters_per_token: float) -> int:
        """The prompt's tokens, estimated from its characters."""
        text = int(len(self.prompt) / characters_per_token)
        return max(1, text + self.given_tokens + IMAGE_TOKENS * self.images)


def read_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object that ``body`` is; raise `InputError` if it is none."""
    try:
        tree = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InputError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise InputError("the body is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"the body is not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise InputError("the body must be a JSON object")
    return tree


def read_asked(api: str, body: bytes) -> Asked:
    """Return what ``body`` asks of ``api``; what an engine must judge is left to the engine.

    Raises:
        InputError: the body is no JSON object, or its model is no text.
    """
    tree = read_body(body)
    model = tree.get("model", "")
    if not isinstance(model, str) or len(model) > 1000 or not _whole_unicode(model):
        raise InputError("model must be a string of at most 1000 characters of Unicode")
    found = _Found()
    if api == CHAT:
        for message in _list(tree.get("messages")):
            if isinstance(message, dict):
                found.content(message.get("content"))
    elif api == RESPONSES:
        found.content(tree.get("instructions"))
        asked = tree.get("input")
        if isinstance(asked, str):
            found.texts.append(asked)
        for item in _list(asked):
            if isinstance(item, dict):
                found.content(item.get("content"))
    else:
        found.prompt(tree.get("prompt"))
    if tree.get("tools"):
        found.texts.append(json.dumps(tree["tools"]))
    limit = next(
        (
            value
            for name in ("max_completion_tokens", "max_output_tokens", "max_tokens")
            if isinstance(value := tree.get(name), int)
            and not isinstance(value, bool)
            and 1 <= value <= MOST_TOKENS
        ),
        None,
    )
    return Asked(
        api, model, "\n".join(found.texts), found.images, tree.get("stream") is True, limit,
        found.tokens,
    )  # fmt: skip


class _Found:
    """Collects text, pictures and tokens."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.images = 0
        self.tokens = 0

    def content(self, content: object) -> None:
        if isinstance(content, str):
            self.texts.append(content)
        for part in _list(content):
            if isinstance(part, dict):
                if isinstance(part.get("text"), str):
                    self.texts.append(part["text"])
                elif str(part.get("type", "")).split("_")[-1] in ("url", "image", "audio", "file"):
                    self.images += 1

    def prompt(self, prompt: object) -> None:
        if isinstance(prompt, str):
            self.texts.append(prompt)
        for item in _list(prompt):
            if isinstance(item, str):
                self.texts.append(item)
            elif isinstance(item, int):
                self.tokens += 1
            elif isinstance(item, list):
                self.tokens += len(item)


def _whole_unicode(text: str) -> bool:
    """Whether ``text`` has no half of a surrogate pair, which JSON can spell and nothing store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _no_constant(name: str) -> float:
    raise InputError(f"the body is not JSON: {name} is no JSON number")


def with_priority(body: bytes, priority: int) -> bytes:
    """``body`` with the engine's ``priority`` set; every other byte is kept.

    It goes last: where a client set one too, JSON readers keep the last.
    """
    end = body.rindex(b"}")
    inside = body[:end].rstrip()
    comma = b"" if inside.endswith(b"{") else b","
    return b'%b%b"priority":%d%b' % (inside, comma, priority, body[end:])


def error_body(message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": error}).encode()


def error_event(api: str, message: str, code: str) -> bytes:
    """An error as an event of a stream that has begun, in the shape of its API."""
    error = {"message": message, "type": "server_error", "param": None, "code": code}
    if api != RESPONSES:
        return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    event = {"type": "error", "sequence_number": 0, "error": error}
    event |= {"code": code, "message": message, "param": None}
    return b"event: error\ndata: " + json.dumps(event).encode() + b"\n\n"


def is_error_body(body: bytes) -> bool:
    """Whether an engine's answer already has OpenAI's shape of an error."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(tree, dict)
        and isinstance(tree.get("error"), dict)
        and isinstance(tree["error"].get("message"), str)
    )
