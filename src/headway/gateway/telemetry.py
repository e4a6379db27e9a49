"""Numbers for Prometheus: vLLM's names with our prefix, so that its dashboards can be reused."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

from headway.record.entry import Entry
from headway.workload.record import DONE

_SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
_TOKENS = tuple(float(m * 10**e) for e in range(6) for m in (1, 2, 5))


class Histogram:
    """Counts per bucket."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Nothing was seen yet."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def see(self, value: float) -> None:
        """Count ``value``."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str = "") -> Iterable[str]:
        """Its lines in Prometheus' text format."""
        comma = "," if labels else ""
        running = 0
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            running += count
            edge = "+Inf" if bound is None else f"{bound:g}"
            yield f'{name}_bucket{{{labels}{comma}le="{edge}"}} {running}'
        tail = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{tail} {self.total:.9g}"
        yield f"{name}_count{tail} {running}"


class Telemetry:
    """What has happened since the start."""

    def __init__(self) -> None:
        """Nothing has."""
        self.ended: Counter[tuple[str, str]] = Counter()
        self.tokens: Counter[str] = Counter()
        self.covered = self.predicted = 0
        self.histograms = {
            "time_to_first_token_seconds": Histogram(_SECONDS),
            "request_time_per_output_token_seconds": Histogram(_SECONDS),
            "e2e_request_latency_seconds": Histogram(_SECONDS),
            "request_queue_time_seconds": Histogram(_SECONDS),
            "request_prompt_tokens": Histogram(_TOKENS),
            "request_generation_tokens": Histogram(_TOKENS),
        }

    def see(self, entry: Entry) -> None:
        """A request has ended."""
        self.ended[entry.status, entry.reason] += 1
        see = self.histograms
        if entry.sent_s is not None:
            see["request_queue_time_seconds"].see(entry.sent_s - entry.arrival_s)
        if entry.status != DONE or entry.first_s is None or entry.last_s is None:
            return
        self.tokens["prompt"] += entry.prompt_tokens
        self.tokens["generation"] += entry.output_tokens
        see["request_prompt_tokens"].see(entry.prompt_tokens)
        see["request_generation_tokens"].see(entry.output_tokens)
        see["e2e_request_latency_seconds"].see(entry.last_s - entry.arrival_s)
        if entry.p90_tokens is not None:
            self.predicted += 1
            self.covered += entry.output_tokens <= entry.p90_tokens
        if not entry.stream:
            return
        see["time_to_first_token_seconds"].see(entry.first_s - entry.arrival_s)
        if entry.output_tokens > 1:
            gap_s = (entry.last_s - entry.first_s) / (entry.output_tokens - 1)
            see["request_time_per_output_token_seconds"].see(gap_s)

    def text(self, gauges: Iterable[tuple[str, str, float]]) -> bytes:
        """All of it in Prometheus' text format; ``gauges`` are (name, labels, value)."""
        lines: list[str] = []
        named: set[str] = set()
        for name, labels, value in gauges:
            if name not in named:
                named.add(name)
                lines.append(f"# TYPE headway:{name} gauge")
            lines.append(f"headway:{name}{{{labels}}} {value:.9g}" if labels
                         else f"headway:{name} {value:.9g}")  # fmt: skip
        lines.append("# TYPE headway:request_success counter")
        success = sum(n for (status, _), n in self.ended.items() if status == DONE)
        lines.append(f"headway:request_success_total {success}")
        lines.append("# TYPE headway:request_ended counter")
        for (status, reason), n in sorted(self.ended.items()):
            labels = f'status="{status}",reason="{label(reason)}"'
            lines.append(f"headway:request_ended_total{{{labels}}} {n}")
        for name in ("prompt", "generation"):
            lines.append(f"# TYPE headway:{name}_tokens counter")
            lines.append(f"headway:{name}_tokens_total {self.tokens[name]}")
        for what, count in (("answers", self.predicted), ("answers_within_p90", self.covered)):
            lines.append(f"# TYPE headway:predicted_{what} counter")
            lines.append(f"headway:predicted_{what}_total {count}")
        for name, histogram in self.histograms.items():
            lines.append(f"# TYPE headway:{name} histogram")
            lines.extend(histogram.lines(f"headway:{name}"))
        return ("\n".join(lines) + "\n").encode()


def label(text: str) -> str:
    """``text`` as the value of a label."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
