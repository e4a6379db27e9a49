"""What a client asks, read off the path, headers and body of its request, whoever carried them."""

from __future__ import annotations

from time import monotonic

from headway.gateway.config import Tenant
from headway.gateway.scheduler.queued import QueuedRequest
from headway.gateway.scheduler.scheduler import Scheduler
from headway.gateway.server.headers import expected_tokens, objectives
from headway.http.openai import PATHS, GenerationRequest, read_body, request_of
from headway.predict.text import request_text
from headway.workload.request import Request


def read_queued(
    scheduler: Scheduler, *, path: str, headers: dict[bytes, bytes], body: bytes, tenant: Tenant
) -> tuple[QueuedRequest, GenerationRequest]:
    """Return the request of ``tenant`` as the scheduler and as the engine know it.

    Raises:
        InputError: it is no generating request, or its objectives make no sense.

    """
    tree = read_body(body)
    generation = request_of(PATHS[path], tree)
    class_name = headers.get(b"x-headway-class", b"").decode("latin-1")
    service_class = scheduler.config.service_class(class_name)

    request = Request(
        id=scheduler.ledger.new_id(),
        arrival_s=monotonic(),
        prompt=request_text(tree),  # with its roles, as predictors have learned it
        prompt_tokens=generation.prompt_tokens(scheduler.characters_per_token),
        max_tokens=generation.max_tokens,
        model=generation.model,
        tenant=tenant.name,
        slo=objectives(headers, service_class),
    )

    is_text = not generation.images and not generation.token_ids
    queued = QueuedRequest(
        request,
        api=generation.api,
        stream=generation.stream,
        client_id=headers.get(b"x-request-id", b"")[:200].decode("latin-1"),
        text_characters=len(generation.prompt) if is_text else 0,
        weight=tenant.weight,
        service_class=service_class,
        hint_tokens=expected_tokens(headers),
        session=headers.get(b"x-headway-session", b"")[:200].decode("latin-1"),
    )
    return queued, generation
