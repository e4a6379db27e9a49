"""What a fake engine says: events, whole answers, and what comes out when it goes wrong."""

from __future__ import annotations

import json
from typing import Any

from headway.gateway.asked import CHAT, RESPONSES, Asked, error_body
from headway.gateway.framing import LAST_CHUNK, as_chunk

FAULTS = (
    "die", "die-in-event", "hang", "hang-midway", "garbage", "garbage-stream", "not-json",
    "close-early", "close-before", "status-429", "status-500", "status-503", "html-500",
    "no-done", "bad-chunk", "huge", "redirect", "split", "wrong-length",
)  # fmt: skip
MIDWAY = frozenset({"die", "die-in-event", "hang-midway", "bad-chunk"})


def _plain(
    status: bytes, body: bytes, kind: bytes = b"application/json", more: bytes = b""
) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status, kind, more, len(body), body,
    )  # fmt: skip


CANNED = {
    "garbage": b"\x00\x01\x02 what is this\r\n\r\n",
    "garbage-stream": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + as_chunk(b"data: {not json\n\n") + LAST_CHUNK,
    "not-json": _plain(b"200 OK", b"<html>hello</html>"),
    "status-429": _plain(
        b"429 Too Many Requests", error_body("slow down", "rate_limit_error", "rate"),
        more=b"Retry-After: 1\r\n",
    ),
    "status-500": _plain(b"500 Internal", error_body("engine trouble", "server_error", None)),
    "status-503": _plain(b"503 Unavailable", error_body("loading", "server_error", None)),
    "html-500": _plain(b"500 Internal", b"<h1>Oops</h1>", b"text/html"),
    "redirect": _plain(b"302 Found", b"", b"text/html", b"Location: http://127.0.0.1:1/\r\n"),
}  # fmt: skip


def last_events(asked: Asked, tokens: int, fault: str) -> bytes:
    """What follows the last token."""
    if asked.api == RESPONSES:
        whole = whole_answer(asked, "", tokens)
        event = {"type": "response.completed", "response": whole, "sequence_number": 99}
        return as_chunk(_named("response.completed", event)) + LAST_CHUNK
    finish = as_chunk(stream_event(asked, {}, "stop"))
    prompt_tokens = asked.prompt_tokens(4.0)
    usage = {"id": "fake", "object": "chat.completion.chunk", "created": 0,
             "model": asked.model, "choices": [],
             "usage": _usage(prompt_tokens, tokens)}  # fmt: skip
    body = finish + as_chunk(b"data: " + json.dumps(usage).encode() + b"\n\n")
    if fault != "no-done":
        body += as_chunk(b"data: [DONE]\n\n")
    return body + LAST_CHUNK


def _usage(prompt_tokens: int, tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": prompt_tokens + tokens,
    }


def _named(name: str, event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(event).encode())


def stream_event(asked: Asked, delta: dict[str, str], finish: str | None) -> bytes:
    """One event of a stream, in the shape of its API."""
    if asked.api == RESPONSES:
        event = {"type": "response.output_text.delta", "delta": delta.get("content", ""),
                 "item_id": "m", "output_index": 0, "content_index": 0,
                 "sequence_number": 1, "logprobs": []}  # fmt: skip
        return _named("response.output_text.delta", event)
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if asked.api == CHAT:
        choice["delta"] = delta
        kind = "chat.completion.chunk"
    else:
        choice["text"] = delta.get("content", "")
        kind = "text_completion"
    event = {"id": "fake", "object": kind, "created": 0, "model": asked.model, "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def whole_answer(asked: Asked, text: str, tokens: int) -> dict[str, Any]:
    """An answer in one, in the shape of its API."""
    prompt_tokens = asked.prompt_tokens(4.0)
    if asked.api == RESPONSES:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        message = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
                   "content": content}  # fmt: skip
        return {
            "id": "fake", "object": "response", "created_at": 0, "model": asked.model,
            "status": "completed", "output": [message], "parallel_tool_calls": True,
            "tool_choice": "auto", "tools": [],
            "usage": {"input_tokens": prompt_tokens, "output_tokens": tokens,
                      "total_tokens": prompt_tokens + tokens,
                      "input_tokens_details": {"cached_tokens": 0},
                      "output_tokens_details": {"reasoning_tokens": 0}},
        }  # fmt: skip
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if asked.api == CHAT:
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    kind = "chat.completion" if asked.api == CHAT else "text_completion"
    return {"id": "fake", "object": kind, "created": 0, "model": asked.model, "choices": [choice],
            "usage": _usage(prompt_tokens, tokens)}  # fmt: skip
