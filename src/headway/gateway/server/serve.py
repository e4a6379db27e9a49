"""Run a gateway until it is told to stop: SIGTERM drains, a second one stops, SIGHUP reloads."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable

from headway.errors import HeadwayError
from headway.gateway.config import GatewayConfig
from headway.gateway.server.gateway import Gateway
from headway.gateway.server.tracing import Tracing, exporting
from headway.http.descriptors import Descriptors, allow_files
from headway.http.message import fastest_loop
from headway.predict.predictor import LengthPredictor
from headway.record.entry import RecordError
from headway.record.store import open_store

# New objects until young ones are looked at for garbage, and such looks until all are: one at all
# stops every stream for 10 ms, once what is remembered of thousands of requests is among them.
GARBAGE_LOOKS = (5_000, 10, 1_000)
_log = logging.getLogger("headway.gateway")


def serve(
    config: GatewayConfig,
    predictor: LengthPredictor | None,
    *,
    reread: Callable[[], GatewayConfig] | None = None,
    started: Callable[[int], None] = lambda port: None,
    gateway_type: Callable[..., Gateway] = Gateway,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: what to go by.
        predictor: of the answers' lengths.
        reread: reads the configuration anew; ``None`` if there is no file.
        started: is called with the port once requests are taken.
        gateway_type: who carries the bytes: our own server, or Envoy.

    Raises:
        InputError: the address or the database cannot be used.
        MissingExtraError: the parser is not installed.
        RecordError: at the end, that there are records which could be kept nowhere.

    """
    descriptors = Descriptors(allow_files())
    tracing = Tracing(exporting(config.traces)) if config.traces else None
    store = open_store(config.record) if config.record is not None else None
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        gateway = gateway_type(config, predictor, store, descriptors=descriptors, tracing=tracing)
        if reread is not None:
            gateway.on_reload = lambda: _reload(gateway, reread)
        runner.run(_serve(gateway, started))
    if store is not None and store.lost:
        raise RecordError(f"{store.lost} records could be kept nowhere: {store.trouble}")


def _reload(gateway: Gateway, reread: Callable[[], GatewayConfig]) -> str:
    """Go by the configuration as it is now; return what is wrong with it, or nothing."""
    try:
        gateway.reload(reread())
    except HeadwayError as error:
        _log.error("kept the old configuration: %s", error)
        return str(error)
    _log.info("configuration reloaded")
    return ""


async def _serve(gateway: Gateway, started: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    stopping, hurrying = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            hurrying.set()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, gateway.on_reload)

    gateway.on_failure = lambda why: stop()
    port = await gateway.start()
    _settle(gateway)
    started(port)
    for line in await gateway.backends.introductions():
        _log.info(line)
    await stopping.wait()

    # The second signal ends what the first one lets run.
    _log.info("draining: %d requests run", len(gateway.scheduler.dispatcher.running))
    draining = asyncio.ensure_future(gateway.stop())
    hurry = asyncio.ensure_future(hurrying.wait())
    await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await gateway.stop(drain_s=0.0)
    hurry.cancel()


def _settle(gateway: Gateway) -> None:
    """Pay before the first request what every process pays once.

    The first prediction builds tables; and a full garbage collection that walks the predictor and
    all modules takes longer than all else that a request meets here.
    """
    gateway.scheduler.warm_up()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_LOOKS)
