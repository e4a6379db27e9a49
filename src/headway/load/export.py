"""Results in the forms of other tools, and back: ``vllm bench serve`` and guidellm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import InputError, reason
from headway.load.answer import Answer, Outcome
from headway.load.measure import measured
from headway.report.files import write_atomically


def write_export(path: Path, outcome: Outcome, model: str) -> None:
    """Write ``outcome`` as guidellm does if ``path`` ends in .guidellm.json, else as vLLM does."""
    make = _as_guidellm if path.name.endswith(".guidellm.json") else _as_vllm
    write_atomically(path, json.dumps(make(outcome, model), allow_nan=False) + "\n")


def _as_vllm(outcome: Outcome, model: str) -> dict[str, Any]:
    """The keys of ``vllm bench serve --save-result --save-detailed``; times there are in ms."""
    row = measured(outcome)
    answers = outcome.answers
    tree: dict[str, Any] = {
        "backend": "openai-chat",
        "model_id": model,
        "num_prompts": len(answers),
        "duration": row["duration_s"],
        "completed": sum(not a.problem for a in answers),
        "failed": row["failed"],
        "total_input_tokens": sum(a.prompt_tokens for a in answers),
        "total_output_tokens": sum(a.output_tokens for a in answers),
        "request_throughput": row["requests_per_s"],
        "output_throughput": row["output_tok_per_s"],
        "start_times": [a.due_s - outcome.start_s for a in answers],
        "input_lens": [a.prompt_tokens for a in answers],
        "output_lens": [a.output_tokens for a in answers],
        "ttfts": [a.token_s[0] - a.due_s if a.token_s else 0.0 for a in answers],
        "itls": [np.diff(a.token_s).tolist() for a in answers],
        "errors": [a.problem for a in answers],
    }
    for ours, theirs in (("ttft", "ttft"), ("tpot", "tpot"), ("itl", "itl"), ("e2e", "e2el")):
        for which, name in (("mean", "mean"), ("p50", "median"), ("p99", "p99")):
            value = row[f"{ours}_{which}_s"]
            tree[f"{name}_{theirs}_ms"] = None if value is None else 1e3 * float(value)
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
    return {"benchmarks": [{"config": {"model": model}, "start_time": outcome.start_s,
                            "requests": requests}]}  # fmt: skip


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


def _from_vllm(tree: dict[str, Any]) -> Outcome:
    answers: list[Answer] = []
    starts = tree.get("start_times") or [0.0] * len(tree["ttfts"])
    columns = zip(starts, tree["ttfts"], tree["itls"], tree["input_lens"], tree["output_lens"],
                  tree.get("errors") or [""] * len(starts), strict=True)  # fmt: skip
    for number, (start_s, ttft_s, gaps, prompt, output, problem) in enumerate(columns):
        due_s = float(start_s)
        times = tuple((due_s + float(ttft_s) + np.cumsum([0.0, *gaps])).tolist())
        answers.append(
            Answer(number, due_s, due_s, () if problem else times, int(prompt), int(output),
                   200 if not problem else 0, str(problem)[:200])
        )  # fmt: skip
    return Outcome(0.0, tuple(answers))


def _from_guidellm(tree: dict[str, Any]) -> Outcome:
    answers: list[Answer] = []
    benchmark = tree["benchmarks"][-1]
    for kind, problem in (("successful", ""), ("errored", "error"), ("incomplete", "incomplete")):
        for request in benchmark["requests"].get(kind, []):
            due_s = float(request["request_start_time"])
            output = int(request.get("output_tokens") or 0)
            times: tuple[float, ...] = ()
            if not problem:
                first, last = float(request["first_token_time"]), float(request["last_token_time"])
                times = tuple(np.linspace(first, last, max(output, 1)).tolist())
            prompt = int(request.get("prompt_tokens") or 0)
            status = 0 if problem else 200
            answers.append(
                Answer(len(answers), due_s, due_s, times, prompt, output, status, problem)
            )
    start_s = min((a.due_s for a in answers), default=0.0)
    return Outcome(start_s, tuple(answers))
