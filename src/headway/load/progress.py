"""How far a load has come, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headway.load.answers import Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one level of a load has come.

    Attributes:
        level: of the load, in words.
        count: of its requests.
        num_requests: that it has.
        elapsed_s: since it began; ``None`` while its prompts are written.
        send_s: how long requests are sent; ``None`` where others' ends decide.
        max_s: after so long it ends.

    """

    level: str
    count: Count
    num_requests: int
    elapsed_s: float | None = None
    send_s: float | None = None
    max_s: float | None = None

    @property
    def text(self) -> str:
        """It in words."""
        if self.elapsed_s is None:
            return f"{self.level}: writing {self.num_requests} requests"
        until = ""
        if self.send_s is not None and self.elapsed_s < self.send_s:
            until = f" of {self.send_s:.0f}"
        elif self.max_s is not None:
            until = f" of at most {self.max_s:.0f}"

        num_sent, num_ended, num_failed = self.count
        failed = f" ({num_failed} failed)" if num_failed else ""
        return (
            f"{self.level}: {self.elapsed_s:.0f}{until} s, {num_sent} of {self.num_requests} sent, "
            f"{num_ended} ended{failed}, {num_sent - num_ended} under way"
        )


Watch = Callable[[Progress], None]
