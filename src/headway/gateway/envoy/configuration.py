"""Envoy's configuration, from the gateway's: a listener, the engines, and whom to ask.

Envoy asks this process about requests for text alone; everything else it passes to our own server.
The engine it is told is one of the cluster's, whatever a client's headers say. Is nobody there to
ask, then requests go to the engine with the fewest, unless clients need keys: then they wait for
nobody and are refused.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from headway.gateway.config import GatewayConfig
from headway.gateway.envoy.messages import ENDPOINT, LB, OWN
from headway.gateway.pools import Endpoint
from headway.gateway.scheduler.budgets import PERIOD_S
from headway.gateway.server.origin import TOLD
from headway.http.openai import PATHS

Tree = dict[str, Any]

LOG_FLUSH_S, LOG_BUFFER_BYTES = 0.02, 65_536
EDGE_S = 5.0  # that Envoy's timers are behind ours, so that ours speak first
HEAD_S = 10.0
MAX_HEAD_KB = 8_192  # what Envoy allows at most
MAX_AT_ONCE = 1_000_000  # connections, requests and retries of a cluster
RETRIES_ON = "connect-failure,refused-stream,reset-before-request,retriable-status-codes"

# What an answer says of its request, in headers: the gateway's own words, and what its tenant has
# left of each budget.
WORDS = (
    *(f"x-headway-{name}" for name in ("id", "queue-ms", "pool", "offloaded-from")),
    "x-headway-predicted-tokens",
    *(
        f"x-ratelimit-{part}-{kind}"
        for part in ("limit", "remaining", "reset")
        for kind in PERIOD_S
    ),
)
TYPES = "type.googleapis.com/envoy"
_HTTP = f"{TYPES}.extensions.filters.http"
_NETWORK = f"{TYPES}.extensions.filters.network.http_connection_manager.v3"
_LB = f"{TYPES}.extensions.load_balancing_policies"
_UPSTREAM = f"{TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = f"{TYPES}.extensions.transport_sockets.tls.v3"


def bootstrap(folder: Path, *, max_connections: int) -> Tree:
    """Return what Envoy starts with: where the rest is, whom to ask, and how it is asked."""
    files = {"listeners": folder / "listeners.json", "clusters": folder / "clusters.json"}
    source = {
        name: {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}
        for name, path in files.items()
    }
    monitor = f"{TYPES}.extensions.resource_monitors.downstream_connections.v3"
    return {
        "node": {"id": "headway", "cluster": "headway"},
        "admin": {"address": {"pipe": {"path": str(folder / "admin")}}},
        "dynamic_resources": {"lds_config": source["listeners"], "cds_config": source["clusters"]},
        "static_resources": {"clusters": [_picker(folder / "picker")]},
        "overload_manager": {
            "resource_monitors": [
                _typed(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    f"{monitor}.DownstreamConnectionsConfig",
                    max_active_downstream_connections=max_connections,
                )
            ]
        },
    }


def resources(kind: str, trees: Iterable[Tree]) -> Tree:
    """Return ``trees`` as a file that Envoy watches; ``kind`` is Listener or Cluster."""
    package = "listener" if kind == "Listener" else "cluster"
    url = f"{TYPES}.config.{package}.v3.{kind}"
    return {"resources": [{"@type": url, **tree} for tree in trees]}


def clusters(config: GatewayConfig, addresses: Mapping[str, str], own_port: int) -> list[Tree]:
    """Return the engines, whose ``addresses`` are ``ip:port`` by URL, and our own server."""
    connect = _seconds(config.timeouts.connect_s)
    endpoints = [endpoint for endpoint in config.endpoints if endpoint.url in addresses]
    own: Tree = {
        "name": "headway",
        "type": "STATIC",
        "connect_timeout": connect,
        "circuit_breakers": _unlimited(),
        "load_assignment": _assignment("headway", [{"endpoint": _address("127.0.0.1", own_port)}]),
    }
    engines: Tree = {
        "name": "engines",
        "type": "STATIC",
        "connect_timeout": connect,
        "circuit_breakers": _unlimited(),
        "load_assignment": _assignment(
            "engines", [_engine(endpoint, addresses[endpoint.url]) for endpoint in endpoints]
        ),
        "load_balancing_policy": {"policies": [_as_told()]},
    }
    if any(endpoint.tls for endpoint in endpoints):
        engines["transport_socket_matches"] = _tls_where_wanted()
    return [own, engines]


def listener(config: GatewayConfig, port: int) -> Tree:
    """Return the listener that clients meet."""
    chain: Tree = {"filters": [_connection_manager(config)]}
    if config.tls is not None:
        chain["transport_socket"] = _typed(
            "envoy.transport_sockets.tls",
            f"{_TLS}.DownstreamTlsContext",
            common_tls_context={
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{
                    "certificate_chain": {"filename": str(config.tls.certificate)},
                    "private_key": {"filename": str(config.tls.key)},
                }],
            },
        )  # fmt: skip
    return {
        "name": "clients",
        "address": _address(config.host, port)["address"],
        "per_connection_buffer_limit_bytes": config.limits.body_bytes,
        "filter_chains": [chain],
    }


def asks_for_keys(config: GatewayConfig) -> bool:
    """Return whether a request may go nowhere unless this process has seen its key."""
    return bool(config.tenants) or any(endpoint.api_key for endpoint in config.endpoints)


# the listener's parts


def _connection_manager(config: GatewayConfig) -> Tree:
    timeouts = config.timeouts
    held_s = timeouts.queue_s + timeouts.first_byte_s + timeouts.gap_s + EDGE_S
    return _typed(
        "envoy.filters.network.http_connection_manager",
        f"{_NETWORK}.HttpConnectionManager",
        stat_prefix="clients",
        server_header_transformation="PASS_THROUGH",
        preserve_external_request_id=True,
        normalize_path=True,
        max_request_headers_kb=min(MAX_HEAD_KB, max(1, config.limits.head_bytes // 1024)),
        request_headers_timeout=_seconds(min(HEAD_S, timeouts.request_s)),
        request_timeout=_seconds(timeouts.request_s),
        stream_idle_timeout=_seconds(held_s),
        access_log=[_access_log()],
        local_reply_config=_local_replies(),
        http_filters=[
            _typed("cors", f"{_HTTP}.cors.v3.Cors"),
            _typed("ext_proc", f"{_HTTP}.ext_proc.v3.ExternalProcessor", **_asks(config)),
            _typed("router", f"{_HTTP}.router.v3.Router", suppress_envoy_headers=True),
        ],
        route_config={
            "name": "all",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes(config)}],
        },
    )


def _asks(config: GatewayConfig) -> Tree:
    """Return what Envoy asks about each request: headers, then the whole body; not the answer."""
    return {
        "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}},
        "failure_mode_allow": not asks_for_keys(config),
        "status_on_error": {"code": "ServiceUnavailable"},
        "message_timeout": _seconds(config.timeouts.queue_s + EDGE_S),
        "allow_mode_override": True,
        "metadata_options": {"receiving_namespaces": {"untyped": [LB, OWN]}},
        "mutation_rules": {"allow_all_routing": True, "allow_envoy": True},
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "response_header_mode": "SKIP",
            "response_body_mode": "NONE",
            "request_trailer_mode": "SKIP",
            "response_trailer_mode": "SKIP",
        },
    }


def _routes(config: GatewayConfig) -> list[Tree]:
    timeouts = config.timeouts

    # What the gateway says, and which pages may read it.
    words = [
        {
            "header": {"key": word, "value": f"%DYNAMIC_METADATA({OWN}:{word})%"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
        for word in WORDS
    ]
    pages = {
        "@type": f"{_HTTP}.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": origin} for origin in config.web.origins],
        "expose_headers": TOLD.decode(),
    }

    # Requests for text go where they are told; those named after it are tried in turn.
    to_engines: Tree = {
        "cluster": "engines",
        "timeout": "0s",
        "auto_host_rewrite": True,
        "retry_policy": {
            "retry_on": RETRIES_ON,
            "retriable_status_codes": [408, 429, 500, 502, 503, 504],
            "num_retries": config.retries,
            "per_try_idle_timeout": _seconds(max(timeouts.first_byte_s, timeouts.gap_s)),
            "host_selection_retry_max_attempts": 3,
        },
    }
    for_engines = [
        {
            "match": {
                "path": path,
                "headers": [{"name": ":method", "string_match": {"exact": "POST"}}],
            },
            "route": to_engines,
            "request_headers_to_remove": [ENDPOINT, "accept-encoding", "expect"],
            "response_headers_to_add": words,
            "typed_per_filter_config": {"cors": pages},
        }
        for path in PATHS
    ]

    # Everything else is our own server's.
    ours = {
        "match": {"prefix": "/"},
        "route": {"cluster": "headway", "timeout": "0s"},
        "typed_per_filter_config": {
            "ext_proc": {"@type": f"{_HTTP}.ext_proc.v3.ExtProcPerRoute", "disabled": True}
        },
    }
    return [*for_engines, ours]


def _access_log() -> Tree:
    return _typed(
        "envoy.access_loggers.http_grpc",
        f"{TYPES}.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": "headway",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}},
            "buffer_flush_interval": _seconds(LOG_FLUSH_S),
            "buffer_size_bytes": LOG_BUFFER_BYTES,
        },
    )


def _local_replies() -> Tree:
    """Return how Envoy words its own errors: as OpenAI does; those of ours pass as they are."""
    error = {"message": "the gateway could not be answered: %RESPONSE_CODE_DETAILS%",
             "type": "server_error", "param": None, "code": "backend_unavailable"}  # fmt: skip
    flags = ["UF", "UH", "URX", "UC", "UT", "UR", "UO", "LR", "SI", "DC", "NR"]
    return {
        "mappers": [{
            "filter": {"response_flag_filter": {"flags": flags}},
            "body_format_override": {"json_format": {"error": error}},
        }]
    }  # fmt: skip


# clusters' parts


def _picker(path: Path) -> Tree:
    address = {"endpoint": {"address": {"pipe": {"path": str(path)}}}}
    return {
        "name": "picker",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": _unlimited(),
        "load_assignment": _assignment("picker", [address]),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _UPSTREAM,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }


def _engine(endpoint: Endpoint, address: str) -> Tree:
    host, _, port = address.rpartition(":")
    tree: Tree = {
        "endpoint": {
            **_address(host.strip("[]"), int(port)),
            "hostname": f"{endpoint.host}:{endpoint.port}",
        }
    }
    if endpoint.tls:
        match = {"envoy.transport_socket_match": {"tls": True}}
        tree["metadata"] = {"filter_metadata": match}
    return tree


def _as_told() -> Tree:
    """Return the policy that goes where it was told, and to the engine with the fewest if not."""
    fewest = _typed("fewest", f"{_LB}.least_request.v3.LeastRequest")
    return {
        "typed_extension_config": _typed(
            "as_told",
            f"{_LB}.override_host.v3.OverrideHost",
            override_host_sources=[{"metadata": {"key": LB, "path": [{"key": ENDPOINT}]}}],
            fallback_policy={"policies": [{"typed_extension_config": fewest}]},
        )
    }


def _tls_where_wanted() -> list[Tree]:
    authorities = ssl.get_default_verify_paths().cafile
    validation = {"trusted_ca": {"filename": authorities}} if authorities else {}
    tls = _typed(
        "tls",
        f"{_TLS}.UpstreamTlsContext",
        auto_host_sni=True,
        auto_sni_san_validation=True,
        common_tls_context={"validation_context": validation},
    )
    plain = _typed("plain", f"{TYPES}.extensions.transport_sockets.raw_buffer.v3.RawBuffer")
    return [
        {"name": "tls", "match": {"tls": True}, "transport_socket": tls},
        {"name": "plain", "match": {}, "transport_socket": plain},
    ]


# words that recur


def _typed(name: str, kind: str, **settings: Any) -> Tree:
    return {"name": name, "typed_config": {"@type": kind, **settings}}


def _address(host: str, port: int) -> Tree:
    host = "127.0.0.1" if host == "localhost" else host
    return {"address": {"socket_address": {"address": host, "port_value": port}}}


def _assignment(name: str, endpoints: list[Tree]) -> Tree:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _unlimited() -> Tree:
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(names, MAX_AT_ONCE)]}


def _seconds(duration_s: float) -> str:
    return f"{duration_s:.3f}s"
