"""Results of benchmark tools become points: vLLM, SGLang, InferenceX, guidellm and aiperf.

Each writes its own names; what is read of them is the concurrency, the mean lengths, the time per
output token and the time to first token, and what was measured. A file holds one result, a list, or
one per line. Where requests came at a rate, the concurrency follows from Little's law: requests per
second times the seconds of one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.errors import InputError, reason

MAX_FILE_BYTES = 200_000_000
MS = 1e-3
Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """One measured load: mean tokens, concurrency, seconds; ``None`` where a tool gives none.

    ``model``, ``engine``, ``hardware`` and ``tp`` are what was measured, in the file's words.
    """

    concurrency: float
    prompt_tokens: float
    output_tokens: float
    tpot_s: float | None
    ttft_s: float | None
    mean_ttft_s: float | None
    model: str | None = None
    engine: str | None = None
    hardware: str | None = None
    tp: int | None = None

    def __post_init__(self) -> None:
        if not (self.concurrency >= 1 and self.prompt_tokens >= 1 and self.output_tokens >= 1):
            raise InputError(
                "a result needs a concurrency, and prompts and answers of at least 1 token, not "
                f"{self.concurrency:g}, {self.prompt_tokens:g} and {self.output_tokens:g}"
            )
        for name in ("tpot_s", "ttft_s", "mean_ttft_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e6:
                raise InputError(f"{name} of a result must be above 0, not {value:g}")


def read_bench(path: Path) -> list[Bench]:
    """Return the results in ``path``; raise `InputError` where it holds none that is known."""
    name = path.name[:80]
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{name!r} is larger than {MAX_FILE_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name!r} cannot be read: {reason(error)}") from None

    results = [bench for tree in _trees(text, name) for bench in _benches(tree)]
    if not results:
        raise InputError(
            f"{name!r} holds no result of vLLM bench, SGLang bench, InferenceX, guidellm or aiperf"
        )
    return results


def _trees(text: str, name: str) -> Iterator[Tree]:
    try:
        tree = json.loads(text)
        trees = tree if isinstance(tree, list) else [tree]
    except RecursionError:
        raise InputError(f"{name!r} is nested too deeply") from None
    except ValueError:
        try:
            trees = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name!r} is neither JSON nor JSON lines: {error}") from None
    yield from (tree for tree in trees if isinstance(tree, dict))


def _benches(tree: Tree) -> Iterator[Bench]:
    if isinstance(tree.get("benchmarks"), list):
        for benchmark in tree["benchmarks"]:
            if isinstance(benchmark, dict):
                yield _guidellm(benchmark)
    elif "time_to_first_token" in tree:
        yield _aiperf(tree)
    elif "total_input_tokens" in tree:
        yield _bench_serve(tree)
    elif "conc" in tree and "isl" in tree:
        yield _inferencex(tree)


def _bench_serve(tree: Tree) -> Bench:
    """`vllm bench serve --save-result` and SGLang's `bench_serving`."""
    completed = _number(tree, "completed") or 0.0
    if completed < 1:
        raise InputError("a result of bench serve has no completed request")
    output_tokens = (_number(tree, "total_output_tokens") or 0.0) / completed
    tpot_ms = _number(tree, "mean_tpot_ms") or _number(tree, "median_tpot_ms")
    mean_ttft_ms = _number(tree, "mean_ttft_ms")

    # At a finite rate, --max-concurrency is a cap; in flight is what Little's law says.
    concurrency = _number(tree, "max_concurrency") or _number(tree, "concurrency")
    if math.isfinite(_number(tree, "request_rate") or math.inf):
        e2e_ms = _number(tree, "mean_e2el_ms") or _number(tree, "mean_e2e_latency_ms")
        duration_s = _number(tree, "duration")
        in_flight = _in_flight(
            None if duration_s is None else completed / duration_s,
            _seconds(e2e_ms) or _e2e_s(mean_ttft_ms, tpot_ms, output_tokens),
        )
        concurrency = min(in_flight or math.inf, concurrency or math.inf)

    return Bench(
        concurrency=concurrency if concurrency and math.isfinite(concurrency) else 0.0,
        prompt_tokens=(_number(tree, "total_input_tokens") or 0.0) / completed,
        output_tokens=output_tokens,
        tpot_s=_seconds(tpot_ms),
        ttft_s=_seconds(_number(tree, "median_ttft_ms")),
        mean_ttft_s=_seconds(mean_ttft_ms),
        model=_text(tree, "model_id"),
        engine=_text(tree, "backend"),
    )


