"""A demand out of Prometheus: what engines counted, as its HTTP API answers.

One answer of ``/api/v1/query_range`` or a JSON list of them, over histograms of vLLM or SGLang::

    {__name__=~"vllm:request_(prompt|generation)_tokens_(bucket|sum|count)"}

Series of several engines are added up. Counters that start again count from 0. The rate is that of
the busiest hour; lengths are those of the whole range, prompt and answer independent of each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import InputError
from headway.plan.demand import SHAPE, scaled_lengths, steady_profile
from headway.plan.stream import Stream
from headway.user_file import read_json
from headway.workload.lengths import FINE_LEVELS, JointLengths
from headway.workload.oracle import Floats

PROMPTS = ("vllm:request_prompt_tokens", "sglang:prompt_tokens_histogram")
ANSWERS = ("vllm:request_generation_tokens", "sglang:generation_tokens_histogram")
# Totals and numbers of requests, where no histogram of lengths was kept.
PROMPT_TOTALS = ("vllm:prompt_tokens_total", "sglang:prompt_tokens_total")
ANSWER_TOTALS = ("vllm:generation_tokens_total", "sglang:generation_tokens_total")
REQUESTS = ("vllm:request_success_total", "sglang:num_requests_total")
WINDOW_S = 3600.0
MAX_BYTES = 200_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Counter:
    """Growth of a counter, all its series together.

    Attributes:
        time_s: at which it was read, rising; one time where only its state is known.
        growth: since the reading before; since its start where there is one reading.

    """

    time_s: Floats
    growth: Floats

    @property
    def total(self) -> float:
        """All that it grew."""
        return float(self.growth.sum())

    @property
    def busiest_per_s(self) -> float | None:
        """Growth per second in the busiest hour, or in all of a shorter range; else ``None``."""
        if len(self.time_s) < 2:
            return None
        counted = np.cumsum(self.growth)
        window_s = min(WINDOW_S, float(self.time_s[-1] - self.time_s[0]))
        starts_s = self.time_s[self.time_s + window_s <= self.time_s[-1] + 1e-9]
        after, before = (
            np.interp(t, self.time_s, counted) for t in (starts_s + window_s, starts_s)
        )
        return float((after - before).max() / window_s)


def read_prometheus(
    path: str | Path, rate_rps: float | None, max_context_tokens: int | None
) -> Stream:
    """Return the requests that the answer in ``path`` tells of.

    Args:
        path: what Prometheus answered, as JSON.
        rate_rps: instead of that of the busiest hour.
        max_context_tokens: of the model.

    Raises:
        InputError: it is no such answer, tells of no request, or of no rate.

    """
    counters = _counters(read_json(path, "an answer of Prometheus, as JSON", MAX_BYTES))
    prompts, answers = (_lengths(counters, names) for names in (PROMPTS, ANSWERS))
    requests = _first(counters, tuple(f"{name}_count" for name in PROMPTS) + REQUESTS)
    if requests is None or requests.total <= 0:
        raise InputError(
            f"{Path(path).name} counts no requests; it should hold {PROMPTS[0]}_bucket and _count, "
            f"or {REQUESTS[0]}"
        )

    rate = rate_rps or requests.busiest_per_s
    if not rate:
        raise InputError(
            f"{Path(path).name} holds one reading, which tells no rate: ask query_range, or give "
            "--rate"
        )
    if prompts is not None and answers is not None:
        lengths = JointLengths(prompts, (answers,))
    else:
        means = [_first(counters, names) for names in (PROMPT_TOTALS, ANSWER_TOTALS)]
        prompt, output = (None if m is None else m.total / requests.total for m in means)
        if not prompt or not output:
            raise InputError(f"{Path(path).name} does not tell how long prompts and answers are")
        lengths = scaled_lengths(max(prompt, 1.0), max(output, 1.0), SHAPE)

    profile = steady_profile(lengths, Path(path).name, rate)
    return Stream(profile, rate, max_context_tokens=max_context_tokens)


def _counters(answers: Any) -> dict[str, dict[str, Counter]]:
    """Return counters by name and by the bound of their bucket, empty where they have none."""
    series: dict[tuple[str, str], list[tuple[Floats, Floats]]] = defaultdict(list)
    for entry in _entries(answers):
        name = str(entry["metric"].get("__name__", ""))
        points = entry.get("values") or [entry["value"]]
        try:
            table = np.array([(float(t), float(v)) for t, v in points])
        except (TypeError, ValueError):
            raise InputError(
                f"the values of {name or 'a series'} are no pairs of numbers"
            ) from None
        if len(table) and np.isfinite(table).all():
            series[name, str(entry["metric"].get("le", ""))].append((table[:, 0], table[:, 1]))

    counters: dict[str, dict[str, Counter]] = defaultdict(dict)
    for (name, bound), parts in series.items():
        times_s = np.unique(np.concatenate([time_s for time_s, _ in parts]))
        growth = np.zeros(len(times_s))
        for time_s, values in parts:
            # What a counter shows after it has started again is all growth.
            steps = np.diff(values)
            steps = np.where(steps < 0, values[1:], steps)
            first = values[:1] if len(times_s) == 1 else np.zeros(1)
            growth[np.searchsorted(times_s, time_s)] += np.concatenate([first, steps])
        counters[name][bound] = Counter(times_s, growth)
    return counters


def _entries(answers: Any) -> Iterator[dict[str, Any]]:
    """Yield the series of all answers."""
    for answer in answers if isinstance(answers, list) else [answers]:
        result = answer.get("data", answer).get("result") if isinstance(answer, dict) else None
        if not isinstance(result, list):
            raise InputError(
                "an answer of Prometheus has data.result, a list of series; ask "
                "/api/v1/query_range and give what it answers"
            )
        for entry in result:
            is_series = isinstance(entry, dict) and isinstance(entry.get("metric"), dict)
            if not is_series or not (entry.get("values") or entry.get("value")):
                raise InputError("a series of Prometheus has a metric, and value or values")
            yield entry


def _lengths(
    counters: dict[str, dict[str, Counter]], names: tuple[str, ...]
) -> tuple[float, ...] | None:
    """Return quantiles of a histogram of tokens, linear within buckets; ``None`` without one."""
    for name in names:
        buckets = counters.get(f"{name}_bucket")
        if not buckets:
            continue
        bounds = sorted(buckets, key=lambda bound: float(bound.replace("+Inf", "inf") or "inf"))
        counts = np.array([buckets[bound].total for bound in bounds])
        if counts[-1] <= 0:
            continue

        # What is beyond the last bound is taken to be as long as it.
        tokens = np.array([float(b.replace("+Inf", "inf") or "inf") for b in bounds])
        tokens[~np.isfinite(tokens)] = tokens[np.isfinite(tokens)].max(initial=1.0)
        levels = np.concatenate([[0.0], np.maximum.accumulate(counts) / counts.max()])
        quantiles = np.interp(FINE_LEVELS, levels, np.concatenate([[0.0], tokens]))
        quantiles[0] = tokens[np.argmax(levels[1:] > 0) - 1] if levels[1] == 0 else 0.0

        # Where the sum was kept, the mean is exact.
        total, count = (_first(counters, (f"{name}_{end}",)) for end in ("sum", "count"))
        if total is not None and count is not None and count.total > 0:
            mean = float(np.trapezoid(quantiles, FINE_LEVELS))
            quantiles = quantiles * (total.total / count.total) / max(mean, 1e-9)
        return tuple(float(q) for q in np.maximum.accumulate(np.maximum(quantiles, 1.0)))
    return None


def _first(counters: dict[str, dict[str, Counter]], names: tuple[str, ...]) -> Counter | None:
    """Return the first of ``names`` that was counted, its series of all labels together."""
    for name in names:
        if name in counters:
            return next(iter(counters[name].values()))
    return None
