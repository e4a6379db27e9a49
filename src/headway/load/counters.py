"""An engine's own counters, before and after a load: what it did in between."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

from headway.http.client import fetch
from headway.http.message import BrokenAnswerError
from headway.load.client import Target
from headway.load.run import Server
from headway.report.column import rounded

TIMEOUT_S = 5.0
MAX_BYTES = 1 << 22
_LINE = re.compile(
    rb"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{[^}\n]{0,2000}\})? ([0-9.eE+]+)", re.MULTILINE
)
# What is shown, by the end of an engine's name for it.
_ENDINGS = (
    ("prompt_tokens_total", "prompt tokens"),
    ("generation_tokens_total", "output tokens"),
    ("num_preemptions_total", "preemptions"),
    ("prefix_cache_queries_total", "prompt tokens looked up in the prefix cache"),
    ("prefix_cache_hits_total", "of those found there"),
)


def engine_counters(server: Server) -> dict[str, float]:
    """Return the counters that ``server`` publishes at ``/metrics``, if it has that page."""
    target = Target(server.url, server.api, server.api_key)
    is_tls = urlsplit(server.url).scheme == "https"

    async def ask() -> bytes:
        answer = await fetch(target.pool(), "/metrics", target.header_lines, timeout_s=TIMEOUT_S)
        return answer.body if answer.status == 200 else b""

    try:
        text = b"" if is_tls else asyncio.run(ask())
    except (OSError, TimeoutError, BrokenAnswerError):
        return {}

    counters: dict[str, float] = {}
    for name, value in _LINE.findall(text[:MAX_BYTES]):
        key = name.decode()
        if key.endswith("_total"):
            counters[key] = counters.get(key, 0.0) + float(value)
    return counters


def counter_notes(url: str, before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Return in words what an engine's counters grew by; nothing where it has none."""
    parts: list[str] = []
    for ending, meaning in _ENDINGS:
        for name in after:
            growth = after[name] - before.get(name, 0.0)
            if name.endswith(ending) and growth > 0:
                parts.append(f"{rounded(growth)} {meaning}")
                break
    return [f"{url} counted meanwhile: {', '.join(parts)}"] if parts else []
