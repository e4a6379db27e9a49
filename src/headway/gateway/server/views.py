"""What can be asked of the gateway itself: models, queue, metrics, health, the live page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from time import monotonic
from urllib.parse import unquote

from headway.gateway.config import is_loopback
from headway.gateway.scheduler.admission import NOBODY
from headway.gateway.scheduler.queued import QueuedRequest
from headway.gateway.scheduler.scheduler import Scheduler
from headway.gateway.scheduler.telemetry import Gauge, label
from headway.gateway.server.headers import NO_OBJECTIVES, bearer
from headway.gateway.server.origin import PREFLIGHT_LINES, origin_lines
from headway.gateway.server.passing import methods_of
from headway.http.message import JSON_HEADERS, HttpRequest
from headway.http.openai import error_body
from headway.http.server import ServerConnection
from headway.record.entry import Entry
from headway.workload.record import DONE
from headway.workload.request import Slo

TEXT_HEADERS = b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
MAX_QUEUE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the gateway's own."""

    status: int
    headers: bytes
    body: bytes


def _json(tree: object) -> Answer:
    return Answer(200, JSON_HEADERS, json.dumps(tree).encode())


def _error(status: int, message: str, code: str | None, headers: bytes = b"") -> Answer:
    body = error_body(message, "invalid_request_error", code)
    return Answer(status, JSON_HEADERS + headers, body)


def _file(name: str) -> bytes:
    return files("headway.gateway.server").joinpath(name).read_bytes()


@cache
def _page(name: str) -> Answer:
    """Return a page that may run its own scripts and styles, by their hashes, and nothing else."""
    body = _file(name)
    scripts, styles = (
        " ".join(f"'sha256-{_digest(text)}'" for text in re.findall(pattern, body, re.DOTALL))
        for pattern in (rb"<script>(.*?)</script>", rb"<style>(.*?)</style>")
    )
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data:; script-src {scripts}; "
        f"style-src {styles}; frame-ancestors 'none'; base-uri 'none'"
    )
    lines = (
        "Content-Type: text/html; charset=utf-8\r\n"
        f"Content-Security-Policy: {policy}\r\n"
        "X-Content-Type-Options: nosniff\r\n"
    )
    return Answer(200, lines.encode(), body)


def _digest(text: bytes) -> str:
    return base64.b64encode(hashlib.sha256(text).digest()).decode()


