"""The gateway in front of the engines that ship for trying it: who goes first, and where.

An engine that takes one request at a time is kept busy while four others come. When the first one's
client goes away, the four are started in the order of the policy; the gateway never learns how long
an answer is before it ends, only how long it is predicted to be.
"""

import asyncio
import json
import logging
from collections.abc import Sequence

from headway.gateway.config import GatewayConfig
from headway.gateway.pools import Endpoint, Overflow, Pool
from headway.gateway.server.gateway import Gateway
from headway.http.fake import FakeEngine
from headway.predict.prediction import LengthPrediction
from headway.schedule.order import Fcfs, OrderPolicy, ShortestJob
from headway.workload.request import Request

logging.disable()


class AsManyWords:
    """A predictor for prompts that say how many words they want."""

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        words = [float(request.prompt.split()[1]) for request in requests]
        return [LengthPrediction(((0.1, 0.8 * n), (0.5, n), (0.9, 1.2 * n))) for n in words]

    def observe(self, request: Request, output_tokens: int) -> None:
        pass


async def ask(port: int, text: str, more: str = "") -> dict[str, str]:
    """Send one request; returns the headers of its answer."""
    body = json.dumps({"model": "fake", "messages": [{"role": "user", "content": text}]})
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        writer.write((head + body).encode())
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
    finally:
        writer.close()
    return dict(line.split(": ", 1) for line in lines if line)


async def show(policy: OrderPolicy, second_pool: bool = False) -> None:
    fast, slow = FakeEngine(), FakeEngine()
    endpoints = [Endpoint(f"http://127.0.0.1:{await fast.start()}/v1", max_inflight=1, pool="fast")]
    overflow = None
    if second_pool:
        endpoints.append(Endpoint(f"http://127.0.0.1:{await slow.start()}/v1", pool="slow"))
        overflow = Overflow("fast", "slow", threshold_tokens=500)
    speeds = (Pool("fast", output_token_s=0.01), Pool("slow", output_token_s=0.011))
    config = GatewayConfig(
        tuple(endpoints), policy, port=0, overflow=overflow,
        pool_settings=speeds[: len(endpoints)],
    )  # fmt: skip
    gateway = Gateway(config, AsManyWords())
    port = await gateway.start()
    first = asyncio.create_task(ask(port, "Write 300 words", "x-fake-fault: hang\r\n"))
    while not fast.bodies:
        await asyncio.sleep(0.001)
    asking = []
    for number, words in enumerate((900, 20, 400, 50), 1):
        asking.append(asyncio.create_task(ask(port, f"Write {words} words")))
        while len(gateway.queues["fast"]) + len(slow.bodies) < number:
            await asyncio.sleep(0.001)
    first.cancel()
    answers = await asyncio.gather(*asking)
    started = [json.loads(body)["messages"][0]["content"] for body in list(fast.bodies)[1:]]
    print(f"{policy.name}: {', '.join(text.split()[1] for text in started)} words")
    if second_pool:
        for words, headers in zip((900, 20, 400, 50), answers, strict=True):
            predicted = headers["x-headway-predicted-tokens"]
            print(f"  {words:3d} words, predicted {predicted}: {headers['x-headway-pool']} pool")
    await gateway.stop(drain_s=0)
    for engine in (fast, slow):
        await engine.stop()


async def main() -> None:
    await show(Fcfs())
    await show(ShortestJob())
    await show(ShortestJob(), second_pool=True)


asyncio.run(main())
