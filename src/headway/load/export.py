"""Results in the forms of other tools, and back: ``vllm bench serve`` and guidellm."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import InputError, reason
from headway.load.answer import Answer, Outcome
from headway.load.measure import LoadRow, summarize
from headway.report.estimate import Estimate
from headway.report.files import write_atomically
from headway.report.report import Report
from headway.workload.aggregate import Latency


@dataclass(frozen=True, slots=True)
class Level:
    """What a server did at one level of load.

    Attributes:
        concurrency: kept under way, in a closed loop.
        rate_rps: that was sent, in an open loop.
        outcome: without the warm-up.
        is_overloaded: whether the server fell behind, by all of the run; ``None``: a closed loop.

    """

    concurrency: int | None
    rate_rps: float | None
    outcome: Outcome
    is_overloaded: bool | None = None


def write_export(path: Path, levels: Sequence[Level], model: str) -> None:
    """Write ``levels``: a row a request (.csv), as guidellm (.guidellm.json) or as vLLM does.

    vLLM's form has one level, the last one.
    """
    if path.suffix == ".csv":
        write_atomically(path, _as_csv(levels))
        return
    if path.name.endswith(".guidellm.json"):
        tree = {"benchmarks": [_as_guidellm(level.outcome, model) for level in levels]}
    else:
        tree = _as_vllm(levels[-1].outcome, model)
    write_atomically(path, json.dumps(tree, allow_nan=False) + "\n")


_CSV_COLUMNS = (
    "sent_per_s", "concurrency", "number", "due_s", "sent_s", "ttft_s", "tpot_s", "e2e_s",
    "prompt_tokens", "output_tokens", "status", "problem",
)  # fmt: skip


def _as_csv(levels: Sequence[Level]) -> str:
    """Return one row for each request; times are seconds from the start of its level."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_CSV_COLUMNS)
    for level in levels:
        outcome = level.outcome
        for answer, record in zip(outcome.answers, outcome.records, strict=True):
            rows.writerow([
                level.rate_rps, level.concurrency, answer.number,
                answer.due_s - outcome.start_s, answer.sent_s - outcome.start_s,
                record.ttft_s, record.tpot_s, record.e2e_s, answer.prompt_tokens,
                answer.output_tokens, answer.status, answer.problem,
            ])  # fmt: skip
    return text.getvalue()


def _as_vllm(outcome: Outcome, model: str) -> dict[str, Any]:
    """Return the keys of ``vllm bench serve --save-result --save-detailed``; times are in ms."""
    row = summarize(outcome)
    answers = outcome.answers
    tree: dict[str, Any] = {
        "backend": "openai-chat",
        "model_id": model,
        "num_prompts": len(answers),
        "duration": row.span_s,
        "completed": row.requests - row.unfinished,
        "failed": row.unfinished,
        "total_input_tokens": sum(a.prompt_tokens for a in answers),
        "total_output_tokens": sum(a.output_tokens for a in answers),
        "request_throughput": row.requests_per_s,
        "output_throughput": row.output_tok_per_s,
    }

    # One value for each request.
    tree |= {
        "start_times": [a.due_s - outcome.start_s for a in answers],
        "input_lens": [a.prompt_tokens for a in answers],
        "output_lens": [a.output_tokens for a in answers],
        "ttfts": [a.token_s[0] - a.due_s if a.token_s else 0.0 for a in answers],
        "itls": [np.diff(a.token_s).tolist() for a in answers],
        "errors": [a.problem for a in answers],
    }

    # Statistics under vLLM's names.
    for ours, theirs in (("ttft", "ttft"), ("tpot", "tpot"), ("itl", "itl"), ("e2e", "e2el")):
        for which, name in (("mean", "mean"), ("p50", "median"), ("p99", "p99")):
            value: Latency = getattr(row, f"{ours}_{which}_s")
            seconds = value.expected if isinstance(value, Estimate) else value
            tree[f"{name}_{theirs}_ms"] = None if seconds is None else 1e3 * seconds
    return tree


