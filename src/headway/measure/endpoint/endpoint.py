"""A client of one OpenAI-compatible endpoint that times what it sees.

The only place of the profiler that needs httpx (extra ``http``), imported where it is used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from headway.errors import InputError, MissingExtraError
from headway.http.openai import CHAT, COMPLETIONS, streaming_body
from headway.measure.endpoint.probe import Probe
from headway.measure.endpoint.stream import Answer, failure_of

if TYPE_CHECKING:
    import httpx

MAX_REFUSAL_BYTES = 2000
Seconds = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Address:
    """Where to ask and as whom.

    Attributes:
        url: up to and including the version, such as ``http://localhost:8000/v1``.
        model: as the endpoint spells it.
        api_key: sent as a bearer token; never written anywhere.
        chat: ask ``/chat/completions``, else ``/completions``.
        extra: further fields of every request (``{"ignore_eos": true}`` for vLLM).
        limit_field: how the endpoint calls the limit on the answer.
        timeout_s: without a byte, after which a request is given up.
        longest_s: that a request may take in all.

    """

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    chat: bool = True
    extra: Mapping[str, object] = field(default_factory=dict)
    limit_field: str = "max_tokens"
    timeout_s: float = 60.0
    longest_s: float = 600.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"an endpoint is an http or https address, not {self.url[:80]!r}")
        if not self.model:
            raise InputError("say which model of the endpoint to ask, with --model")

    @property
    def path(self) -> str:
        """Where requests go."""
        return f"{self.url.rstrip('/')}/{'chat/completions' if self.chat else 'completions'}"

    def body(self, prompt: str, max_tokens: int, with_usage: bool) -> dict[str, object]:
        """Return the JSON of one streamed request."""
        fields: dict[str, object] = {"temperature": 0.0, self.limit_field: max_tokens}
        if with_usage:
            fields["stream_options"] = {"include_usage": True}
        api = CHAT if self.chat else COMPLETIONS
        return streaming_body(self.model, prompt, api, fields={**fields, **self.extra})


def parse_extra(text: str | None) -> dict[str, object]:
    """Return further fields of every request from JSON; raise `InputError` for no object."""
    try:
        extra = json.loads(text or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise InputError(
            f'--extra must be a JSON object such as {{"ignore_eos": true}}, not {str(text)[:40]!r}'
        )
    return extra


class Endpoint:
    """An open connection to ``address``; use it as a context manager."""

    def __init__(self, address: Address, clock: Seconds = time.perf_counter) -> None:
        """Prepare a client; nothing is sent yet. Raises `MissingExtraError` without httpx."""
        try:
            import httpx
        except ImportError:
            raise MissingExtraError("asking an endpoint", "http") from None
        self.address, self._clock = address, clock
        self._with_usage = True
        headers = {"Authorization": f"Bearer {address.api_key}"} if address.api_key else {}
        self._client = httpx.Client(headers=headers, timeout=address.timeout_s)

    def ask(self, probe: Probe, prompt: str) -> Probe:
        """Send ``prompt`` within the limits of ``probe``; return it with all that was seen."""
        import httpx

        answer = Answer(probe)
        body = self.address.body(prompt, probe.max_tokens, self._with_usage)
        start = self._clock()
        try:
            with self._client.stream("POST", self.address.path, json=body) as response:
                if failure := failure_of(response.status_code):
                    return self._refusal(probe, failure, response)
                return self._read(answer, response, start)
        except httpx.TimeoutException as error:
            answer.fail("timeout", f"{type(error).__name__} after {self.address.timeout_s:g} s")
        except httpx.HTTPError as error:
            failure = "closed_early" if answer.chunks_s else "down"
            answer.fail(failure, str(error) or type(error).__name__)
        return answer.result(None)

    def ping(self) -> float | None:
        """Seconds of a round trip that asks for no inference, ``None`` where there is no answer.

        Any status will do: the way is the same. The connection is kept open between calls, so that
        the handshake of the first is not counted from the second on.
        """
        import httpx

        start = self._clock()
        try:
            self._client.get(f"{self.address.url.rstrip('/')}/models")
        except httpx.HTTPError:
            return None
        return self._clock() - start

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, answer: Answer, response: httpx.Response, start: float) -> Probe:
        end_s = None
        for content in response.iter_raw():
            at_s = self._clock() - start
            answer.feed(content, at_s)
            if answer.is_over and end_s is None:
                end_s = at_s  # what follows is the end of the transfer; the connection lives on
            if at_s > self.address.longest_s or answer.is_too_long:
                answer.fail("too_long", "the answer did not end")
            if answer.failure:
                break
        return answer.result(self._clock() - start if end_s is None else end_s)

    def _refusal(self, probe: Probe, failure: str, response: httpx.Response) -> Probe:
        body = b""
        for content in response.iter_bytes():
            body += content
            if len(body) > MAX_REFUSAL_BYTES:
                break
        text = " ".join(body.decode("utf-8", "replace").split())

        if response.status_code == 400 and "stream_options" in text and self._with_usage:
            # Old servers refuse the field; the next request goes without it.
            self._with_usage, failure = False, "no_usage_option"
        return replace(
            probe,
            failure=failure,
            message=f"{response.status_code} {text}"[:200],
            retry_after_s=_seconds(response.headers.get("retry-after")),
        )


def _seconds(text: Any) -> float | None:
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds <= 3600 else None
