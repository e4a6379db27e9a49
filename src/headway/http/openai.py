"""OpenAI's shapes, read and written: requests for text, events of a stream, answers, errors.

Requests and answers are read without changing a byte of them; what is missing is ``None`` and what
is wrong is said in a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from headway.errors import InputError
from headway.http.bounds import BOUNDS
from headway.http.events import as_event
from headway.http.message import BrokenAnswerError

CHAT, COMPLETIONS, RESPONSES = "chat", "completions", "responses"
PATHS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/responses": RESPONSES,
}
IMAGE_TOKENS = 512  # what engines make of a usual picture; the engine's own count replaces it
MAX_TOKENS = 100_000_000
CHARACTERS_PER_TOKEN = 4.0
END_MARK = b"[DONE]"
_FIELD = re.compile(rb'(?<!\\)"\s*:')  # within a text its quote would be escaped


# Requests


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request for generated text.

    Attributes:
        api: chat, completions or responses.
        model: as the client spells it.
        prompt: all text of it.
        images: pictures and sounds in it.
        stream: whether the answer is wanted as a stream.
        max_tokens: the client's limit; ``None`` for none.
        token_ids: tokens of the prompt, where the client sent tokens; else 0.

    """

    api: str
    model: str
    prompt: str
    images: int
    stream: bool
    max_tokens: int | None
    token_ids: int = 0

    def prompt_tokens(self, characters_per_token: float = CHARACTERS_PER_TOKEN) -> int:
        """Return the prompt's tokens, estimated from its characters."""
        text = int(len(self.prompt) / characters_per_token)
        return max(1, text + self.token_ids + IMAGE_TOKENS * self.images)


def read_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object that ``body`` is; raise `InputError` if it is none."""
    # Fields and items cost most of the time that a long body takes to read, text next to nothing;
    # a text with so many commas is longer than engines can read.
    if body.count(b",") > BOUNDS.num_commas:
        raise InputError(f"the body has more than {BOUNDS.num_commas:,} commas")
    if body.count(b":") > BOUNDS.num_fields:
        num_fields = sum(1 for _ in islice(_FIELD.finditer(body), BOUNDS.num_fields + 1))
        if num_fields > BOUNDS.num_fields:
            raise InputError(f"the body has more than {BOUNDS.num_fields:,} fields")
    try:
        tree = _STRICT.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise InputError("the body is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"the body is not JSON: {error}") from None

    if not isinstance(tree, dict):
        raise InputError("the body must be a JSON object")
    return tree


def read_request(api: str, body: bytes) -> GenerationRequest:
    """Return what ``body`` asks of ``api``; what an engine must judge is left to the engine.

    Raises:
        InputError: the body is no JSON object, or its model is no text.

    """
    return request_of(api, read_body(body))


def request_of(api: str, tree: Mapping[str, Any]) -> GenerationRequest:
    """Return what the JSON object ``tree`` asks of ``api``.

    Raises:
        InputError: its model is no text.

    """
    model = tree.get("model", "")
    if not isinstance(model, str) or len(model) > 1000 or not _is_unicode(model):
        raise InputError("model must be a string of at most 1000 characters of Unicode")

    # The prompt is where each API has it.
    prompt = _Prompt()
    if api == CHAT:
        for message in _list(tree.get("messages")):
            if isinstance(message, dict):
                prompt.add_content(message.get("content"))
    elif api == RESPONSES:
        prompt.add_content(tree.get("instructions"))
        items = tree.get("input")
        if isinstance(items, str):
            prompt.texts.append(items)
        for item in _list(items):
            if isinstance(item, dict):
                prompt.add_content(item.get("content"))
    else:
        prompt.add_plain(tree.get("prompt"))
    if tree.get("tools"):
        prompt.texts.append(json.dumps(tree["tools"]))

    return GenerationRequest(
        api=api,
        model=model,
        prompt="\n".join(prompt.texts),
        images=prompt.images,
        stream=tree.get("stream") is True,
        max_tokens=_limit(tree),
        token_ids=prompt.token_ids,
    )


class _Prompt:
    """Collects text, pictures and tokens."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.images = 0
        self.token_ids = 0

    def add_content(self, content: object) -> None:
        if isinstance(content, str):
            self.texts.append(content)
        for part in _list(content):
            if isinstance(part, dict):
                if isinstance(part.get("text"), str):
                    self.texts.append(part["text"])
                elif str(part.get("type", "")).split("_")[-1] in ("url", "image", "audio", "file"):
                    self.images += 1

    def add_plain(self, prompt: object) -> None:
        if isinstance(prompt, str):
            self.texts.append(prompt)
        items = _list(prompt)
        self.texts += [item for item in items if isinstance(item, str)]
        self.token_ids += sum([isinstance(item, int) for item in items])
        self.token_ids += sum([len(item) for item in items if isinstance(item, list)])


