"""OpenTelemetry traces: a span for each request, and below it its queue, prediction and attempts.

The client's W3C ``traceparent`` becomes the parent, and an engine is sent the span of the attempt
that it is; without tracing the client's own header reaches the engine as it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.errors import MissingError, need
from headway.http.message import HttpRequest
from headway.http.openai import CHAT, COMPLETIONS, RESPONSES
from headway.record.entry import Entry
from headway.workload.record import DONE

if TYPE_CHECKING:  # the extra
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_OPERATIONS = {CHAT: "chat", RESPONSES: "chat", COMPLETIONS: "text_completion"}
CONTEXT_HEADERS = frozenset({b"traceparent", b"tracestate"})


def exporting(endpoint: str) -> TracerProvider:
    """Return a provider that sends spans to an OTLP collector, such as ``http://localhost:4318``.

    Raises:
        MissingExtraError: the SDK or its exporter is not installed.
        MissingError: the exporter's messages were overwritten.

    """
    need("opentelemetry.exporter.otlp.proto.http", "traces", "otel")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise MissingError(
            "traces need opentelemetry-proto as it was published, and another package, such as "
            "xds-protos, has overwritten it: "
            "pip install --force-reinstall --no-deps opentelemetry-proto"
        ) from error
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "headway"}))
    path = "" if endpoint.rstrip("/").endswith("/v1/traces") else "/v1/traces"
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint.rstrip("/") + path))
    )
    return provider


class Tracing:
    """Makes the traces of one gateway.

    Attributes:
        anchor_s: turns the loop's clock into Unix time; the gateway sets it.

    """

    def __init__(self, provider: TracerProvider) -> None:
        """Spans go to ``provider``."""
        need("opentelemetry.sdk", "traces", "otel")
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.anchor_s = 0.0
        self._provider = provider
        self._tracer = provider.get_tracer("headway.gateway")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, request: HttpRequest, arrival_s: float) -> Trace:
        """Return the trace of ``request``, which arrived at Unix time ``arrival_s``."""
        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in request.headers.items()
            if name in CONTEXT_HEADERS
        }
        context = self._propagator.extract(carrier)
        span = self._start(f"POST {request.path}", arrival_s, context, "SERVER")
        return Trace(self, span)

    def close(self) -> None:
        """Send what was not sent."""
        self._provider.shutdown()

    def _start(self, name: str, unix_s: float, context: Any, kind: str) -> Span:
        from opentelemetry.trace import SpanKind

        return self._tracer.start_span(
            name, context=context, kind=SpanKind[kind], start_time=_ns(unix_s)
        )

    def child(self, parent: Span, name: str, unix_s: float, kind: str = "INTERNAL") -> Span:
        """Return a new span below ``parent``."""
        from opentelemetry.trace import set_span_in_context

        return self._start(name, unix_s, set_span_in_context(parent), kind)

    def headers(self, span: Span) -> bytes:
        """Return header lines that tell an engine which span its own belongs to."""
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return b"".join(f"{k}: {v}\r\n".encode("latin-1") for k, v in carrier.items())


class Trace:
    """The spans of one request; times are Unix seconds."""

    __slots__ = ("_anchor_s", "_attempt", "_span", "_tracing")

    def __init__(self, tracing: Tracing, span: Span) -> None:
        """Below ``span``, which has begun."""
        self._tracing = tracing
        self._span = span
        self._attempt: Span | None = None
        self._anchor_s = tracing.anchor_s

    def attempt(self, engine_url: str, now_s: float) -> bytes:
        """The request goes to an engine at ``now_s`` of the loop; return header lines for it."""
        unix_s = now_s + self._anchor_s
        if self._attempt is not None:
            _fail(self._attempt, "retried")
            self._attempt.end(_ns(unix_s))

        self._attempt = self._tracing.child(self._span, "upstream", unix_s, "CLIENT")
        self._attempt.set_attribute("server.address", engine_url)
        return self._tracing.headers(self._attempt)

    def end(self, entry: Entry, *, predicted_s: tuple[float, float] | None, ended_s: float) -> None:
        """The request is over, at Unix time ``ended_s``, as ``entry`` says.

        ``predicted_s`` is when its prediction began and ended, on the loop's clock.
        """
        queue = self._tracing.child(self._span, "queue", entry.arrival_s)
        queue.end(_ns(entry.sent_s if entry.sent_s is not None else ended_s))
        if predicted_s is not None:
            from_s, to_s = (loop_s + self._anchor_s for loop_s in predicted_s)
            self._tracing.child(self._span, "predict", from_s).end(_ns(to_s))

        if self._attempt is not None:
            if entry.first_s is not None:
                self._attempt.add_event("first_token", timestamp=_ns(entry.first_s))
            if entry.status != DONE:
                _fail(self._attempt, entry.reason)
            self._attempt.end(_ns(ended_s))

        for name, value in _attributes(entry).items():
            if value is not None and value != "":
                self._span.set_attribute(name, value)
        if entry.status != DONE:
            _fail(self._span, entry.reason)
        self._span.end(_ns(ended_s))


def _attributes(entry: Entry) -> dict[str, str | int | float | None]:
    """OpenTelemetry's names where it has one, ours where not."""
    return {
        "http.response.status_code": entry.code,
        "gen_ai.operation.name": _OPERATIONS.get(entry.api, entry.api),
        "gen_ai.request.model": entry.model,
        "gen_ai.request.max_tokens": entry.max_tokens,
        "gen_ai.usage.input_tokens": entry.prompt_tokens,
        "gen_ai.usage.output_tokens": entry.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": entry.cached_tokens,
        "headway.id": entry.id,
        "headway.tenant": entry.tenant,
        "headway.pool": entry.pool,
        "headway.predicted_tokens.p50": entry.p50_tokens,
        "headway.predicted_tokens.p90": entry.p90_tokens,
    }


def _fail(span: Span, reason: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", reason)
    span.set_status(StatusCode.ERROR, reason)


def _ns(unix_s: float) -> int:
    return round(unix_s * 1e9)