def _as_guidellm(outcome: Outcome, model: str) -> dict[str, Any]:
    """The part of guidellm's benchmark report that its readers need: every request's times."""
    requests: dict[str, list[dict[str, Any]]] = {"successful": [], "errored": [], "incomplete": []}
    for a in outcome.answers:
        first = a.token_s[0] if a.token_s else None
        last = a.token_s[-1] if a.token_s else None
        gaps = np.diff(a.token_s) if len(a.token_s) > 1 else np.zeros(0)
        requests["errored" if a.problem else "successful"].append({
            "request_id": str(a.number),
            "request_start_time": a.due_s,
            "first_token_time": first,
            "last_token_time": last,
            "prompt_tokens": a.prompt_tokens,
            "output_tokens": a.output_tokens,
            "time_to_first_token_ms": None if first is None else 1e3 * (first - a.due_s),
            "inter_token_latency_ms": 1e3 * float(gaps.mean()) if len(gaps) else None,
            "request_latency": None if last is None else last - a.due_s,
        })  # fmt: skip
    return {"config": {"model": model}, "start_time": outcome.start_s, "requests": requests}


def read_results(path: Path) -> Outcome:
    """Read a result file of ``vllm bench serve`` (with details) or of guidellm.

    Raises:
        InputError: it is neither.
    """
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None
    try:
        if "ttfts" in tree:
            return _from_vllm(tree)
        if "benchmarks" in tree:
            return _from_guidellm(tree)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error!r}") from None
    raise InputError(f"{path} is no result of vllm bench serve --save-detailed, nor of guidellm")


def results_report(path: Path) -> Report[LoadRow]:
    """Return the figures of a result file, computed anew from its requests."""
    return Report(
        kind="load",
        title=f"{path.name}, read anew",
        question={"path": str(path)},
        rows=(summarize(read_results(path), server=path.name),),
    )


def _from_vllm(tree: dict[str, Any]) -> Outcome:
    ttfts = tree["ttfts"]
    starts = tree.get("start_times") or [0.0] * len(ttfts)
    problems = tree.get("errors") or [""] * len(ttfts)
    columns = (starts, ttfts, tree["itls"], tree["input_lens"], tree["output_lens"], problems)

    answers: list[Answer] = []
    for start_s, ttft_s, gaps_s, prompt, output, problem in zip(*columns, strict=True):
        due_s = float(start_s)
        times_s = (due_s + float(ttft_s) + np.cumsum([0.0, *gaps_s])).tolist()
        tokens = prompt, output
        answers.append(_answer(len(answers), due_s, times_s, tokens, str(problem)[:200]))
    return Outcome(0.0, tuple(answers))


def _from_guidellm(tree: dict[str, Any]) -> Outcome:
    requests = tree["benchmarks"][-1]["requests"]
    answers: list[Answer] = []
    for kind, problem in (("successful", ""), ("errored", "error"), ("incomplete", "incomplete")):
        for request in requests.get(kind, []):
            prompt, output = request.get("prompt_tokens"), request.get("output_tokens")
            due_s = float(request["request_start_time"])

            # Only the first and the last token have a time: the others lie evenly between them.
            times_s: list[float] = []
            if not problem:
                ends_s = float(request["first_token_time"]), float(request["last_token_time"])
                times_s = np.linspace(*ends_s, max(int(output or 0), 1)).tolist()
            answers.append(_answer(len(answers), due_s, times_s, (prompt, output), problem))
    start_s = min((a.due_s for a in answers), default=0.0)
    return Outcome(start_s, tuple(answers))


def _answer(
    number: int, due_s: float, times_s: list[float], tokens: tuple[Any, Any], problem: str
) -> Answer:
    prompt_tokens, output_tokens = tokens
    return Answer(
        number=number,
        due_s=due_s,
        sent_s=due_s,
        token_s=() if problem else tuple(times_s),
        prompt_tokens=int(prompt_tokens or 0),
        output_tokens=int(output_tokens or 0),
        status=0 if problem else 200,
        problem=problem,
    )
