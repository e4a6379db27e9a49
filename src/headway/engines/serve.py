"""Run an engine until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from headway.engines.server import EngineServer
from headway.http.small import fastest_loop


def serve(
    server: EngineServer, host: str, port: int, started: Callable[[int], None] = lambda port: None
) -> None:
    """Serve until SIGTERM or SIGINT; ``started`` is told the port.

    Raises:
        InputError: the address cannot be used.

    """

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        started(await server.start(port, host))
        await stopping.wait()
        await server.stop()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(main())
