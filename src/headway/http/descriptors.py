"""File descriptors: a client is one, a request that an engine works on is another.

Ten thousand streams are twenty thousand sockets. What the system allows is taken at the start, and
whoever would use up the rest is told so instead of being left without an answer.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

MOST_FILES = 65_536
RESERVED = 64  # the database, logs, health checks, and refusals on their way out
_log = logging.getLogger("headway.gateway")


def allow_files() -> int:
    """Raise the limit as far as the system lets us; returns how many files may be open."""
    if sys.platform == "win32":
        return MOST_FILES
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= MOST_FILES:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, max(hard, MOST_FILES)))
    except (ValueError, OSError):  # only root may raise the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MOST_FILES), hard))
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    _log.info(
        "file descriptors: %d (%d before), enough for %d streams at once%s",
        now, soft, max(0, now - RESERVED) // 2,
        "" if now >= MOST_FILES else "; a higher hard limit (ulimit -Hn) allows more",
    )  # fmt: skip
    return now


@dataclass(frozen=True, slots=True)
class Descriptors:
    """How many there are.

    Attributes:
        most: that may be open at once; 0 for no limit.
    """

    most: int = 0

    def allows_client(self, clients: int, upstream: int) -> bool:
        """Whether one more client can be kept, with so many of each open."""
        return not self.most or clients + upstream < self.most - RESERVED // 2

    def allows_request(self, clients: int, upstream: int, requests: int, engines: int) -> bool:
        """Whether one more request can be sent on.

        Args:
            clients: connections from clients.
            upstream: connections to engines, open now.
            requests: that wait or run, and may each need one.
            engines: requests that engines take at once at most.
        """
        needed = max(upstream, min(requests + 1, engines))
        return not self.most or clients + needed <= self.most - RESERVED


UNLIMITED = Descriptors()
