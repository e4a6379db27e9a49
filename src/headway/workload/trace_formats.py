"""Readers of the public traces, as they are published, and where each is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headway.errors import InputError, UnknownNameError
from headway.report.column import Value, column
from headway.report.report import Report
from headway.workload.oracle import Trace
from headway.workload.traces import Layout, Requests, lines_of, rows_of, whole


@dataclass(frozen=True, slots=True)
class Format:
    """One published format.

    Attributes:
        read: file to trace.
        what: one line.
        where: where to download it, and under which licence.

    """

    read: Callable[[Path], Trace]
    what: str
    where: str


def _timestamp_s(text: str) -> float:
    """Return a date such as 2023-11-16 18:15:46.6805900 in seconds."""
    # Azure writes seven decimals, Python reads six.
    date, _, fraction = text.strip().partition(".")
    digits = re.match(r"\d*", fraction)
    decimals = digits.group() if digits else ""
    return datetime.fromisoformat(date).timestamp() + float(f"0.{decimals or '0'}")


AZURE = Layout(
    arrival=("TIMESTAMP",),
    prompt=("ContextTokens",),
    output=("GeneratedTokens",),
    seconds=_timestamp_s,
    skips_failures=True,
)
BURSTGPT = Layout(
    arrival=("Timestamp",),
    prompt=("Request tokens",),
    output=("Response tokens",),
    skips_failures=True,
)
SERVEGEN = Layout(
    arrival=("timestamp", "arrival_s", "arrival_time"),
    prompt=("input_tokens", "prompt_tokens", "input_length"),
    output=("output_tokens", "output_length"),
)
MOONCAKE = Layout(
    arrival=("timestamp",),
    prompt=("input_length",),
    output=("output_length",),
    seconds=lambda text: float(text) * 1e-3,
    hashes={"hash_ids": 512},
)
QWEN_BAILIAN = Layout(
    arrival=("timestamp",),
    prompt=("input_length",),
    output=("output_length",),
    hashes={"hash_ids": 16},
)


def read_llmservingsim(path: Path) -> Trace:
    """LLMServingSim's JSON lines: input_toks, output_toks, arrival_time_ns, maybe input_tok_ids.

    Prompts that begin with the same tokens share the hashes of their blocks of 16.
    """
    requests = Requests()
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    for number, row in enumerate(rows_of(path), start=1):
        try:
            arrival_s = float(str(row["arrival_time_ns"])) * 1e-9
            requests.add(arrival_s, whole(row["input_toks"]), whole(row["output_toks"]))
        except (KeyError, ValueError) as error:
            raise InputError(f"line {number} of {path} is not of this format: {error!r}") from None

        # A block is its tokens and all blocks before it.
        tokens = row.get("input_tok_ids")
        tokens = tokens if isinstance(tokens, list) else []
        chain, parent = [], -1
        for at in range(0, len(tokens) - 15, 16):
            parent = numbers.setdefault((parent, tuple(tokens[at : at + 16])), len(numbers))
            chain.append(parent)
        requests.hashes.append(chain)
    return requests.trace(path, block_tokens=16)


_LOGGED = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?).*?"
    r"prompt_tokens[\"']?\s*[:=]\s*(?P<prompt>\d+).*?"
    r"(?:completion_tokens|output_tokens)[\"']?\s*[:=]\s*(?P<output>\d+)"
)


def read_vllm_log(path: Path) -> Trace:
    """Log lines with a date, prompt_tokens and completion_tokens, as a proxy before vLLM writes."""
    requests = Requests()
    for line in lines_of(path):
        if match := _LOGGED.search(line):
            arrival_s = _timestamp_s(match["time"].replace(",", "."))
            requests.add(arrival_s, int(match["prompt"]), int(match["output"]))
    if not requests.arrival_s:
        raise InputError(
            f"no line of {path} holds a date, prompt_tokens and completion_tokens; vLLM's own log "
            "does not: log the usage of every answer"
        )
    return requests.trace(path)


FORMATS = {
    "azure": Format(
        AZURE.read,
        "Azure LLM inference traces of 2023 and 2024",
        "github.com/Azure/AzurePublicDataset, AzureLLMInferenceTrace_conv.csv (CC-BY-4.0)",
    ),
    "mooncake": Format(
        MOONCAKE.read,
        "Mooncake traces with prefix hashes",
        "github.com/kvcache-ai/Mooncake, FAST25-release/traces (Apache-2.0)",
    ),
    "burstgpt": Format(
        BURSTGPT.read,
        "BurstGPT, ChatGPT and GPT-4 over 121 days",
        "github.com/HPMLL/BurstGPT, releases (CC-BY-4.0)",
    ),
    "servegen": Format(
        SERVEGEN.read,
        "requests generated with ServeGen",
        "github.com/alibaba/ServeGen (Apache-2.0): generate, then save",
    ),
    "qwen-bailian": Format(
        QWEN_BAILIAN.read,
        "Qwen-Bailian usage traces with prefix hashes",
        "github.com/alibaba-edu/qwen-bailian-usagetraces-anon",
    ),
    "llmservingsim": Format(
        read_llmservingsim,
        "datasets of LLMServingSim, the inputs of its measured vLLM runs",
        "github.com/casys-kaist/LLMServingSim, workloads (MIT)",
    ),
    "vllm-log": Format(
        read_vllm_log,
        "a log with a date, prompt_tokens and completion_tokens per line",
        "your own proxy or server",
    ),
}


def find_format(name: str) -> Format:
    """Return the format called ``name``; raise `UnknownNameError` with the nearest names."""
    if name not in FORMATS:
        raise UnknownNameError("trace format", name, FORMATS)
    return FORMATS[name]


@dataclass(frozen=True, slots=True)
class FormatRow:
    """A format that is read."""

    format: str = column("format", "its name")
    what: str = column("holds", "what is read")
    where: str = column("where", "where it is published, and under which licence")


def formats_report() -> Report[FormatRow]:
    """Return which formats are read, and where their traces are found."""
    rows = tuple(FormatRow(name, form.what, form.where) for name, form in FORMATS.items())
    return Report(kind="trace-formats", title="Formats of traces", question={}, rows=rows)


@dataclass(frozen=True, slots=True)
class TraceRow:
    """A trace in short."""

    requests: int = column("requests", "requests of the trace")
    span_s: float = column("span", "first to last arrival", unit="s")
    rate_rps: float = column("rate", "requests per second", unit="1/s")
    prompt_tokens_mean: float = column("prompt", "prompt tokens of a request, mean")
    output_tokens_mean: float = column("answer", "output tokens of a request, mean")
    block_tokens: int | None = column("hashed", "prompt tokens of a hashed block", digits=6)


def trace_report(trace: Trace, format: str) -> Report[TraceRow]:
    """Return ``trace``, which was read from a file in ``format``, in short."""
    row = TraceRow(
        requests=len(trace),
        span_s=float(trace.arrival_s[-1]),
        rate_rps=trace.rate_rps,
        prompt_tokens_mean=float(trace.prompt_tokens.mean()),
        output_tokens_mean=float(trace.output_tokens.mean()),
        block_tokens=None if trace.prefixes is None else trace.prefixes.tokens,
    )
    question: dict[str, Value] = {"format": format, "trace": trace.name, "num_requests": len(trace)}
    title = f"{trace.name}: {len(trace)} requests over {trace.arrival_s[-1]:.0f} s"
    return Report(kind="trace", title=title, question=question, rows=(row,))
