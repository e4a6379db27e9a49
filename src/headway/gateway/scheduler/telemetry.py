"""Numbers for Prometheus: vLLM's names with our prefix, so that its dashboards can be reused."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

from headway.record.entry import Entry
from headway.workload.record import DONE

SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
TOKENS = tuple(float(m * 10**e) for e in range(6) for m in (1, 2, 5))
Gauge = tuple[str, str, float]  # name, labels, value
User = tuple[str, str, str]  # tenant, model, class
MAX_USERS = 1000  # names come from outside and must not fill the memory
OTHERS: User = ("other", "other", "other")


class Histogram:
    """Counts per bucket."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Nothing was counted yet."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def count(self, value: float) -> None:
        """Count ``value``."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        """Yield its lines in Prometheus' text format."""
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
        self.ends: Counter[tuple[str, str]] = Counter()  # by status and reason
        self.tokens: Counter[str] = Counter()
        self.users: Counter[User] = Counter()  # requests
        self.user_tokens: Counter[User] = Counter()  # of prompts and answers
        self.predicted = self.within_p90 = 0
        self.queue_s, self.ttft_s, self.tpot_s, self.e2e_s = (Histogram(SECONDS) for _ in range(4))
        self.prompt_tokens, self.output_tokens = Histogram(TOKENS), Histogram(TOKENS)

    def count(self, entry: Entry, class_name: str = "") -> None:
        """A request of a class, if it had one, has ended."""
        self.ends[entry.status, entry.reason] += 1
        user = entry.tenant, entry.model, class_name
        if user not in self.users and len(self.users) >= MAX_USERS:
            user = OTHERS
        self.users[user] += 1
        self.user_tokens[user] += entry.prompt_tokens * (entry.status == DONE) + entry.output_tokens

        if entry.sent_s is not None:
            self.queue_s.count(entry.sent_s - entry.arrival_s)
        if entry.status != DONE or entry.first_s is None or entry.last_s is None:
            return

        self.tokens["prompt"] += entry.prompt_tokens
        self.tokens["generation"] += entry.output_tokens
        self.prompt_tokens.count(entry.prompt_tokens)
        self.output_tokens.count(entry.output_tokens)
        self.e2e_s.count(entry.last_s - entry.arrival_s)
        if entry.p90_tokens is not None:
            self.predicted += 1
            self.within_p90 += entry.output_tokens <= entry.p90_tokens

        # Of a whole answer neither TTFT nor TPOT can be seen.
        if entry.stream:
            self.ttft_s.count(entry.first_s - entry.arrival_s)
            if entry.output_tokens > 1:
                self.tpot_s.count((entry.last_s - entry.first_s) / (entry.output_tokens - 1))

    def text(self, gauges: Iterable[Gauge]) -> bytes:
        """Return all of it, and ``gauges``, in Prometheus' text format."""
        lines = [*_gauge_lines(gauges), *self._counter_lines()]
        for name, histogram in (
            ("time_to_first_token_seconds", self.ttft_s),
            ("request_time_per_output_token_seconds", self.tpot_s),
            ("e2e_request_latency_seconds", self.e2e_s),
            ("request_queue_time_seconds", self.queue_s),
            ("request_prompt_tokens", self.prompt_tokens),
            ("request_generation_tokens", self.output_tokens),
        ):
            lines.append(f"# TYPE headway:{name} histogram")
            lines.extend(histogram.lines(f"headway:{name}"))
        return ("\n".join(lines) + "\n").encode()

    def _counter_lines(self) -> Iterator[str]:
        yield "# TYPE headway:request_success counter"
        successes = sum(n for (status, _), n in self.ends.items() if status == DONE)
        yield f"headway:request_success_total {successes}"

        yield "# TYPE headway:request_ended counter"
        for (status, reason), n in sorted(self.ends.items()):
            labels = f'status="{status}",reason="{label(reason)}"'
            yield f"headway:request_ended_total{{{labels}}} {n}"

        for name, counter in (("requests", self.users), ("tokens", self.user_tokens)):
            yield f"# TYPE headway:{name} counter"
            for (tenant, model, class_name), n in sorted(counter.items()):
                labels = f'tenant="{label(tenant)}",model="{label(model)}"'
                yield f'headway:{name}_total{{{labels},class="{label(class_name)}"}} {n}'

        for name, count in (
            ("prompt_tokens", self.tokens["prompt"]),
            ("generation_tokens", self.tokens["generation"]),
            ("predicted_answers", self.predicted),
            ("predicted_answers_within_p90", self.within_p90),
        ):
            yield f"# TYPE headway:{name} counter"
            yield f"headway:{name}_total {count}"


def _gauge_lines(gauges: Iterable[Gauge]) -> Iterator[str]:
    """Yield the lines of ``gauges``; a name has one line of its type, before its first value."""
    typed: set[str] = set()
    for name, labels, value in gauges:
        if name not in typed:
            typed.add(name)
            yield f"# TYPE headway:{name} gauge"
        yield f"headway:{name}{{{labels}}} {value:.9g}" if labels else f"headway:{name} {value:.9g}"


def label(text: str) -> str:
    """Return ``text`` as the value of a label."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
