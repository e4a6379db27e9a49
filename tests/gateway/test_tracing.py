"""Traces, as OpenTelemetry's own SDK receives them."""

from __future__ import annotations

import gzip
import http.server
import threading
import time
from collections.abc import Iterator

import pytest
from tests.gateway.conftest import CHAT, Live, post
from tests.gateway.test_order import FromPrompt, chat

pytest.importorskip("opentelemetry.sdk", reason="pip install 'headway[otel]'")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from headway.gateway.server.tracing import Tracing, exporting

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CARRIED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "other=1"}


class Seen:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider)

    def spans(self, live: Live, roots: int = 1) -> dict[str, ReadableSpan]:
        """By name, once ``roots`` requests are over; of the same name the last."""

        def found() -> list[ReadableSpan]:
            return list(self.exporter.get_finished_spans())

        live.until(lambda: sum(s.kind == SpanKind.SERVER for s in found()) == roots)
        return {span.name: span for span in found()}


@pytest.fixture
def seen() -> Iterator[Seen]:
    made = Seen()
    yield made
    made.tracing.close()


def seconds(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time / 1e9, span.end_time / 1e9


def test_a_request_is_a_trace_of_its_phases(live: Live, seen: Seen) -> None:
    port = live.gateway(live.engine(), tracing=seen.tracing, predictor=FromPrompt())
    before_s = time.time()
    assert post(port, {**chat("x 30"), "stream": True}, **CARRIED)[0] == 200
    spans = seen.spans(live)
    root = spans["POST /v1/chat/completions"]
    assert spans.keys() == {root.name, "queue", "predict", "upstream"}
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == PARENT
    began_s, ended_s = seconds(root)
    assert before_s - 0.1 <= began_s <= ended_s <= time.time() + 0.1
    for name in ("queue", "predict", "upstream"):
        child = spans[name]
        assert child.context.trace_id == int(TRACE, 16)
        assert child.parent is not None
        assert child.parent.span_id == root.context.span_id
        from_s, to_s = seconds(child)
        assert began_s <= from_s <= to_s <= ended_s + 1e-6
    (first,) = spans["upstream"].events
    assert first.name == "first_token"
    assert seconds(spans["queue"])[1] <= first.timestamp / 1e9 <= ended_s
    assert root.attributes is not None
    assert root.attributes["headway.predicted_tokens.p50"] == pytest.approx(30)
    assert root.attributes["gen_ai.usage.output_tokens"] == 8
    assert root.attributes["gen_ai.operation.name"] == "chat"
    assert root.status.status_code != StatusCode.ERROR


def test_an_engine_is_sent_the_span_of_its_attempt(live: Live, seen: Seen) -> None:
    port = live.gateway(live.engine(), tracing=seen.tracing)
    post(port, CHAT, **CARRIED)
    upstream = seen.spans(live)["upstream"]
    headers = live.engines[0].headers[-1]
    sent = headers[b"traceparent"].decode()
    assert sent == f"00-{TRACE}-{upstream.context.span_id:016x}-01"
    assert headers[b"tracestate"] == b"other=1"


def test_without_tracing_the_clients_own_header_reaches_the_engine(live: Live) -> None:
    port = live.gateway(live.engine())
    post(port, CHAT, **CARRIED)
    headers = live.engines[0].headers[-1]
    assert {k: headers[k.encode()].decode() for k in CARRIED} == CARRIED


def test_every_attempt_has_a_span(live: Live, seen: Seen) -> None:
    port = live.gateway(live.engine(), live.engine(), tracing=seen.tracing)
    live.engines[0].faults.append("close-before")
    live.engines[1].faults.append("close-before")
    assert post(port, CHAT)[0] == 502
    seen.spans(live)
    attempts = [s for s in seen.exporter.get_finished_spans() if s.name == "upstream"]
    assert len(attempts) == 2
    assert {s.status.status_code for s in attempts} == {StatusCode.ERROR}


def test_a_request_that_fails_is_marked(live: Live, seen: Seen) -> None:
    port = live.gateway(live.engine(), tracing=seen.tracing)
    post(port, {**CHAT, "stream": True}, x_fake_fault="die")
    root = seen.spans(live)["POST /v1/chat/completions"]
    assert root.status.status_code == StatusCode.ERROR
    assert root.attributes is not None
    assert root.attributes["error.type"] == "backend_failed"


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-00", "ff" * 600, f"00-{TRACE}-x-01"])
def test_a_header_that_makes_no_sense_begins_a_trace_of_its_own(
    live: Live, seen: Seen, header: str
) -> None:
    port = live.gateway(live.engine(), tracing=seen.tracing)
    assert post(port, CHAT, traceparent=header)[0] == 200
    assert seen.spans(live)["POST /v1/chat/completions"].parent is None


def test_spans_reach_a_collector(live: Live) -> None:
    pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http", reason="pip install 'headway[otel]'"
    )
    got: list[tuple[str, bytes]] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            packed = self.headers.get("content-encoding") == "gzip"
            got.append((self.path, gzip.decompress(body) if packed else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        tracing = Tracing(exporting(f"http://127.0.0.1:{server.server_port}"))
        port = live.gateway(live.engine(), tracing=tracing)
        post(port, CHAT)
        live.entries(1)
        tracing.close()
        server.shutdown()
        thread.join()
    assert got
    assert got[0][0] == "/v1/traces"
    assert b"POST /v1/chat/completions" in got[0][1]
