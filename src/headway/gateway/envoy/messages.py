"""Envoy's messages, read and written: what external processing says and is told, and access logs.

Of `envoy.service.ext_proc.v3` and `envoy.service.accesslog.v3`. Messages of protocol buffers may be
written in parts that follow one another, so parts that do not change are written once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    ProcessingRequest,
    ProcessingResponse,
)
from google.protobuf.struct_pb2 import Struct

from headway.gateway.scheduler.queued import Refusal

PROCESS = b"/envoy.service.ext_proc.v3.ExternalProcessor/Process"
ACCESS_LOGS = b"/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

# Where the endpoint picker protocol 1.0 has its names.
LB = "envoy.lb"
ENDPOINT = "x-gateway-destination-endpoint"
SERVED = "x-gateway-destination-endpoint-served"
SUBSET_HINT, SUBSET = "envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset"
OWN = "headway"  # the namespace of what the gateway says of a request
ID = "x-headway-id"
NONE, STREAMED, BUFFERED, PARTIAL, FULL_DUPLEX = range(5)  # modes of a body
SEND = 1
MAX_PIECE_BYTES = 62_000  # of a body that is streamed back: Envoy takes 64 KiB at once

Message = Any  # of protocol buffers, which ship no types
Names = tuple[tuple[str, str], ...]


def _written(**parts: Any) -> bytes:
    data: bytes = ProcessingResponse(**parts).SerializeToString()
    return data


REQUEST_HEADERS_GO_ON = _written(request_headers={})
REQUEST_BODY_GOES_ON = _written(request_body={})
REQUEST_TRAILERS_GO_ON = _written(request_trailers={})
RESPONSE_HEADERS_GO_ON = _written(response_headers={})
RESPONSE_BODY_GOES_ON = _written(response_body={})
RESPONSE_TRAILERS_GO_ON = _written(response_trailers={})

# The answer to the headers of a request whose answer is to be looked into.
LOOK_INTO_ANSWER = _written(
    request_headers={},
    mode_override={
        "request_header_mode": SEND,
        "request_body_mode": BUFFERED,
        "response_header_mode": SEND,
        "response_body_mode": STREAMED,
        "request_trailer_mode": 2,
        "response_trailer_mode": 2,
    },
)


def read_processing(data: bytes) -> Message:
    """Return a message of external processing; raise what protocol buffers raise of nonsense."""
    return ProcessingRequest.FromString(data)


def header_map(message: Message) -> dict[bytes, bytes]:
    """Return the headers of a message, by name in small letters."""
    return {
        header.key.encode().lower(): header.raw_value or header.value.encode()
        for header in message.headers.headers
    }


def subset_of(message: Message) -> frozenset[str] | None:
    """Return the addresses that may be chosen from; ``None`` where the gateway does not say."""
    hint = message.metadata_context.filter_metadata.get(SUBSET_HINT)
    if hint is None or SUBSET not in hint.fields:
        return None
    value = hint.fields[SUBSET]
    texts = [item.string_value for item in value.list_value.values] or [value.string_value]
    return frozenset(part.strip() for text in texts for part in text.split(",") if part.strip())


def served_address(message: Message) -> str:
    """Return the address that served, as the gateway says it; empty where it does not."""
    metadata = message.metadata_context.filter_metadata.get(LB)
    if metadata is not None and SERVED in metadata.fields:
        return str(metadata.fields[SERVED].string_value)
    return ""


# What the scheduler decided, as Envoy is told it.


@lru_cache(maxsize=1024)
def destination(addresses: str) -> bytes:
    """Return the part that names where to go: ``ip:port``, or several in order of preference."""
    struct = Struct()
    struct.update({LB: {ENDPOINT: addresses}})
    return _written(dynamic_metadata=struct)


def own_words(words: Names) -> bytes:
    """Return the part with ``words`` about the request, for Envoy's headers and its access log."""
    data = b""
    for name, value in words:
        text = b"\x1a" + _sized(value.encode())  # Value.string_value
        data += b"\x0a" + _sized(b"\x0a" + _sized(name.encode()) + b"\x12" + _sized(text))
    fields = b"\x2a" + _sized(data)  # Value.struct_value
    entry = b"\x0a" + _sized(OWN.encode()) + b"\x12" + _sized(fields)
    return b"\x42" + _sized(b"\x0a" + _sized(entry))  # ProcessingResponse.dynamic_metadata


def _sized(data: bytes) -> bytes:
    size, prefix = len(data), b""
    while size > 0x7F:
        prefix += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return prefix + bytes((size,)) + data


