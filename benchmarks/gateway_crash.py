"""How long after a crash with 50 streams in flight the first answer comes.

The one engine is back after a second. Clients come every 20 ms all the time. Told are the seconds
from the crash to the first whole answer to a request that came after it, and how many of those
requests were refused, in both modes.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.gateway_overhead import gateway

from headway.http.fake import FakeEngine, FakeSpeed

BODY = json.dumps({"model": "fake", "prompt": "x", "stream": True}).encode()
AWAY_S = 1.0
SPEED = FakeSpeed(ttft_s=0.01, itl_s=0.01, tokens=8)


class Loop(threading.Thread):
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        """Run until `stop`."""
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.start()

    def run(self) -> None:
        """Run the loop."""
        self.loop.run_forever()

    def start_engine(self, engine: FakeEngine, port: int = 0) -> int:
        """Start ``engine``; return its port."""
        return asyncio.run_coroutine_threadsafe(engine.start(port), self.loop).result(10)

    def stop_engine(self, engine: FakeEngine) -> None:
        """Close all of its connections at once, as a crash does."""
        asyncio.run_coroutine_threadsafe(engine.stop(), self.loop).result(10)

    def stop(self) -> None:
        """End the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join()


def ask(port: int, tokens: int, ends: list[tuple[float, bool]]) -> None:
    """Ask once; note when it ended and whether it was whole."""
    began_s = time.monotonic()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/completions", BODY, {"x-fake-tokens": str(tokens)})
        answer = connection.getresponse().read()
        connection.close()
    except OSError:
        answer = b""
    ends.append((began_s, b"[DONE]" in answer))


def crash(mode: str) -> tuple[float, int, int]:
    """Return seconds to the first answer, and how many of those who came after it failed."""
    runner = Loop()
    engine = FakeEngine(SPEED)
    port = runner.start_engine(engine)
    with gateway(f"http://127.0.0.1:{port}/v1", "--mode", mode) as (url, _):
        there = int(url.rsplit(":", 1)[1].removesuffix("/v1"))
        before: list[tuple[float, bool]] = []
        after: list[tuple[float, bool]] = []
        threads = [threading.Thread(target=ask, args=(there, 1000, before)) for _ in range(50)]
        for thread in threads:
            thread.start()
        while len(engine.bodies) < 50:
            time.sleep(0.01)

        runner.stop_engine(engine)
        crashed_s = time.monotonic()
        first_s, back = 0.0, FakeEngine(SPEED)
        is_back = False
        while time.monotonic() - crashed_s < 6.0:
            if not is_back and time.monotonic() - crashed_s >= AWAY_S:
                runner.start_engine(back, port)
                is_back = True
            threads.append(threading.Thread(target=ask, args=(there, 8, after)))
            threads[-1].start()
            time.sleep(0.02)
            if not first_s and any(is_whole for _, is_whole in after):
                first_s = time.monotonic() - crashed_s
        for thread in threads:
            thread.join()
    runner.stop_engine(back)
    runner.stop()
    return first_s, sum(not is_whole for _, is_whole in after), len(after)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    result: dict[str, float] = {}
    for mode in ("schedule", "annotate"):
        first_s, num_failed, num_asked = crash(mode)
        print(f"{mode:9} first answer {first_s:.2f} s after the crash (bar 1.5), "
              f"{num_failed} of {num_asked} who came after it failed")  # fmt: skip
        result |= {f"{mode}_first_answer_s": first_s, f"{mode}_failed": num_failed}
    print(json.dumps({"benchmark": "gateway_crash", **result}))


if __name__ == "__main__":
    main()
