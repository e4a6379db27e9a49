"""Engines of a Kubernetes service: a small server speaks the API's list and watch, over TLS."""

from __future__ import annotations

import asyncio
import json
import queue
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.gateway.conftest import CHAT, Live, post

from headway.errors import InputError
from headway.gateway.config import GatewayConfig
from headway.gateway.discovery import Discovery, Lookout
from headway.gateway.kubernetes import ClusterApi, ServiceEngines
from headway.gateway.server.gateway import Gateway
from headway.http.message import BrokenAnswerError

SERVICE = "http://vllm.models:8000/v1"


def slice_of(name: str, pods: dict[str, bool | None], port: int | None = 8000) -> dict[str, Any]:
    """Return an EndpointSlice: addresses, and whether each is ready."""
    return {
        "metadata": {"name": name, "resourceVersion": "7"},
        "ports": [{"name": "http", "port": port}],
        "endpoints": [
            {"addresses": [address], "conditions": {} if ready is None else {"ready": ready}}
            for address, ready in pods.items()
        ],
    }


class Api:
    """A cluster's API with one service."""

    def __init__(self, folder: Path, *, tls: bool) -> None:
        self.items: list[dict[str, Any]] = []
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.paths: list[str] = []
        self.token = "secret"
        (folder / "token").write_text("secret\n")
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api.paths.append(self.path)
                if self.headers["Authorization"] != f"Bearer {api.token}":
                    self.send_error(401)
                    return
                watches = "watch" in parse_qs(urlsplit(self.path).query)
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                if not watches:
                    metadata = {"resourceVersion": "5"}
                    self.piece(json.dumps({"metadata": metadata, "items": api.items}).encode())
                while watches and (event := api.events.get()) is not None:
                    line = json.dumps(event).encode() + b"\n"
                    self.piece(line[:20])
                    self.piece(line[20:])
                self.wfile.write(b"0\r\n\r\n")

            def piece(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.flush()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if tls:
            key, certificate = folder / "key.pem", folder / "ca.crt"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=api",
                 "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
                check=True, capture_output=True,
            )  # fmt: skip
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.access = ClusterApi(f"{scheme}://127.0.0.1:{self.server.server_port}", folder)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        for _ in range(4):
            self.events.put(None)
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    api = Api(tmp_path, tls=False)
    yield api
    api.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_ready_pods_are_listed_over_tls_with_the_account_of_the_pod(tmp_path: Path) -> None:
    api = Api(tmp_path, tls=True)
    pods: dict[str, bool | None] = {"10.0.0.1": True, "10.0.0.2": False, "10.0.0.3": None}
    api.items = [slice_of("a", pods), slice_of("b", {"fd00::1": True, "10.0.0.1": True})]
    try:
        addresses = asyncio.run(ServiceEngines(SERVICE, api.access).list())
    finally:
        api.close()
    assert addresses == (
        "http://10.0.0.1:8000/v1",
        "http://10.0.0.3:8000/v1",
        "http://[fd00::1]:8000/v1",
    )
    assert api.paths == [
        "/apis/discovery.k8s.io/v1/namespaces/models/endpointslices"
        "?labelSelector=kubernetes.io%2Fservice-name%3Dvllm"
    ]


def test_changes_are_watched_from_the_version_of_the_list_on(api: Api) -> None:
    api.items = [slice_of("a", {"10.0.0.1": True}, port=9000)]
    for kind, item in (
        ("MODIFIED", slice_of("a", {"10.0.0.1": False, "10.0.0.2": True}, port=9000)),
        ("ADDED", slice_of("b", {"10.0.0.3": True}, port=None)),
        ("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
        ("DELETED", slice_of("a", {})),
    ):
        api.events.put({"type": kind, "object": item})
    api.events.put(None)

    async def follow() -> list[tuple[str, ...]]:
        engines = ServiceEngines("http://vllm.models.svc/v1", api.access)
        states = [await engines.list()]
        states += [addresses async for addresses in engines.changes()]
        api.events.put({"type": "ERROR", "object": {"code": 410}})
        with pytest.raises(BrokenAnswerError, match="too old"):
            async for _ in engines.changes():
                pass
        return states

    one, two = ("http://10.0.0.1:9000/v1",), ("http://10.0.0.2:9000/v1",)
    assert asyncio.run(follow()) == [one, two, two, two, ()]
    versions = [parse_qs(urlsplit(path).query).get("resourceVersion") for path in api.paths]
    assert versions == [None, ["5"], ["7"]]


def test_a_gateway_follows_a_service_through_refusals(live: Live, api: Api) -> None:
    url = live.engine()
    port = int(url.rsplit(":", 1)[1].removesuffix("/v1"))
    discovery = Discovery(service=f"http://vllm.models:{port}/v1", every_s=0.02)
    gateway_port = live.gateway(
        endpoints=(), discover=(discovery,), gateway_type=lambda *a, **k: following(api, *a, **k)
    )
    fleet = live.gateways[0].scheduler.fleet
    assert not fleet.engines
    api.events.put({"type": "ADDED", "object": slice_of("a", {"127.0.0.1": True})})
    live.until(lambda: set(fleet.engines) == {url})
    assert post(gateway_port, CHAT)[0] == 200

    # Whoever is refused keeps what there was, and is let in again with the token of then.
    api.token = "renewed"
    api.items = []
    num_paths = len(api.paths)
    api.events.put({"type": "ERROR", "object": None})
    live.until(lambda: len(api.paths) > num_paths + 3)
    assert set(fleet.engines) == {url}
    (api.access.account / "token").write_text("renewed")
    live.until(lambda: not fleet.engines)


def following(api: Api, config: GatewayConfig, *others: Any, **more: Any) -> Gateway:
    """Return a gateway that takes ``api`` for its cluster's."""
    return Gateway(config, *others, cluster=api.access, **more)


def test_outside_a_cluster_that_is_said() -> None:
    with pytest.raises(InputError, match="no pod"):
        ClusterApi.of_pod({})
    assert ClusterApi.of_pod({"KUBERNETES_SERVICE_HOST": "fd00::1"}).url == "https://[fd00::1]:443"
    with pytest.raises(InputError, match=r"NAME\.NAMESPACE"):
        Discovery(service="http://vllm:8000/v1")
    with pytest.raises(InputError, match="no pod"):
        Lookout((Discovery(service=SERVICE),))