@dataclass(frozen=True, slots=True)
class Changes:
    """Of a request or an answer on its way through Envoy.

    Attributes:
        set_headers: in place of those of the same names.
        remove_headers: by name.
        body: in place of the one that came; ``None`` to keep it.

    """

    set_headers: Names = ()
    remove_headers: tuple[str, ...] = ()
    body: bytes | None = None

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return bool(self.set_headers or self.remove_headers or self.body is not None)

    def _common(self, *, clears_route: bool = False) -> dict[str, Any]:
        headers: dict[str, Any] = {
            "set_headers": [
                {"header": {"key": name, "raw_value": value.encode()}, "append_action": 2}
                for name, value in self.set_headers
            ],
            "remove_headers": self.remove_headers,
        }
        common: dict[str, Any] = {"header_mutation": headers, "clear_route_cache": clears_route}
        if self.body is not None:
            headers["remove_headers"] = (*self.remove_headers, "content-length")
            common["body_mutation"] = {"body": self.body}
        return common

    def to_request_body(self) -> bytes:
        """Return the answer to a request's whole body."""
        if not self:
            return REQUEST_BODY_GOES_ON
        return _written(request_body={"response": self._common()})

    def to_request_headers(self) -> bytes:
        """Return the answer to a request's headers; a route may depend on them."""
        return _written(request_headers={"response": self._common(clears_route=True)})

    def to_response_headers(self) -> bytes:
        """Return the answer to an answer's headers."""
        return _written(response_headers={"response": self._common()})


def pieces(kind: str, body: bytes, *, ends: bool) -> list[bytes]:
    """Return ``body`` as parts of a stream; ``kind`` is request_body or response_body."""
    places = range(0, max(1, len(body)), MAX_PIECE_BYTES)
    return [
        _written(**{kind: {"response": {"body_mutation": {"streamed_response": {
            "body": body[at : at + MAX_PIECE_BYTES],
            "end_of_stream": ends and at == places[-1],
        }}}}})
        for at in places
    ]  # fmt: skip


def refusal_message(refusal: Refusal, words: Names) -> bytes:
    """Return the answer that Envoy is to give in place of an engine's."""
    headers = [*((name.lower(), value) for name, value in refusal.headers), *words]
    return _written(
        immediate_response={
            "status": {"code": refusal.status},
            "headers": {
                "set_headers": [
                    {"header": {"key": name, "raw_value": value.encode()}, "append_action": 2}
                    for name, value in headers
                ]
            },
            "body": refusal.body,
            "details": refusal.code,
        }
    )


# What came of it, as the access log tells.

_ENGINE_FAILURES = (
    "upstream_connection_failure", "upstream_connection_termination", "upstream_remote_reset",
    "upstream_request_timeout", "no_healthy_upstream", "upstream_protocol_error",
    "stream_idle_timeout", "upstream_retry_limit_exceeded",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Passage:
    """One request's way through Envoy, after its end; times from its start.

    Attributes:
        id: that the scheduler gave it.
        begin_unix_s: its start.
        first_byte_s, last_byte_s: of the engine's answer; ``None`` where there was none.
        body_bytes: of the answer.
        code: the HTTP status that the client was sent; 0 if none.
        address: the engine that served it, ``ip:port``; empty if none did.
        attempts: engines that were tried.
        client_left: whether the client went away first.
        engine_failed: whether the engine did not answer, or not to the end.

    """

    id: str
    begin_unix_s: float
    first_byte_s: float | None
    last_byte_s: float | None
    body_bytes: int
    code: int
    address: str
    attempts: int
    client_left: bool
    engine_failed: bool


def read_log(data: bytes) -> list[Passage]:
    """Return the passages that a message of the access log tells of, of our requests alone."""
    passages: list[Passage] = []
    for entry in StreamAccessLogsMessage.FromString(data).http_logs.log_entry:
        common, response = entry.common_properties, entry.response
        own = common.metadata.filter_metadata.get(OWN)
        if own is None:
            continue

        flags, address = common.response_flags, common.upstream_remote_address.socket_address
        host = f"[{address.address}]" if ":" in address.address else address.address
        has_flags = common.HasField("response_flags")
        left = flags.downstream_connection_termination or flags.downstream_remote_reset
        passages.append(
            Passage(
                id=own.fields[ID].string_value,
                begin_unix_s=common.start_time.seconds + common.start_time.nanos * 1e-9,
                first_byte_s=_seconds(common, "time_to_first_upstream_rx_byte"),
                last_byte_s=_seconds(common, "time_to_last_upstream_rx_byte"),
                body_bytes=response.response_body_bytes,
                code=response.response_code.value,
                address=f"{host}:{address.port_value}" if address.port_value else "",
                attempts=common.upstream_request_attempt_count,
                client_left=has_flags and left,
                engine_failed=has_flags and any(getattr(flags, name) for name in _ENGINE_FAILURES),
            )
        )
    return passages


def _seconds(common: Message, name: str) -> float | None:
    if not common.HasField(name):
        return None
    duration = getattr(common, name)
    return float(duration.seconds + duration.nanos * 1e-9)
