"""The ready pods of a Kubernetes service, as its EndpointSlices list them, watched as they change.

A cluster's API answers a list with a version, and a watch from that version on with one JSON object
a line (Kubernetes API concepts, "Efficient detection of changes"). When a watch ends, or its
version is too old, everything is listed anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from headway.errors import InputError
from headway.http.bounds import BOUNDS
from headway.http.client import ConnectionPool, Headers, fetch
from headway.http.message import BrokenAnswerError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
WATCH_S = 60  # after which the API is asked to end a watch, so that one that hangs is noticed
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={label}"


@dataclass(frozen=True, slots=True)
class ClusterApi:
    """The API of the cluster that this process runs in.

    Attributes:
        url: its address.
        account: folder with the ``token`` of the service account, and ``ca.crt``, whose signature
            the API's certificate has.

    """

    url: str
    account: Path = ACCOUNT

    @classmethod
    def of_pod(cls, environment: Mapping[str, str] = os.environ) -> ClusterApi:
        """Return the API as every pod is told of it.

        Raises:
            InputError: this is no pod.

        """
        host = environment.get("KUBERNETES_SERVICE_HOST", "")
        if not host:
            raise InputError(
                "discover asks for a service of Kubernetes, but this is no pod: "
                "KUBERNETES_SERVICE_HOST is not set; outside a cluster use dns or file"
            )
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{environment.get('KUBERNETES_SERVICE_PORT', '443')}")

    def pool(self) -> ConnectionPool:
        """Return connections to it."""
        parts = urlsplit(self.url)
        is_tls = parts.scheme == "https"
        tls = ssl.create_default_context(cafile=self.account / "ca.crt") if is_tls else None
        return ConnectionPool(parts.hostname or "", parts.port or (443 if is_tls else 80), tls)

    async def header_lines(self) -> list[str]:
        """Return what a request says; the token is read each time, as it is renewed."""
        token = await asyncio.to_thread((self.account / "token").read_text)
        host = self.url.partition("://")[2]
        return [f"Host: {host}", f"Authorization: Bearer {token.strip()}"]


class ServiceEngines:
    """The engines of one service.

    Attributes:
        url: what clients inside the cluster would ask: ``http://vllm.default:8000/v1`` is service
            ``vllm`` of namespace ``default``. Without a port it is the one that the slices name.

    """

    def __init__(self, url: str, api: ClusterApi) -> None:
        """Nothing was listed yet."""
        self.url = url
        self._parts = urlsplit(url)
        service, namespace = self._names()
        label = quote(f"kubernetes.io/service-name={service}", safe="")
        self._path = _SLICES.format(namespace=quote(namespace), label=label)
        self._api = api
        self._slices: dict[str, dict[str, Any]] = {}
        self._version = ""

    def _names(self) -> tuple[str, str]:
        labels = (self._parts.hostname or "").split(".")
        if self._parts.scheme != "http" or len(labels) < 2 or not all(labels):
            raise InputError(
                "a service to discover is an address such as http://NAME.NAMESPACE:8000/v1, "
                f"not {self.url!r}"
            )
        return labels[0], labels[1]

    async def list(self) -> tuple[str, ...]:
        """Ask for all slices; return the addresses of the engines.

        Raises:
            OSError: the API cannot be reached, or its token not read.
            BrokenAnswerError: it refuses, or answers something else.

        """
        answer = await fetch(
            self._api.pool(), self._path, await self._api.header_lines(), timeout_s=BOUNDS.look_s
        )
        if answer.status != 200:
            raise BrokenAnswerError(f"the cluster's API answers with status {answer.status}")

        tree = _json(answer.body)
        self._slices = {_name(each): each for each in tree.get("items") or ()}
        self._version = str(tree.get("metadata", {}).get("resourceVersion", ""))
        return self.addresses

    async def changes(self) -> AsyncIterator[tuple[str, ...]]:
        """Yield the addresses after each change since `list`, until the API ends the watch.

        Raises:
            OSError: as `list`.
            BrokenAnswerError: as `list`.

        """
        path = (
            f"{self._path}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}"
            f"&resourceVersion={quote(self._version)}"
        )
        async for line in _lines(self._api.pool(), path, await self._api.header_lines()):
            event = _json(line)
            kind, item = event.get("type"), event.get("object")
            if kind == "ERROR" or not isinstance(item, dict):
                raise BrokenAnswerError("the version of the list is too old")
            self._version = str(item.get("metadata", {}).get("resourceVersion", self._version))
            if kind == "DELETED":
                self._slices.pop(_name(item), None)
            elif kind in ("ADDED", "MODIFIED"):
                self._slices[_name(item)] = item
            yield self.addresses

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of the engines that are ready, each once."""
        hosts = {
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            for each in self._slices.values()
            if (port := self._port(each)) is not None
            for endpoint in each.get("endpoints") or ()
            # Absent means unknown, which consumers should take for ready (EndpointConditions).
            if (endpoint.get("conditions") or {}).get("ready") is not False
            for host in endpoint.get("addresses") or ()
        }
        return tuple(self._parts._replace(netloc=host).geturl() for host in sorted(hosts))

    def _port(self, each: Mapping[str, Any]) -> int | None:
        ports = [port["port"] for port in each.get("ports") or () if port.get("port")]
        return self._parts.port or (int(ports[0]) if ports else None)


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("metadata", {}).get("name", ""))


def _json(text: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise BrokenAnswerError("the cluster's API answers no JSON object")
    return tree


@dataclass(slots=True, eq=False)
class _LineReader:
    """Receives an answer line by line; ``None`` ends it, an error breaks it."""

    lines: asyncio.Queue[bytes | BrokenAnswerError | None] = field(default_factory=asyncio.Queue)
    rest: bytes = b""

    def answer_begins(self, status: int, headers: Headers) -> None:
        if status != 200:
            raise BrokenAnswerError(f"the cluster's API answers with status {status}")

    def answer_body(self, data: bytes, now_s: float, is_last: bool) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > BOUNDS.fetched_bytes:
            raise BrokenAnswerError(f"a line is longer than {BOUNDS.fetched_bytes} bytes")
        for line in filter(None, lines):
            self.lines.put_nowait(line)

    def answer_ends(self) -> None:
        self.lines.put_nowait(None)

    def answer_fails(self, why: str, stale: bool) -> None:
        self.lines.put_nowait(BrokenAnswerError(why))


async def _lines(pool: ConnectionPool, path: str, header_lines: list[str]) -> AsyncIterator[bytes]:
    """Get ``path`` and yield its lines as they come."""
    reader = _LineReader()
    async with asyncio.timeout(WATCH_S + BOUNDS.look_s):
        connection = await pool.open(BOUNDS.look_s)
        try:
            lines = [f"GET {path} HTTP/1.1", *header_lines, "Connection: close", "", ""]
            connection.send("\r\n".join(lines).encode(), b"", reader)
            while (line := await reader.lines.get()) is not None:
                if isinstance(line, BrokenAnswerError):
                    raise line
                yield line
        finally:
            connection.cancel()