class Views:
    """Answers that no engine is needed for."""

    def __init__(
        self,
        scheduler: Scheduler,
        connections: Collection[ServerConnection],
        reload: Callable[[], str],
    ) -> None:
        """Show ``scheduler``; ``reload`` reads the configuration anew and returns what is wrong."""
        self._scheduler = scheduler
        self._connections = connections
        self._reload = reload
        self._public: dict[str, Callable[[], Answer]] = {
            "/health": self._health,
            "/live": lambda: _json({"status": "live"}),
            "/ready": self._health,
            "/openapi.json": self._openapi,
        }
        self._operator: dict[str, Callable[[], Answer]] = {
            "/": lambda: _page("live.html"),
            "/state": lambda: _json(self._state()),
            "/metrics": self._metrics,
        }

    def answer(self, connection: ServerConnection, request: HttpRequest) -> None:
        """Answer ``request`` over ``connection``."""
        answer = self._answer(request)
        connection.answer(
            answer.status,
            answer.headers,
            answer.body,
            request.keep_alive,
            head_only=request.method == "HEAD",
        )

    def _answer(self, request: HttpRequest) -> Answer:
        path = unquote(request.path)
        if request.method == "OPTIONS":
            return self._preflight(request)
        if path.startswith("/admin/"):
            return self._admin(request)
        for_tenants = path == "/v1/queue" or path == "/v1/models" or path.startswith("/v1/models/")
        if not for_tenants and path not in self._public and path not in self._operator:
            if methods := ", ".join(methods_of(path)):
                line = b"Allow: %b\r\n" % methods.encode()
                return _error(405, f"{path[:200]} takes {methods}", None, line)
            return _error(404, f"there is nothing at {path[:200]}", "not_found")
        if request.method not in ("GET", "HEAD"):
            return _error(405, f"{path[:200]} takes GET", None, b"Allow: GET, HEAD\r\n")

        # For everybody.
        if path in self._public:
            return self._public[path]()

        # For whoever runs the gateway.
        admission, key = self._scheduler.admission, bearer(request.headers)
        is_admin = admission.is_admin(key)
        if path in self._operator:
            if not (is_admin or is_loopback(self._scheduler.config.host)):
                why = f"{path} needs the admin token where the gateway listens publicly"
                return _error(401, why, "invalid_api_key")
            return self._operator[path]()

        # For tenants.
        tenant = admission.tenant(key)
        if tenant is None and not is_admin:
            return _error(401, "this gateway needs an API key", "invalid_api_key")
        if path == "/v1/queue":
            is_tenant = tenant is not None and tenant is not NOBODY and not is_admin
            return _json(self._queue(tenant.name if tenant and is_tenant else None, request.query))
        return self._models(path)

    def _preflight(self, request: HttpRequest) -> Answer:
        """Answer a browser that asks whether a page may ask."""
        if not origin_lines(request, self._scheduler.config):
            why = "this origin is not among [web] origins of the gateway's configuration"
            return _error(403, why, "foreign_origin")
        return Answer(204, PREFLIGHT_LINES, b"")

    def _admin(self, request: HttpRequest) -> Answer:
        nothing = _error(404, f"there is nothing at {request.path[:200]}", "not_found")
        if not self._scheduler.admission.is_admin(bearer(request.headers)):
            return nothing  # as if it were not there: without a token configured, it is not
        if request.path != "/admin/reload" or request.method != "POST":
            return nothing
        if problem := self._reload():
            return _error(400, f"kept the old configuration: {problem}", "bad_configuration")
        return _json({"reloaded": True})

    def _health(self) -> Answer:
        now_s = monotonic()
        status = "no backend is up"
        if self._scheduler.draining:
            status = "draining"
        elif any(engine.is_up(now_s) for engine in self._scheduler.fleet.engines.values()):
            status = "up"
        body = json.dumps({"status": status}).encode()
        return Answer(200 if status == "up" else 503, JSON_HEADERS, body)

    def _openapi(self) -> Answer:
        """Return the description of the API, with the classes of objectives configured here."""
        tree = json.loads(_file("openapi.json"))
        header = tree["components"]["parameters"]["class"]
        names = [each.name for each in self._scheduler.config.classes if each.name]
        header["schema"]["enum"] = [*names, ""]
        return _json(tree)

    def _models(self, path: str) -> Answer:
        by_id: dict[str, dict[str, object]] = {}
        for engine in self._scheduler.fleet.engines.values():
            for entry in engine.models:
                by_id.setdefault(str(entry["id"]), entry)

        for name in self._scheduler.config.model_names:
            by_id.setdefault(name, {"id": name, "object": "model", "owned_by": "headway"})

        name = path.removeprefix("/v1/models").lstrip("/")
        if not name:
            return _json({"object": "list", "data": list(by_id.values())})
        if name in by_id:
            return _json(by_id[name])
        return _error(404, f"no backend serves the model {name[:200]!r}", "model_not_found")

    def _queue(self, tenant: str | None, query: str) -> dict[str, object]:
        """Return who waits, in the order in which they would start now; of ``tenant`` if given."""
        dispatcher = self._scheduler.dispatcher
        wanted_id = dict(part.split("=", 1) for part in query.split("&") if "=" in part).get("id")
        now_s = monotonic()

        def matches(queued: QueuedRequest) -> bool:
            is_theirs = tenant is None or queued.request.tenant == tenant
            return is_theirs and (
                not wanted_id or wanted_id in (queued.request.id, queued.client_id)
            )

        condition = None if tenant is None and not wanted_id else matches
        rows: list[dict[str, object]] = []
        for pool, queue in dispatcher.queues.items():
            interval_s = dispatcher.start_interval_s.get(pool)
            for position, queued in queue.in_order(now_s, MAX_QUEUE_ROWS - len(rows), condition):
                rows.append({
                    "id": queued.request.id,
                    "request_id": queued.client_id,
                    "pool": pool,
                    "position": position,
                    "waited_s": now_s - queued.arrival_s,
                    "expected_start_in_s": interval_s and interval_s * (position + 1),
                    "predicted_tokens_p50": queued.p50_tokens,
                    "predicted_tokens_p90": queued.p90_tokens,
                })  # fmt: skip

        num_waiting = sum(map(len, dispatcher.queues.values()))
        num_running = len(dispatcher.running)
        return {"object": "list", "waiting": num_waiting, "running": num_running, "data": rows}

    def _metrics(self) -> Answer:
        text = self._scheduler.ledger.telemetry.text(self._gauges())
        return Answer(200, TEXT_HEADERS, text)

    def _gauges(self) -> Iterator[Gauge]:
        """Yield what is so now."""
        scheduler, dispatcher = self._scheduler, self._scheduler.dispatcher
        yield "num_requests_running", "", len(dispatcher.running)
        for pool, queue in dispatcher.queues.items():
            yield "num_requests_waiting", f'pool="{label(pool)}"', len(queue)

        # What there is to do, in seconds of an engine that does one request at a time.
        for pool, queue in dispatcher.queues.items():
            work_s = queue.work_s + scheduler.fleet.running_s(pool)
            yield "predicted_work_seconds", f'pool="{label(pool)}"', work_s
        for pool, queue in dispatcher.queues.items():
            yield "predicted_wait_seconds", f'pool="{label(pool)}"', queue.wait_s

        # All values of one name stand together.
        engines = [(f'backend="{label(url)}"', e) for url, e in scheduler.fleet.engines.items()]
        now_s = monotonic()
        for labels, engine in engines:
            yield "backend_up", labels, float(engine.is_up(now_s))
        for labels, engine in engines:
            yield "backend_inflight", labels, engine.num_in_flight
        for labels, engine in engines:
            yield "backend_limit", labels, engine.pace.target_in_flight
        for labels, engine in engines:
            yield "backend_failures", labels, engine.num_failed

        if dispatcher.overflow.rule is not None:
            yield "num_requests_offloaded", "", dispatcher.overflow.num_moved
        for name in scheduler.config.pools:
            usd_per_hour = scheduler.config.pool(name).usd_per_hour
            if usd_per_hour is not None:
                yield "pool_usd_per_hour", f'pool="{label(name)}"', usd_per_hour

        yield "connections", "", len(self._connections)
        store = scheduler.ledger.store
        if store is not None:
            yield "records_unwritten", "", store.unwritten
            yield "records_dropped", "", store.dropped

    def _state(self) -> dict[str, object]:
        """Return what the live page shows."""
        scheduler, dispatcher = self._scheduler, self._scheduler.dispatcher
        config, recent = scheduler.config, scheduler.ledger.recent
        class_names = {each.slo: each.name or "no class" for each in config.classes}

        predicted = [e for e in recent if e.status == DONE and e.p90_tokens is not None]
        within_p90 = sum(e.output_tokens <= (e.p90_tokens or 0.0) for e in predicted)
        overflow = dispatcher.overflow
        now_s = monotonic()
        return {
            "policy": config.policy.name,
            "mode": config.mode,
            "running": len(dispatcher.running),
            "waiting": {pool: len(queue) for pool, queue in dispatcher.queues.items()},
            "offloaded": overflow.num_moved if overflow.rule is not None else None,
            "coverage_p90": within_p90 / len(predicted) if predicted else None,
            "backends": [
                {
                    "url": engine.url,
                    "pool": engine.endpoint.pool,
                    "up": engine.is_up(now_s),
                    "inflight": engine.num_in_flight,
                    "limit": engine.pace.target_in_flight,
                }
                for engine in scheduler.fleet.engines.values()
            ],
            "recent": [_recent(entry, class_names) for entry in recent],
        }


def _recent(entry: Entry, class_names: dict[Slo, str]) -> dict[str, object]:
    slo = Slo(entry.slo_ttft_s, entry.slo_tpot_s, entry.slo_e2e_s)
    unnamed = "no objective" if slo == NO_OBJECTIVES else "objectives of its own"

    def since_arrival_s(unix_s: float | None) -> float | None:
        return None if unix_s is None else unix_s - entry.arrival_s

    return {
        "e2e_s": since_arrival_s(entry.last_s),
        # Of an answer in one the first token cannot be seen.
        "ttft_s": since_arrival_s(entry.first_s) if entry.stream else None,
        "queued_s": since_arrival_s(entry.sent_s),
        "output_tokens": entry.output_tokens,
        "p50_tokens": entry.p50_tokens,
        "p90_tokens": entry.p90_tokens,
        "class": class_names.get(slo, unnamed),
        "status": entry.status,
        "tenant": entry.tenant,
    }
