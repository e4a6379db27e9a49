"""Gateways whose requests Envoy carries: one's own Envoy, or the gateway of a cluster.

Both are the gateway that the server is, with the same scheduler, health checks, record and pages;
requests for text reach the scheduler from Envoy, all others our own server.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from typing import Any

from headway.errors import InputError
from headway.gateway.config import GatewayConfig
from headway.gateway.envoy import configuration
from headway.gateway.envoy.health import Health
from headway.gateway.envoy.leader import Leadership
from headway.gateway.envoy.plane import EnvoyPlane
from headway.gateway.envoy.process import EnvoyProcess, run_folder
from headway.gateway.envoy.request import serve_requests
from headway.gateway.server.gateway import Gateway
from headway.predict.predictor import LengthPredictor
from headway.record.store import Store, is_postgres

_log = logging.getLogger("headway.gateway")


class EnvoyGateway(Gateway):
    """A gateway through an Envoy of its own, at the address of the configuration.

    Our own server listens on the loopback address, for what Envoy does not ask about.
    """

    def __init__(
        self,
        config: GatewayConfig,
        predictor: LengthPredictor | None = None,
        store: Store | None = None,
        **settings: Any,
    ) -> None:
        """Make a gateway; it serves after `start`."""
        super().__init__(config, predictor, store, **settings)
        self.plane = EnvoyPlane(self.scheduler)
        serve_requests(self.plane)
        self.envoy: EnvoyProcess
        self._own_port = 0
        self._rpc: asyncio.Server | None = None

    async def start(self, address: tuple[str, int] | None = None) -> int:
        """Begin to listen; return the port that clients meet."""
        config = self.config
        port = config.port if address is None else address[1]
        self._own_port = await super().start(("127.0.0.1", 0))
        folder = run_folder(port)
        self.envoy = EnvoyProcess(folder, lambda why: self.on_failure(why))

        path = folder / "picker"
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._rpc = await loop.create_unix_server(self.plane.connection, path)
        try:
            self._write()
            listener = configuration.listener(config, port)
            self.envoy.write("listeners", configuration.resources("Listener", [listener]))
            start = configuration.bootstrap(folder, max_connections=_max_connections())
            self.envoy.write("bootstrap", start)
            return await self.envoy.start()
        except InputError:
            await super().stop(0.0)
            raise

    def _write(self) -> None:
        """Tell Envoy the engines."""
        config = self.config
        addresses = resolve(config)
        self.plane.adopt(addresses)
        trees = configuration.clusters(config, addresses, self._own_port)
        self.envoy.write("clusters", configuration.resources("Cluster", trees))

    def reload(self, config: GatewayConfig) -> None:
        """Go by ``config`` from now on; what waits and runs goes on."""
        if config.tls != self.config.tls:
            raise InputError("a reload cannot change the certificate; restart")
        super().reload(config)

    def _adopt(self, config: GatewayConfig) -> None:
        """Go by ``config`` and the engines that were discovered."""
        super()._adopt(config)
        if self._rpc is not None:
            self._write()

    def sweep(self, now_s: float) -> None:
        """End what has lasted longer than the timeouts by now."""
        super().sweep(now_s)
        self.plane.sweep(now_s)

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no more requests, let running ones end for ``drain_s``, and stop Envoy, too."""
        self.scheduler.draining = True
        await self.envoy.drain()
        await super().stop(drain_s)
        await self.envoy.stop()
        if self._rpc is not None:
            self._rpc.close()
        await self.plane.close()


class PickerGateway(Gateway):
    """Picks endpoints for the gateway of a cluster, as the inference extension's protocol asks.

    Our own server goes on at the address of the configuration: metrics, health, the live page.
    """

    def __init__(
        self,
        config: GatewayConfig,
        predictor: LengthPredictor | None = None,
        store: Store | None = None,
        *,
        rpc_address: tuple[str, int] = ("127.0.0.1", 9002),
        leadership: Leadership | None = None,
        **settings: Any,
    ) -> None:
        """Make a picker; it serves after `start`.

        Args:
            config: what to go by.
            predictor: of the lengths of answers.
            store: of records.
            rpc_address: where the cluster's gateway asks it.
            leadership: of several pickers; by the database of a record in PostgreSQL, unless given.
            settings: of every gateway.

        """
        super().__init__(config, predictor, store, **settings)
        self.plane = EnvoyPlane(self.scheduler, logs=False, names_engine_in_header=True)
        self.health = Health(self._is_ready)
        serve_requests(self.plane)
        self.plane.serve(self.health.services)
        self.rpc_port = rpc_address[1]
        self._rpc_host = rpc_address[0]
        self._rpc: asyncio.Server | None = None
        self._seeking: asyncio.Task[None] | None = None
        self._leadership = leadership
        if leadership is None and config.record is not None and is_postgres(config.record):
            self._leadership = Leadership(str(config.record), "|".join(config.pools))

    def _is_ready(self) -> bool:
        leads = self._leadership is None or self._leadership.leads
        return leads and not self.scheduler.draining and self.plane.any_engine(None) is not None

    async def start(self, address: tuple[str, int] | None = None) -> int:
        """Begin to listen; return the port of our own server."""
        port = await super().start(address or (self.config.host, self.config.port))
        loop = asyncio.get_running_loop()
        try:
            self._rpc = await loop.create_server(
                self.plane.connection, self._rpc_host, self.rpc_port, ssl=_tls_of(self.config)
            )
        except OSError as error:
            await super().stop(0.0)
            where = f"{self._rpc_host}:{self.rpc_port}"
            raise InputError(f"cannot listen on {where}: {error.strerror or error}") from None

        self.rpc_port = self._rpc.sockets[0].getsockname()[1]
        if self._leadership is not None:
            self._seeking = loop.create_task(self._leadership.seek_for_ever())
        return port

    def _adopt(self, config: GatewayConfig) -> None:
        """Go by ``config`` and the engines that were discovered."""
        super()._adopt(config)
        self.plane.adopt(resolve(self.config))

    def sweep(self, now_s: float) -> None:
        """End what has lasted longer than the timeouts by now."""
        super().sweep(now_s)
        self.plane.sweep(now_s)
        self.health.sweep()

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no more requests, and say so; let running ones end for ``drain_s``."""
        self.scheduler.draining = True
        self.health.sweep()
        if self._seeking is not None:
            self._seeking.cancel()  # another may lead at once
        await super().stop(drain_s)
        if self._rpc is not None:
            self._rpc.close()
        await self.plane.close()


def _tls_of(config: GatewayConfig) -> ssl.SSLContext | None:
    if config.tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.tls.certificate, config.tls.key)
    context.set_alpn_protocols(["h2"])
    return context


def resolve(config: GatewayConfig) -> dict[str, str]:
    """Return ``ip:port`` of each engine, by URL; what has none of its own is left out, and said."""
    addresses: dict[str, str] = {}
    for endpoint in config.endpoints:
        try:
            answers = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except OSError as error:
            _log.error("left out %s: its name is not known (%s)", endpoint.url, error)
            continue
        ip = min(str(answer[4][0]) for answer in answers if answer[0] == answers[0][0])
        address = f"[{ip}]:{endpoint.port}" if ":" in ip else f"{ip}:{endpoint.port}"
        if address in addresses.values():
            _log.error("left out %s: another backend is the same server", endpoint.url)
            continue
        addresses[endpoint.url] = address
    return addresses


def _max_connections() -> int:
    """Return the clients that the system's limit on files allows, two files each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = soft if hard == resource.RLIM_INFINITY else max(soft, hard)
    return max(100, min(limit, 2_000_000) // 2 - 100)