def _limit(tree: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        value = tree.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_TOKENS:
            return value
    return None


def _is_unicode(text: str) -> bool:
    """Whether ``text`` has no half of a surrogate pair, which JSON can spell and nothing store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _refuse_constant(name: str) -> float:
    raise InputError(f"the body is not JSON: {name} is no JSON number")


# One for all bodies: `json.loads` makes a decoder anew for each where constants are refused.
_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)


def with_model(body: bytes, model: str) -> bytes:
    """Return ``body``, a JSON object, with another ``model``; what is none stays as it is."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(tree, dict):
        return body
    return json.dumps({**tree, "model": model}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def with_priority(body: bytes, priority: int) -> bytes:
    """Return ``body`` with the engine's ``priority`` set; every other byte is kept.

    It goes last: where a client set one too, JSON readers keep the last.
    """
    return _with_last(body, "priority", b"%d" % priority)


def with_arguments(body: bytes, name: str, own: Mapping[str, str | float], prefix: str) -> bytes:
    """Return ``body`` with ``own`` among the engine's extra arguments; every other byte is kept.

    Args:
        body: a JSON object.
        name: of the field that holds extra arguments.
        own: what is added; it goes last, as a priority does.
        prefix: of names that are ours: a client's arguments with such a name do not go on, its
            other ones do.

    """
    theirs = (json.loads(body).get(name) or {}) if f'"{name}"'.encode() in body else {}
    if not isinstance(theirs, dict):
        return body  # the engine tells what is wrong with it

    arguments = {key: value for key, value in theirs.items() if not key.startswith(prefix)}
    arguments.update(own)
    if arguments == theirs:
        return body
    return _with_last(body, name, json.dumps(arguments, separators=(",", ":")).encode())


def _with_last(body: bytes, name: str, value: bytes) -> bytes:
    """Return ``body``, a JSON object, with one more field at its end."""
    end = body.rindex(b"}")
    inside = body[:end].rstrip()
    comma = b"" if inside.endswith(b"{") else b","
    return b'%b%b"%b":%b%b' % (inside, comma, name.encode(), value, body[end:])


def streaming_body(
    model: str, prompt: str, api: str = CHAT, *, fields: Mapping[str, object]
) -> dict[str, object]:
    """Return a request that streams its answer to ``prompt``; ``fields`` are set as they are."""
    body: dict[str, object] = {"model": model}
    if api == CHAT:
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        body["prompt"] = prompt
    return {**body, "stream": True, **fields}


# Answers


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as an engine counts them; ``None`` where it does not say.

    ``output_tokens`` includes ``reasoning_tokens``, which may never be shown.
    """

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class AnswerEvent(NamedTuple):
    """What one event of a stream says, or an answer in one.

    Attributes:
        has_token: whether it holds generated content of any kind.
        is_shown: whether that content is the answer, and not the way to it.
        finish: why the answer ended ("stop", "length", "completed"); ``None`` while it goes on.
        usage: the engine's count; ``None`` where it has none.
        error: the engine's error as JSON; empty for none.
        is_answer: whether it has any of the fields of an answer.

    """

    has_token: bool = False
    is_shown: bool = False
    finish: str | None = None
    usage: Usage | None = None
    error: str = ""
    is_answer: bool = True


_CONTENT = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call")
_RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed")


def read_event(payload: bytes) -> AnswerEvent:
    """Return what the data of an event says, in any of the three APIs; not of ``[DONE]``.

    Raises:
        BrokenAnswerError: it is no JSON object.

    """
    try:
        tree = json.loads(payload.decode("utf-8", "surrogatepass"))  # of bytes it is half as fast
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise BrokenAnswerError(f"the stream holds something that is not JSON: {payload[:60]!r}")

    error = json.dumps(tree["error"]) if tree.get("error") else ""
    usage = _usage_of(tree)
    kind = tree.get("type")
    if isinstance(kind, str) and "choices" not in tree:
        has_token = kind.endswith(".delta")
        ends = kind in _RESPONSE_ENDS
        finish = kind.removeprefix("response.") if ends or kind == "error" else None
        return AnswerEvent(has_token, has_token, finish, usage, error)

    # Chat and completions: choices with a delta, a text, or, in one piece, a message.
    has_token = is_shown = False
    finish = None
    for choice in _list(tree.get("choices")):
        if not isinstance(choice, dict):
            continue
        delta = choice.get("delta")
        parts = delta if isinstance(delta, dict) else {}
        shows = bool(choice.get("text") or choice.get("message") or parts.get("content"))
        is_shown |= shows
        has_token |= shows or any(parts.get(name) for name in _CONTENT)
        if choice.get("finish_reason"):
            finish = str(choice["finish_reason"])[:40]
    is_answer = "choices" in tree or usage is not None
    return AnswerEvent(has_token, is_shown, finish, usage, error=error, is_answer=is_answer)


_KIND = re.compile(rb'"type"\s*:\s*"(response\.[a-z_.]{1,60}|error)"')
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"([^"]{1,40})"')
_USAGE = re.compile(rb'"usage"\s*:\s*(?={)')
_ERROR = re.compile(rb'^\s*(?:data:\s*)?{\s*"error"\s*:\s*{')
_NO_CHOICE = re.compile(rb'"choices"\s*:\s*\[\s*\]')


def read_excerpt(head: bytes, tail: bytes, *, has_mark: bool) -> AnswerEvent:
    """Return what an event says of which only the two ends are kept, as far as those tell.

    ``head`` and ``tail`` overlap where it is short; ``has_mark`` tells whether it has what marks an
    event with content.
    """
    usage = None
    for match in _USAGE.finditer(tail):  # the last one is the whole answer's
        try:
            tree, _ = json.JSONDecoder().raw_decode(tail[match.end() :].decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            continue
        usage = read_usage(tree) if isinstance(tree, dict) else usage

    kind = _KIND.search(head)
    name = kind[1].decode() if kind is not None else ""
    reason = _FINISH.search(tail) or _FINISH.search(head)
    if name:
        finish = name.removeprefix("response.") if name in (*_RESPONSE_ENDS, "error") else None
    else:
        finish = reason[1].decode("utf-8", "replace") if reason is not None else None

    has_token = has_mark and not _NO_CHOICE.search(head + tail)
    error = "a long error" if _ERROR.search(head) or name == "error" else ""
    return AnswerEvent(has_token, has_token, finish, usage, error)


def _usage_of(tree: Mapping[str, Any]) -> Usage | None:
    usage = tree.get("usage")
    if usage is None and isinstance(tree.get("response"), dict):
        usage = tree["response"].get("usage")
    return read_usage(usage) if isinstance(usage, dict) else None


def read_usage(usage: Mapping[str, object]) -> Usage:
    """Return token counts, also under the names that single vendors use."""
    prompt = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    output = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    prompt_details = prompt if isinstance(prompt, dict) else {}
    output_details = output if isinstance(output, dict) else {}
    cached = prompt_details.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        output_tokens=_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        cached_tokens=_count(cached),
        reasoning_tokens=_count(output_details.get("reasoning_tokens")),
    )


def _count(value: object) -> int | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and isinstance(value, int) and 0 <= value < 10**9 else None


@dataclass(frozen=True, slots=True)
class AnswerWriter:
    """Writes an answer in the shape of its API.

    Attributes:
        api: chat, completions or responses.
        model: the name of who answers.
        id: the answer's own.
        created_unix: when it began, in whole seconds since 1970.

    """

    api: str
    model: str
    id: str
    created_unix: int = 0

    def delta(self, text: str, *, opens: bool = False) -> bytes:
        """Return an event with ``text``; one that ``opens`` a chat says who speaks."""
        if self.api == RESPONSES:
            name = "response.output_text.delta"
            event = {"type": name, "delta": text, "item_id": "m", "output_index": 0,
                     "content_index": 0, "sequence_number": 1, "logprobs": []}  # fmt: skip
            return as_event(json.dumps(event).encode(), name.encode())
        role = {"role": "assistant"} if opens else {}
        return self._event([self._choice({**role, "content": text}, text, None)])

    def end(self, reason: str, usage: Usage | None = None, *, says_done: bool = True) -> bytes:
        """Return the events that end a stream: why, what it took if that is given, and the end."""
        if self.api == RESPONSES:
            name = "response.completed"
            response = self.whole("", reason, usage or Usage())
            event = {"type": name, "response": response, "sequence_number": 99}
            return as_event(json.dumps(event).encode(), name.encode())

        events = self._event([self._choice({}, "", reason)])
        if usage is not None:
            events += self._event([], {"usage": _usage_tree(usage)})
        return events + as_event(END_MARK) if says_done else events

    def whole(self, text: str, reason: str, usage: Usage) -> dict[str, Any]:
        """Return an answer in one."""
        if self.api == RESPONSES:
            content = [{"type": "output_text", "text": text, "annotations": []}]
            message = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
                       "content": content}  # fmt: skip
            return {
                "id": self.id, "object": "response", "created_at": self.created_unix,
                "model": self.model, "status": "completed", "output": [message],
                "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
                "usage": _responses_usage_tree(usage),
            }  # fmt: skip
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
        if self.api == CHAT:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        kind = "chat.completion" if self.api == CHAT else "text_completion"
        return self._tree(kind, [choice]) | {"usage": _usage_tree(usage)}

    def _choice(self, delta: dict[str, str], text: str, reason: str | None) -> dict[str, Any]:
        content = {"delta": delta} if self.api == CHAT else {"text": text}
        return {"index": 0, "finish_reason": reason, **content}

    def _event(
        self, choices: list[dict[str, Any]], fields: Mapping[str, object] | None = None
    ) -> bytes:
        kind = "chat.completion.chunk" if self.api == CHAT else "text_completion"
        return as_event(json.dumps({**self._tree(kind, choices), **(fields or {})}).encode())

    def _tree(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created_unix, "model": self.model,
                "choices": choices}  # fmt: skip


def _usage_tree(usage: Usage) -> dict[str, object]:
    prompt, output = usage.prompt_tokens or 0, usage.output_tokens or 0
    tree: dict[str, object] = {
        "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
    }  # fmt: skip
    if usage.cached_tokens:
        tree["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        tree["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return tree


def _responses_usage_tree(usage: Usage) -> dict[str, object]:
    prompt, output = usage.prompt_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": prompt, "output_tokens": output, "total_tokens": prompt + output,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0},
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }  # fmt: skip


def models_body(names: Mapping[str, Mapping[str, object]]) -> bytes:
    """Return the answer of ``/v1/models``: models by name, with further fields of each."""
    entries = [
        {"id": name, "object": "model", "created": 0, "owned_by": "headway", **fields}
        for name, fields in names.items()
    ]
    return json.dumps({"object": "list", "data": entries}).encode()


# Errors


def error_body(message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    """Return an error in OpenAI's shape."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": error}).encode()


def error_event(api: str, message: str, code: str) -> bytes:
    """Return an error as an event of a stream that has begun, in the shape of its API."""
    error = {"message": message, "type": "server_error", "param": None, "code": code}
    if api != RESPONSES:
        return as_event(json.dumps({"error": error}).encode())
    event = {"type": "error", "sequence_number": 0, "error": error, "code": code,
             "message": message, "param": None}  # fmt: skip
    return as_event(json.dumps(event).encode(), b"error")


def is_error_body(body: bytes) -> bool:
    """Whether an engine's answer already has OpenAI's shape of an error."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return False
    error = tree.get("error") if isinstance(tree, dict) else None
    return isinstance(error, dict) and isinstance(error.get("message"), str)
