"""What can be asked of the gateway itself: models, queue, metrics, health, the live page."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from time import monotonic
from typing import TYPE_CHECKING

from headway.gateway.config import is_loopback
from headway.gateway.keys import NOBODY
from headway.gateway.slo import NONE
from headway.gateway.telemetry import label
from headway.http.message import HttpRequest
from headway.http.openai import error_body
from headway.http.server import ServerConnection
from headway.record.entry import Entry
from headway.workload.record import DONE
from headway.workload.request import Slo

if TYPE_CHECKING:  # the gateway imports this module
    from headway.gateway.app import Gateway

JSON = b"Content-Type: application/json\r\n"
TEXT = b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
HTML = (
    b"Content-Type: text/html; charset=utf-8\r\n"
    b"Content-Security-Policy: default-src 'self' 'unsafe-inline'; img-src data:; "
    b"frame-ancestors 'none'\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
)
MOST_LISTED = 1000


def answer_view(gateway: Gateway, connection: ServerConnection, incoming: HttpRequest) -> None:
    """Answer a request that no engine is needed for."""
    status, headers, body = _view(gateway, incoming)
    connection.answer(
        status, headers, body, incoming.keep_alive, head_only=incoming.method == "HEAD"
    )


def _view(gateway: Gateway, incoming: HttpRequest) -> tuple[int, bytes, bytes]:
    path = incoming.path
    if path.startswith("/admin/"):
        return _admin(gateway, incoming)
    known = {"/v1/models", "/v1/queue", "/metrics", "/health", "/", "/state", "/openapi.json"}
    if path not in known and not path.startswith("/v1/models/"):
        return 404, JSON, _error(f"there is nothing at {path[:200]}", "not_found")
    if incoming.method not in ("GET", "HEAD"):
        return 405, JSON + b"Allow: GET, HEAD\r\n", _error(f"{path[:200]} takes GET", None)
    if path == "/health":
        up = any(backend.up(monotonic()) for backend in gateway.backends.values())
        word = "draining" if gateway.draining else "up" if up else "no backend is up"
        return 200 if word == "up" else 503, JSON, json.dumps({"status": word}).encode()
    if path == "/openapi.json":
        return 200, JSON, _openapi(gateway)
    keeper = gateway.doorkeeper
    admin = keeper.is_admin(incoming.headers)
    if path in ("/", "/state", "/metrics"):
        if not (admin or is_loopback(gateway.config.host)):
            why = f"{path} needs the admin token where the gateway listens publicly"
            return 401, JSON, _error(why, "invalid_api_key")
        if path == "/":
            return 200, HTML, _file("live.html")
        if path == "/state":
            return 200, JSON, json.dumps(state(gateway)).encode()
        return 200, TEXT, gateway.ledger.telemetry.text(gauges(gateway))
    tenant = keeper.tenant(incoming.headers)
    if tenant is None and not admin:
        return 401, JSON, _error("this gateway needs an API key", "invalid_api_key")
    if path == "/v1/queue":
        whose = None if admin or tenant is NOBODY or tenant is None else tenant.name
        return 200, JSON, json.dumps(queue(gateway, whose, incoming.query)).encode()
    return _models(gateway, path)


def _admin(gateway: Gateway, incoming: HttpRequest) -> tuple[int, bytes, bytes]:
    if not gateway.doorkeeper.is_admin(incoming.headers):
        # As if it were not there: without a token configured, it is not.
        return 404, JSON, _error(f"there is nothing at {incoming.path[:200]}", "not_found")
    if incoming.path == "/admin/reload" and incoming.method == "POST":
        problem = gateway.on_reload() if gateway.on_reload is not None else "started without a file"
        if problem:
            return 400, JSON, _error(f"kept the old configuration: {problem}", "bad_configuration")
        return 200, JSON, b'{"reloaded": true}'
    return 404, JSON, _error(f"there is nothing at {incoming.path[:200]}", "not_found")


def _models(gateway: Gateway, path: str) -> tuple[int, bytes, bytes]:
    found: dict[str, dict[str, object]] = {}
    for backend in gateway.backends.values():
        for entry in backend.models:
            found.setdefault(str(entry["id"]), entry)
    wanted = path.removeprefix("/v1/models").lstrip("/")
    if not wanted:
        tree = {"object": "list", "data": list(found.values())}
        return 200, JSON, json.dumps(tree).encode()
    if wanted in found:
        return 200, JSON, json.dumps(found[wanted]).encode()
    return 404, JSON, _error(f"no backend serves the model {wanted[:200]!r}", "model_not_found")


def queue(gateway: Gateway, whose: str | None, query: str) -> dict[str, object]:
    """Who waits, in the order in which they would start now; only ``whose`` requests, if said."""
    wanted = dict(part.split("=", 1) for part in query.split("&") if "=" in part).get("id")
    rows: list[dict[str, object]] = []
    now_s = monotonic()
    for pool, waiting in gateway.waiting.items():
        ordered = sorted(waiting, key=lambda t: (t.key + t.slope * now_s, t.arrival_s, t.number))
        interval_s = gateway.dispatcher.start_interval_s.get(pool)
        for place, exchange in enumerate(ordered):
            ids = (exchange.request.id, exchange.request_id)
            if (whose is not None and exchange.tenant != whose) or (wanted and wanted not in ids):
                continue
            if len(rows) >= MOST_LISTED:
                break
            rows.append({
                "id": ids[0],
                "request_id": ids[1],
                "pool": pool,
                "position": place,
                "waited_s": now_s - exchange.arrival_s,
                "expected_start_in_s": None if interval_s is None else interval_s * (place + 1),
                "predicted_tokens_p50": exchange.p50_tokens,
                "predicted_tokens_p90": exchange.p90_tokens,
            })  # fmt: skip
    count = sum(map(len, gateway.waiting.values()))
    return {
        "object": "list",
        "waiting": count,
        "running": len(gateway.dispatcher.running),
        "data": rows,
    }


def gauges(gateway: Gateway) -> Iterable[tuple[str, str, float]]:
    """What is so now, as (name, labels, value)."""
    yield "num_requests_running", "", len(gateway.dispatcher.running)
    for pool, waiting in gateway.waiting.items():
        yield "num_requests_waiting", f'pool="{label(pool)}"', len(waiting)
    backends = [(f'backend="{label(url)}"', b) for url, b in gateway.backends.items()]
    for labels, backend in backends:
        yield "backend_up", labels, float(backend.up(monotonic()))
    for labels, backend in backends:
        yield "backend_inflight", labels, backend.inflight
    for labels, backend in backends:
        yield "backend_limit", labels, backend.speed.limit
    for labels, backend in backends:
        yield "backend_failures", labels, backend.failed
    if gateway.dispatcher.overflow.rule is not None:
        yield "num_requests_offloaded", "", gateway.dispatcher.overflow.moved
    for name in gateway.config.pools:
        price = gateway.config.pool(name).usd_per_hour
        if price is not None:
            yield "pool_usd_per_hour", f'pool="{label(name)}"', price
    yield "connections", "", len(gateway.reception.connections)
    if gateway.store is not None:
        yield "records_unwritten", "", gateway.store.unwritten
        yield "records_dropped", "", gateway.store.dropped


def state(gateway: Gateway) -> dict[str, object]:
    """What the live page shows."""
    names = {slo: name for name, slo in gateway.config.classes}
    predicted = [e for e in gateway.ledger.recent if e.status == DONE and e.p90_tokens is not None]
    covered = sum(e.output_tokens <= (e.p90_tokens or 0.0) for e in predicted)
    overflow = gateway.dispatcher.overflow
    return {
        "policy": gateway.config.policy.name,
        "mode": gateway.config.mode,
        "running": len(gateway.dispatcher.running),
        "waiting": {pool: len(queue) for pool, queue in gateway.waiting.items()},
        "offloaded": overflow.moved if overflow.rule is not None else None,
        "coverage_p90": covered / len(predicted) if predicted else None,
        "backends": [
            {
                "url": url,
                "pool": b.endpoint.pool,
                "up": b.up(monotonic()),
                "inflight": b.inflight,
                "limit": b.speed.limit,
            }
            for url, b in gateway.backends.items()
        ],
        "recent": [_recent(entry, names) for entry in gateway.ledger.recent],
    }


def _recent(e: Entry, names: dict[Slo, str]) -> dict[str, object]:
    slo = Slo(e.slo_ttft_s, e.slo_tpot_s, e.slo_e2e_s)
    return {
        "e2e_s": e.last_s - e.arrival_s if e.last_s is not None else None,
        # Of an answer in one the first token cannot be seen.
        "ttft_s": e.first_s - e.arrival_s if e.first_s is not None and e.stream else None,
        "queued_s": e.sent_s - e.arrival_s if e.sent_s is not None else None,
        "output_tokens": e.output_tokens,
        "p50_tokens": e.p50_tokens,
        "p90_tokens": e.p90_tokens,
        "class": names.get(slo, "no objective" if slo == NONE else "objectives of its own"),
        "status": e.status,
        "tenant": e.tenant,
    }


def _openapi(gateway: Gateway) -> bytes:
    """The description of the API, with the classes of objectives that are configured here."""
    tree = json.loads(_file("openapi.json"))
    header = tree["components"]["parameters"]["class"]
    header["schema"]["enum"] = [name for name, _ in gateway.config.classes] + [""]
    return json.dumps(tree).encode()


def _file(name: str) -> bytes:
    return files("headway.gateway").joinpath(name).read_bytes()


def _error(message: str, code: str | None) -> bytes:
    return error_body(message, "invalid_request_error", code)
