"""Traces in our own form: CSV, JSON lines or Parquet of arrival_s, prompt_tokens, output_tokens."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from headway.errors import InputError, MissingExtraError, reason
from headway.workload.oracle import BlockHashes, Ints, Trace

MOST_BYTES = 4 << 30


def read_trace(path: Path) -> Trace:
    """Our own form: CSV, JSON lines or Parquet of arrival_s, prompt_tokens, output_tokens.

    Optional are tenant, prompt (the text), and the hashes of the prompt's leading blocks: hash_ids
    with block_tokens (512 where not said), or prefix_hash16 for blocks of 16.

    Raises:
        InputError: the file cannot be read, a column is missing, or a value makes no sense.

    """
    rows: Iterable[dict[str, object]]
    if path.suffix == ".parquet":
        rows = _parquet_rows(path)
    elif path.suffix in (".jsonl", ".json"):
        rows = json_rows(path)
    else:
        rows = csv_rows(path)
    arrivals, prompts, outputs, hashes, tenants = [], [], [], [], []
    texts: list[str] = []
    block_tokens = 512
    for number, row in enumerate(rows, start=1):
        try:
            arrivals.append(float(str(row["arrival_s"])))
            prompts.append(whole(row["prompt_tokens"]))
            outputs.append(whole(row["output_tokens"]))
        except KeyError as error:
            raise InputError(
                f"{path} lacks column {error.args[0]!r}; a trace needs arrival_s, prompt_tokens "
                "and output_tokens, or try headway trace import"
            ) from None
        except ValueError as error:
            raise InputError(f"row {number} of {path}: {error}") from None
        tenants.append(str(row.get("tenant", "")))
        if isinstance(text := row.get("prompt"), str):
            texts.append(text)
        if isinstance(known := row.get("hash_ids"), list):
            hashes.append([int(h) for h in known])
            block_tokens = int(str(row.get("block_tokens", block_tokens)))
        elif isinstance(known := row.get("prefix_hash16"), list):
            hashes.append([int(h) for h in known])
            block_tokens = 16
    return assembled(path, arrivals, prompts, outputs, hashes, block_tokens, tenants, texts)


def write_trace(trace: Trace, path: Path) -> None:
    """Write our own form, JSON lines where ``path`` ends so, CSV otherwise (lengths only)."""
    lines = path.suffix == ".jsonl"
    with path.open("w", encoding="utf-8", newline="") as stream:
        if not lines:
            stream.write("arrival_s,prompt_tokens,output_tokens\n")
        for i in range(len(trace)):
            # repr is the shortest text that reads back as the same number.
            arrival = repr(float(trace.arrival_s[i]))
            prompt, output = int(trace.prompt_tokens[i]), int(trace.output_tokens[i])
            if not lines:
                stream.write(f"{arrival},{prompt},{output}\n")
                continue
            row: dict[str, object] = {"arrival_s": float(arrival)}
            row |= {"prompt_tokens": prompt, "output_tokens": output}
            if trace.tenants is not None:
                row["tenant"] = trace.tenant_name(int(trace.tenants[i]))
            if trace.prompts is not None:
                row["prompt"] = trace.prompts[i]
            if (known := trace.prefixes) is not None:
                row["hash_ids"] = known.hashes[known.first[i] : known.first[i + 1]].tolist()
                row["block_tokens"] = known.tokens
            stream.write(json.dumps(row) + "\n")


def _parquet_rows(path: Path) -> list[dict[str, object]]:
    try:
        from pyarrow import parquet  # type: ignore[import-untyped]  # ships no types
    except ImportError:
        raise MissingExtraError("reading Parquet", "parquet") from None
    try:
        rows: list[dict[str, object]] = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} as a trace: {reason(error)}") from None
    return rows


def assembled(
    path: Path,
    arrivals: list[float],
    prompts: list[int],
    outputs: list[int],
    hashes: list[list[int]] | None = None,
    block_tokens: int = 512,
    tenants: list[str] | None = None,
    texts: list[str] | None = None,
) -> Trace:
    """Columns in any order as a trace that begins at 0, in the order of arrival."""
    if not arrivals:
        raise InputError(f"{path} holds no request")
    times = np.asarray(arrivals)
    if not np.all(np.isfinite(times)):
        raise InputError(f"{path} holds an arrival that is not a finite number")
    order = np.argsort(times, kind="stable")
    prefixes = None
    if hashes and any(hashes):
        if len(hashes) != len(arrivals):
            raise InputError(f"{path} gives hash_ids for some requests only")
        prefixes = BlockHashes.of_lists([hashes[i] for i in order], block_tokens)
    numbers: Ints | None = None
    known_tenants: tuple[str, ...] = ()
    if tenants and any(tenants):
        names = {name: k for k, name in enumerate(sorted(set(tenants)))}
        numbers = np.array([names[tenants[i]] for i in order])
        known_tenants = tuple(names)
    if texts and len(texts) != len(arrivals):
        raise InputError(f"{path} gives a prompt for some requests only")
    start = times[order[0]]
    return Trace(
        times[order] - start,
        np.asarray(prompts)[order],
        np.asarray(outputs)[order],
        path.stem,
        prefixes,
        numbers,
        tuple(texts[i] for i in order) if texts else None,
        known_tenants,
    )


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that is not too large."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES >> 30} GiB")
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8") from None


def csv_rows(path: Path) -> Iterable[dict[str, object]]:
    """Rows by column."""
    return [dict(row) for row in csv.DictReader(lines_of(path))]


def json_rows(path: Path) -> Iterable[dict[str, object]]:
    """One object per line."""
    for number, line in enumerate(lines_of(path), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                raise InputError(f"line {number} of {path} is not JSON") from None
            if not isinstance(row, dict):
                raise InputError(f"line {number} of {path} is not an object")
            yield row


def whole(value: object) -> int:
    """A number of tokens; raise `ValueError` unless it is whole."""
    number = float(str(value))
    if number != int(number):
        raise ValueError(f"{value!r} is not a whole number of tokens")
    return int(number)
