"""What engines offer beside generating text: passed on as it is, with the same keys and record.

Embeddings, rerank, score, tokenize, messages, audio, images, files, batches, and answers by their
name. Such a request waits for no turn, nothing is predicted of it, and no body is changed.
"""

from __future__ import annotations

import re
from time import monotonic

from headway.errors import InputError
from headway.gateway.config import Tenant
from headway.gateway.scheduler.queued import QueuedRequest
from headway.gateway.scheduler.scheduler import Scheduler
from headway.gateway.server.answer import RETRY_STATUSES, Answer
from headway.gateway.server.headers import HOP_BY_HOP
from headway.http.message import HttpRequest
from headway.http.openai import read_body
from headway.workload.request import Request

API = "other"
_POSTS = re.compile(
    r"/v1/(embeddings|rerank|score|moderations|messages|pooling|classify|batches|files"
    r"|audio/\w+|images/\w+|messages/count_tokens|responses/[\w-]+/cancel|batches/[\w-]+/cancel)"
    r"|/v2/rerank|/(rerank|score|tokenize|detokenize|pooling|classify)"
)
_BY_NAME = re.compile(r"/v1/(responses|files|batches)/[\w-]+(/\w+)?|/v1/(files|batches)")
_FORM_MODEL = re.compile(rb'name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,1000})\r\n')
MAX_NAME = 1000


def methods_of(path: str) -> tuple[str, ...]:
    """Return the methods of ``path`` that are for an engine, and are no requests to generate."""
    posts = ("POST",) if _POSTS.fullmatch(path) else ()
    return (*posts, "GET", "DELETE") if _BY_NAME.fullmatch(path) else posts


def is_passed(request: HttpRequest) -> bool:
    """Return whether ``request`` is for an engine, and is no request to generate."""
    return request.method in methods_of(request.path)


def model_of(http: HttpRequest) -> str:
    """Return the model that the body of ``http``, JSON or a form, names; empty if none."""
    content_type = http.headers.get(b"content-type", b"").lower()
    if content_type.startswith(b"multipart/form-data"):
        match = _FORM_MODEL.search(http.body)
        return match.group(1).decode("utf-8", "replace") if match else ""
    try:
        model = read_body(http.body).get("model")
    except InputError:  # for the engine to judge
        return ""
    return model if isinstance(model, str) and len(model) <= MAX_NAME else ""


def queued_of(scheduler: Scheduler, http: HttpRequest, tenant: Tenant) -> QueuedRequest:
    """Return ``http``, which is passed on, as the scheduler knows it."""
    request = Request(
        id=scheduler.ledger.new_id(),
        arrival_s=monotonic(),
        prompt="",
        prompt_tokens=1,
        max_tokens=1,
        model=model_of(http),
        tenant=tenant.name,
    )
    return QueuedRequest(request, api=API, weight=tenant.weight, generates=False)


class PassedAnswer(Answer):
    """An engine's answer that goes on as it comes, whatever it is.

    One whose status says that another engine may do better is held until its end, and so is one
    that does not know what another engine may have made.
    """

    __slots__ = ()

    def answer_begins(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the head of the engine's answer."""
        self._client.answering()
        self._status = status
        self._headers = [pair for pair in headers if pair[0].lower() not in HOP_BY_HOP]

    def answer_body(self, data: bytes, now_s: float, is_last: bool) -> None:
        """Take bytes of the body."""
        self._client.active_s = now_s
        is_held = self._status in RETRY_STATUSES or self._status == 404
        if is_held and self._length + len(data) <= self._max_bytes:
            self._buffered.append(data)
            self._length += len(data)
            return
        held, self._buffered = b"".join(self._buffered), []
        self._send_on(self._reply.framed(held + data))

    def answer_ends(self) -> None:
        """The engine's answer is complete."""
        self.meter.first_s = self.meter.last_s = monotonic()
        if self._reply.begun:
            self._reply.finish()
        else:
            may_retry = self._status in RETRY_STATUSES or self._status == 404
            if may_retry and self._client.retry():
                return
            self._reply.whole(self._status, self._header_lines(), b"".join(self._buffered))
        self._client.answered(self._status)

    def answer_fails(self, why: str, stale: bool) -> None:
        """The engine's answer will never be complete."""
        self._client.attempt_failed(why, 502, stale)
