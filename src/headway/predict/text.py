"""The part of a prompt that is read: bounded, however long or broken the prompt is.

A chat is flattened to one text with a role at the head of each turn, so that a `Request`
holds it. Of a chat the last user turn and the beginning of the system prompt are read, and
the other turns are only counted; of a long text its head and its tail, because instructions
stand at either end and the material in between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HEAD_CHARS = 3000
TAIL_CHARS = 1000
SYSTEM_CHARS = 600
SCANNED_CHARS = 200_000  # turn markers are sought in no more than this much at either end

_TURN = re.compile(
    r"^[ \t]*(?:<\|im_start\|>|<\|start_header_id\|>|<\|)?"
    r"(system|developer|user|human|assistant|ai|tool)"
    r"(?:\|>|<\|end_header_id\|>|[ \t]*:)",
    re.IGNORECASE | re.MULTILINE,
)
_ASKING = frozenset({"user", "human"})
_SYSTEM = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class Considered:
    """What is read of one prompt, and how much there was.

    Attributes:
        text: at most about 4,600 characters.
        prompt_chars: length of the whole prompt.
        turns: number of chat turns, 0 where the prompt is plain text.
        system_chars: length of the system turns.
        earlier_chars: length of what precedes the last user turn, system turns included.
        answer_chars: mean length of the assistant's earlier turns, 0 without any.
        tool_turns: number of turns that a tool wrote.
    """

    text: str
    prompt_chars: int
    turns: int = 0
    system_chars: int = 0
    earlier_chars: int = 0
    answer_chars: float = 0.0
    tool_turns: int = 0


def considered(prompt: str) -> Considered:
    """Return what is read of ``prompt``; time and memory are bounded for any text."""
    if len(prompt) > 2 * SCANNED_CHARS:
        scanned = prompt[:SCANNED_CHARS] + prompt[-SCANNED_CHARS:]
    else:
        scanned = prompt

    # The cheap test first: most prompts are no chats, and the pattern costs more than all else.
    marks = list(_TURN.finditer(scanned)) if ":" in scanned or "<|" in scanned else []
    roles = [mark.group(1).lower() for mark in marks]
    asking = [i for i, role in enumerate(roles) if role in _ASKING]
    if len(marks) < 2 or not asking or marks[0].start() > 200:
        return Considered(_head_and_tail(prompt), len(prompt))

    # What each turn says.
    ends = [mark.start() for mark in marks[1:]] + [len(scanned)]
    bodies = [scanned[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]

    last = asking[-1]
    system = "\n".join(b for b, role in zip(bodies, roles, strict=True) if role in _SYSTEM)
    answers = [
        len(b) for b, role in zip(bodies[:last], roles, strict=False) if role in ("assistant", "ai")
    ]
    text = _head_and_tail(bodies[last].strip())
    if system:
        text = f"{text}\n\n{system.strip()[:SYSTEM_CHARS]}"

    return Considered(
        text=text,
        prompt_chars=len(prompt),
        turns=len(marks),
        system_chars=len(system),
        earlier_chars=marks[last].start(),
        answer_chars=sum(answers) / len(answers) if answers else 0.0,
        tool_turns=roles.count("tool"),
    )


def request_text(body: Mapping[str, object]) -> str:
    """Return the text of a request's prompt, the same for a line of a log and a live request.

    ``body`` has one of OpenAI's three shapes: a ``prompt``; ``messages``; or ``instructions`` and
    an ``input``. Tools that the model may call are one more system turn of a chat. Tokens in place
    of text, pictures and sounds are left out.
    """
    if isinstance(body.get("prompt"), str | list):
        return _content_text(body["prompt"])

    messages = _mappings(body.get("messages"))
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    if isinstance(body.get("input"), str):
        messages.append({"role": "user", "content": body["input"]})
    messages += _mappings(body.get("input"))

    # Behind the caller's own instructions, of which only the beginning is read.
    if body.get("tools"):
        messages.append({"role": "system", "content": json.dumps({"tools": body["tools"]})})
    return chat_text(messages)


def chat_text(messages: Sequence[Mapping[str, object]]) -> str:
    """Return one text for a chat: each turn as ``role: text``, parts that are no text left out.

    A single user message is its own text. The layout is Headway's own: only `considered` reads it.
    """
    turns = [
        (
            str(message.get("role") or ("tool" if "output" in message else "user")),
            _content_text(message.get("content", message.get("output"))),
        )
        for message in messages
    ]
    if len(turns) == 1 and turns[0][0] == "user":
        return turns[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in turns)


def _content_text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))


def _mappings(value: object) -> list[Mapping[str, object]]:
    return (
        [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
    )


def _head_and_tail(text: str) -> str:
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"
