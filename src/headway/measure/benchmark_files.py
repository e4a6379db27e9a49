"""Results of benchmark tools become points: vLLM, SGLang, InferenceX, guidellm and aiperf.

Each writes its own names; what is read of them is the concurrency, the mean lengths, the time per
output token and the time to first token. A file holds one result, a list, or one per line.
"""

from __future__ import annotations

import json
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
    """One measured load: mean tokens, concurrency, seconds; ``None`` where a tool gives none."""

    concurrency: float
    prompt_tokens: float
    output_tokens: float
    tpot_s: float | None
    ttft_s: float | None
    mean_ttft_s: float | None

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
    concurrency = _number(tree, "max_concurrency") or _number(tree, "concurrency")
    tpot = _number(tree, "mean_tpot_ms") or _number(tree, "median_tpot_ms")
    return Bench(
        concurrency=concurrency or 0.0,
        prompt_tokens=(_number(tree, "total_input_tokens") or 0.0) / completed,
        output_tokens=(_number(tree, "total_output_tokens") or 0.0) / completed,
        tpot_s=_seconds(tpot),
        ttft_s=_seconds(_number(tree, "median_ttft_ms")),
        mean_ttft_s=_seconds(_number(tree, "mean_ttft_ms")),
    )


def _inferencex(tree: Tree) -> Bench:
    """InferenceX's aggregated results, in seconds; real lengths are 0.9 of the nominal ones."""
    return Bench(
        concurrency=_number(tree, "conc") or 0.0,
        prompt_tokens=0.9 * (_number(tree, "isl") or 0.0),
        output_tokens=0.9 * (_number(tree, "osl") or 0.0),
        tpot_s=_number(tree, "mean_tpot") or _number(tree, "median_tpot"),
        ttft_s=_number(tree, "median_ttft"),
        mean_ttft_s=_number(tree, "mean_ttft"),
    )


def _guidellm(tree: Tree) -> Bench:
    """One benchmark of guidellm; its time per output token includes the first, so gaps are read."""
    metrics = tree.get("metrics", {})
    strategy = _inside(tree, "config", "strategy") or _inside(tree, "args", "strategy") or {}
    streams = _number(strategy, "streams") or _number(strategy, "max_concurrency")
    if streams is None:
        streams = _number(_inside(metrics, "request_concurrency", "successful") or {}, "mean")

    def of(metric: str, statistic: str) -> float | None:
        return _number(_inside(metrics, metric, "successful") or {}, statistic)

    return Bench(
        concurrency=streams or 0.0,
        prompt_tokens=of("prompt_token_count", "mean") or 0.0,
        output_tokens=of("output_token_count", "mean") or 0.0,
        tpot_s=_seconds(of("inter_token_latency_ms", "mean")),
        ttft_s=_seconds(of("time_to_first_token_ms", "median")),
        mean_ttft_s=_seconds(of("time_to_first_token_ms", "mean")),
    )


def _aiperf(tree: Tree) -> Bench:
    """An exported profile of aiperf; what it calls inter-token latency is one value per request."""
    load = _inside(tree, "input_config", "loadgen") or {}

    def of(metric: str, statistic: str) -> float | None:
        return _number(tree.get(metric, {}), statistic)

    return Bench(
        concurrency=_number(load, "concurrency") or 0.0,
        prompt_tokens=of("input_sequence_length", "avg") or 0.0,
        output_tokens=of("output_sequence_length", "avg") or 0.0,
        tpot_s=_seconds(of("inter_token_latency", "avg")),
        ttft_s=_seconds(of("time_to_first_token", "p50")),
        mean_ttft_s=_seconds(of("time_to_first_token", "avg")),
    )


def _inside(tree: object, *names: str) -> Tree | None:
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else None


def _number(tree: object, name: str) -> float | None:
    value = tree.get(name) if isinstance(tree, dict) else None
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable and value is not None else None


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds * MS