def _inferencex(tree: Tree) -> Bench:
    """InferenceX's aggregated results, in seconds; real lengths are 0.9 of the nominal ones."""
    tp = _number(tree, "tp")
    return Bench(
        concurrency=_number(tree, "conc") or 0.0,
        prompt_tokens=0.9 * (_number(tree, "isl") or 0.0),
        output_tokens=0.9 * (_number(tree, "osl") or 0.0),
        tpot_s=_number(tree, "mean_tpot") or _number(tree, "median_tpot"),
        ttft_s=_number(tree, "median_ttft"),
        mean_ttft_s=_number(tree, "mean_ttft"),
        model=_text(tree, "model"),
        engine=_text(tree, "framework"),
        hardware=_text(tree, "hw"),
        tp=None if tp is None else int(tp),
    )


def _guidellm(tree: Tree) -> Bench:
    """One benchmark of guidellm; its time per output token includes the first, so gaps are read."""
    metrics = tree.get("metrics", {})
    strategy = _inside(tree, "config", "strategy") or _inside(tree, "args", "strategy") or {}

    def of(metric: str, statistic: str) -> float | None:
        return _number(_inside(metrics, metric, "successful") or {}, statistic)

    # Its mean of requests in flight is Little's law already; a strategy's maximum is a cap.
    in_flight = _number(strategy, "streams") or of("request_concurrency", "mean")
    return Bench(
        concurrency=in_flight or _number(strategy, "max_concurrency") or 0.0,
        prompt_tokens=of("prompt_token_count", "mean") or 0.0,
        output_tokens=of("output_token_count", "mean") or 0.0,
        tpot_s=_seconds(of("inter_token_latency_ms", "mean")),
        ttft_s=_seconds(of("time_to_first_token_ms", "median")),
        mean_ttft_s=_seconds(of("time_to_first_token_ms", "mean")),
        model=_text(_inside(tree, "worker") or {}, "backend_model")
        or _text(_inside(tree, "benchmarker", "backend") or {}, "model"),
    )


def _aiperf(tree: Tree) -> Bench:
    """An exported profile of aiperf; what it calls inter-token latency is one value per request."""
    load = _inside(tree, "input_config", "loadgen") or {}

    def of(metric: str, statistic: str = "avg") -> float | None:
        return _number(tree.get(metric, {}), statistic)

    output_tokens = of("output_sequence_length") or 0.0
    tpot_ms, mean_ttft_ms = of("inter_token_latency"), of("time_to_first_token")
    in_flight = _in_flight(
        of("request_throughput"),
        _seconds(of("request_latency")) or _e2e_s(mean_ttft_ms, tpot_ms, output_tokens),
    )
    is_open = _number(load, "request_rate") is not None
    names = (_inside(tree, "input_config", "endpoint") or {}).get("model_names")
    return Bench(
        concurrency=(None if is_open else _number(load, "concurrency")) or in_flight or 0.0,
        prompt_tokens=of("input_sequence_length") or 0.0,
        output_tokens=output_tokens,
        tpot_s=_seconds(tpot_ms),
        ttft_s=_seconds(of("time_to_first_token", "p50")),
        mean_ttft_s=_seconds(mean_ttft_ms),
        model=str(names[0]) if isinstance(names, list) and len(names) == 1 else None,
    )


def _in_flight(requests_per_s: float | None, e2e_s: float | None) -> float | None:
    """Return the mean requests in the system by Little's law, at least the one that is served."""
    if requests_per_s is None or e2e_s is None:
        return None
    return max(requests_per_s * e2e_s, 1.0)


def _e2e_s(ttft_ms: float | None, tpot_ms: float | None, output_tokens: float) -> float | None:
    """Return the seconds of a request from its parts, where a tool leaves them out."""
    if ttft_ms is None or tpot_ms is None:
        return None
    return (ttft_ms + tpot_ms * (output_tokens - 1)) * MS


def _inside(tree: object, *names: str) -> Tree | None:
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else None


def _number(tree: object, name: str) -> float | None:
    value = tree.get(name) if isinstance(tree, dict) else None
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable and value is not None else None


def _text(tree: object, name: str) -> str | None:
    value = tree.get(name) if isinstance(tree, dict) else None
    return value[:200] if isinstance(value, str) and value else None


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds * MS
