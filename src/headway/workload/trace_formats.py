"""Readers of the public traces, as they are published, and where each is found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headway.errors import InputError, UnknownNameError
from headway.workload.oracle import Trace
from headway.workload.traces import assembled, csv_rows, json_rows, lines_of, whole


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


def read_azure(path: Path) -> Trace:
    """Azure's CSV: TIMESTAMP, ContextTokens, GeneratedTokens."""
    return _columns(path, "TIMESTAMP", "ContextTokens", "GeneratedTokens", _timestamp)


def read_burstgpt(path: Path) -> Trace:
    """BurstGPT's CSV: Timestamp in seconds, Request tokens, Response tokens; failures left out."""
    return _columns(path, "Timestamp", "Request tokens", "Response tokens", float)


def read_servegen(path: Path) -> Trace:
    """ServeGen's generated requests as CSV or JSON lines: timestamp, input and output tokens."""
    rows = list(json_rows(path) if path.suffix == ".jsonl" else csv_rows(path))
    names = rows[0].keys() if rows else ()
    arrival = _first(path, names, "timestamp", "arrival_s", "arrival_time")
    prompt = _first(path, names, "input_tokens", "prompt_tokens", "input_length")
    output = _first(path, names, "output_tokens", "output_length")
    return assembled(
        path,
        [float(str(row[arrival])) for row in rows],
        [whole(row[prompt]) for row in rows],
        [whole(row[output]) for row in rows],
    )


def read_mooncake(path: Path) -> Trace:
    """Mooncake's JSON lines: timestamp in ms, input and output_length, hash_ids of 512 tokens."""
    return _hashed_lines(path, 1e-3, 512)


def read_qwen_bailian(path: Path) -> Trace:
    """Qwen-Bailian's JSON lines: timestamp in s, input and output_length, hash_ids of 16 tokens."""
    return _hashed_lines(path, 1.0, 16)


def read_llmservingsim(path: Path) -> Trace:
    """LLMServingSim's JSON lines: input_toks, output_toks, arrival_time_ns, maybe input_tok_ids.

    Prompts that begin with the same tokens share the hashes of their blocks of 16.
    """
    arrivals, prompts, outputs, hashes = [], [], [], []
    known: dict[tuple[int, tuple[int, ...]], int] = {}
    for number, row in enumerate(json_rows(path), start=1):
        try:
            arrivals.append(float(str(row["arrival_time_ns"])) * 1e-9)
            prompts.append(whole(row["input_toks"]))
            outputs.append(whole(row["output_toks"]))
        except (KeyError, ValueError) as error:
            raise InputError(f"line {number} of {path} is not of this format: {error!r}") from None
        tokens = row.get("input_tok_ids")
        tokens = tokens if isinstance(tokens, list) else []
        chain, parent = [], -1
        for at in range(0, len(tokens) - 15, 16):
            parent = known.setdefault((parent, tuple(tokens[at : at + 16])), len(known))
            chain.append(parent)
        hashes.append(chain)
    return assembled(path, arrivals, prompts, outputs, hashes, 16)


_LOGGED = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?).*?"
    r"prompt_tokens[\"']?\s*[:=]\s*(?P<prompt>\d+).*?"
    r"(?:completion_tokens|output_tokens)[\"']?\s*[:=]\s*(?P<output>\d+)"
)


def read_vllm_log(path: Path) -> Trace:
    """Log lines with a date, prompt_tokens and completion_tokens, as a proxy before vLLM writes."""
    arrivals, prompts, outputs = [], [], []
    for line in lines_of(path):
        if match := _LOGGED.search(line):
            arrivals.append(_timestamp(match["time"].replace(",", ".")))
            prompts.append(int(match["prompt"]))
            outputs.append(int(match["output"]))
    if not arrivals:
        raise InputError(
            f"no line of {path} holds a date, prompt_tokens and completion_tokens; vLLM's own log "
            "does not: log the usage of every answer"
        )
    return assembled(path, arrivals, prompts, outputs)


FORMATS = {
    "azure": Format(
        read_azure,
        "Azure LLM inference traces of 2023 and 2024",
        "github.com/Azure/AzurePublicDataset, AzureLLMInferenceTrace_conv.csv (CC-BY-4.0)",
    ),
    "mooncake": Format(
        read_mooncake,
        "Mooncake traces with prefix hashes",
        "github.com/kvcache-ai/Mooncake, FAST25-release/traces (Apache-2.0)",
    ),
    "burstgpt": Format(
        read_burstgpt,
        "BurstGPT, ChatGPT and GPT-4 over 121 days",
        "github.com/HPMLL/BurstGPT, releases (CC-BY-4.0)",
    ),
    "servegen": Format(
        read_servegen,
        "requests generated with ServeGen",
        "github.com/alibaba/ServeGen (Apache-2.0): generate, then save",
    ),
    "qwen-bailian": Format(
        read_qwen_bailian,
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
    """The reader called ``name``."""
    if name not in FORMATS:
        raise UnknownNameError("trace format", name, FORMATS)
    return FORMATS[name]


def _hashed_lines(path: Path, unit_s: float, block_tokens: int) -> Trace:
    arrivals, prompts, outputs, hashes = [], [], [], []
    for number, row in enumerate(json_rows(path), start=1):
        try:
            arrivals.append(float(str(row["timestamp"])) * unit_s)
            prompts.append(whole(row["input_length"]))
            outputs.append(whole(row["output_length"]))
            known = row.get("hash_ids", [])
            hashes.append([int(h) for h in known] if isinstance(known, list) else [])
        except (KeyError, ValueError) as error:
            raise InputError(f"line {number} of {path} is not of this format: {error!r}") from None
    return assembled(path, arrivals, prompts, outputs, hashes, block_tokens)


def _columns(
    path: Path, arrival: str, prompt: str, output: str, seconds: Callable[[str], float]
) -> Trace:
    arrivals, prompts, outputs = [], [], []
    for number, row in enumerate(csv_rows(path), start=1):
        try:
            tokens = whole(row[prompt]), whole(row[output])
            moment = seconds(str(row[arrival]))
        except KeyError as error:
            raise InputError(f"{path} lacks column {error.args[0]!r} of this format") from None
        except ValueError as error:
            raise InputError(f"row {number} of {path}: {error}") from None
        if min(tokens) < 1:
            continue  # a request that failed has no answer
        arrivals.append(moment)
        prompts.append(tokens[0])
        outputs.append(tokens[1])
    return assembled(path, arrivals, prompts, outputs)


def _first(path: Path, names: Iterable[str], *wanted: str) -> str:
    for name in wanted:
        if name in names:
            return name
    raise InputError(f"{path} has none of the columns {', '.join(wanted)}")


def _timestamp(text: str) -> float:
    # Azure writes seven decimals, Python reads six.
    whole, _, fraction = text.strip().partition(".")
    moment = datetime.fromisoformat(whole)
    digits = re.match(r"\d*", fraction)
    return moment.timestamp() + float(f"0.{(digits.group() if digits else '') or '0'}")
