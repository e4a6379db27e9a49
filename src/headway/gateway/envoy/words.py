"""What Envoy is told to change: headers and body towards the engine, own headers for the client."""

from __future__ import annotations

from time import monotonic

from headway.gateway.envoy.messages import ENDPOINT, ID, Changes, Names
from headway.gateway.pools import Endpoint
from headway.gateway.scheduler.queued import QueuedRequest
from headway.http.openai import with_model, with_priority


def engine_changes(
    headers: dict[bytes, bytes], endpoint: Endpoint, *, addresses: str, has_keys: bool
) -> Changes:
    """Return what an engine must not see of a request's ``headers``, and what it must.

    Args:
        headers: as the client sent them.
        endpoint: the engine.
        addresses: of the engine and its spares, for a header; empty for none.
        has_keys: whether clients' keys are the gateway's.

    """
    set_headers: list[tuple[str, str]] = []
    remove = [name.decode() for name in headers if name.startswith(b"x-headway-")]
    if addresses:
        set_headers.append((ENDPOINT, addresses))

    # Keys are those of the gateway, or of the engine.
    if endpoint.api_key:
        set_headers.append(("authorization", f"Bearer {endpoint.api_key}"))
    elif has_keys and b"authorization" in headers:
        remove.append("authorization")
    if endpoint.prefix != "/v1":
        path = headers[b":path"].decode("latin-1")
        set_headers.append((":path", endpoint.prefix + path.removeprefix("/v1")))
    return Changes(tuple(set_headers), tuple(remove))


def engine_body(queued: QueuedRequest, body: bytes) -> bytes | None:
    """Return the body that the engine is sent in place of the client's; ``None`` for that."""
    if not queued.is_renamed and queued.priority is None:
        return None
    if queued.is_renamed:
        body = with_model(body, queued.request.model)
    return body if queued.priority is None else with_priority(body, queued.priority)


def own_words(queued: QueuedRequest) -> Names:
    """Return what the gateway says about the request, as headers."""
    until_s = monotonic() if queued.sent_s is None else queued.sent_s
    words = [
        (ID, queued.request.id),
        ("x-headway-queue-ms", f"{1e3 * (until_s - queued.arrival_s):.3f}"),
        ("x-headway-pool", queued.pool or "-"),
    ]
    if queued.pool != queued.home:
        words.append(("x-headway-offloaded-from", queued.home))
    if queued.p50_tokens is not None and queued.p90_tokens is not None:
        predicted = f"p50={queued.p50_tokens:.0f}, p90={queued.p90_tokens:.0f}"
        words.append(("x-headway-predicted-tokens", predicted))
    for line in queued.limit_lines.decode().splitlines():
        name, _, value = line.partition(": ")
        words.append((name, value))
    return tuple(words)
