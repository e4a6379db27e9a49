"""Run a gateway until it is told to stop: SIGTERM drains, a second one stops, SIGHUP reloads."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable

from headway.errors import HeadwayError
from headway.gateway.app import Gateway
from headway.gateway.config import GatewayConfig
from headway.gateway.tracing import Tracing, exporting
from headway.http.descriptors import Descriptors, allow_files
from headway.predict.predictor import LengthPredictor
from headway.record.store import open_store
from headway.workload.request import Request

_log = logging.getLogger("headway.gateway")


def serve(
    config: GatewayConfig,
    predictor: LengthPredictor | None,
    reread: Callable[[], GatewayConfig] | None = None,
    started: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: what to go by.
        predictor: of the answers' lengths.
        reread: reads the configuration anew; ``None`` if there is no file.
        started: told the port once requests are taken.

    Raises:
        InputError: the address or the database cannot be used.
        MissingExtraError: the parser is not installed.
    """
    descriptors = Descriptors(allow_files())
    tracing = Tracing(exporting(config.traces)) if config.traces else None
    store = open_store(config.record) if config.record is not None else None
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        gateway = Gateway(config, predictor, store, descriptors=descriptors, tracing=tracing)
        runner.run(_serve(gateway, reread, started))


async def _serve(
    gateway: Gateway,
    reread: Callable[[], GatewayConfig] | None,
    started: Callable[[int], None],
) -> None:
    loop = asyncio.get_running_loop()
    stopping, hurrying = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            hurrying.set()
        stopping.set()

    def reload() -> str:
        if reread is None:
            return "it was started without a file"
        try:
            gateway.reload(reread())
        except HeadwayError as error:
            _log.error("kept the old configuration: %s", error)
            return str(error)
        _log.info("configuration reloaded")
        return ""

    gateway.on_reload = reload
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        port = await gateway.start()
    except HeadwayError:
        if gateway.store is not None:
            gateway.store.close()
        raise
    _settle(gateway.predictor)
    started(port)
    await stopping.wait()
    _log.info("draining: %d requests run", len(gateway.dispatcher.running))
    draining = asyncio.ensure_future(gateway.stop())
    hurry = asyncio.ensure_future(hurrying.wait())
    await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await gateway.stop(drain_s=0.0)
    hurry.cancel()


def _settle(predictor: LengthPredictor) -> None:
    """What every process pays once is paid before the first request, not by it.

    The first prediction builds tables; and a full garbage collection that walks the predictor and
    all modules takes longer than all else that a request meets here.
    """
    predictor.predict([Request("warm-up", 0.0, "Is it warm yet?", 5)])
    gc.collect()
    gc.freeze()


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made
