"""Traces as files: rows of any layout are read, our own is written.

Our own form is CSV, JSON lines or Parquet of arrival_s, prompt_tokens and output_tokens. Optional
are tenant, prompt (the text), and the hashes of the prompt's leading blocks: hash_ids with
block_tokens (512 where not given), or prefix_hash16 for blocks of 16.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headway.errors import InputError, MissingExtraError, reason
from headway.workload.oracle import BlockHashes, Ints, Trace

MAX_BYTES = 4 << 30
BLOCK_TOKENS = 512
Row = Mapping[str, object]


@dataclass(slots=True)
class Requests:
    """Requests as they are read, in any order."""

    arrival_s: list[float] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)
    output_tokens: list[int] = field(default_factory=list)
    hashes: list[list[int]] = field(default_factory=list)
    tenants: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    def add(self, arrival_s: float, prompt_tokens: int, output_tokens: int) -> None:
        """Add one request."""
        self.arrival_s.append(arrival_s)
        self.prompt_tokens.append(prompt_tokens)
        self.output_tokens.append(output_tokens)

    def trace(self, path: Path, block_tokens: int = BLOCK_TOKENS) -> Trace:
        """Return the trace, which begins at 0, in the order of arrival.

        Raises:
            InputError: there is no request, or something is known of some requests only.

        """
        if not self.arrival_s:
            raise InputError(f"{path} holds no request")
        times = np.asarray(self.arrival_s)
        if not np.all(np.isfinite(times)):
            raise InputError(f"{path} holds an arrival that is not a finite number")
        order = np.argsort(times, kind="stable")

        prefixes = None
        if any(self.hashes):
            if len(self.hashes) != len(times):
                raise InputError(f"{path} gives hash_ids for some requests only")
            prefixes = BlockHashes.of_lists([self.hashes[i] for i in order], block_tokens)
        tenants: Ints | None = None
        names: tuple[str, ...] = ()
        if any(self.tenants):
            names = tuple(sorted(set(self.tenants)))
            tenants = np.array([names.index(self.tenants[i]) for i in order])
        if self.prompts and len(self.prompts) != len(times):
            raise InputError(f"{path} gives a prompt for some requests only")

        return Trace(
            arrival_s=times[order] - times[order[0]],
            prompt_tokens=np.asarray(self.prompt_tokens)[order],
            output_tokens=np.asarray(self.output_tokens)[order],
            name=path.stem,
            prefixes=prefixes,
            tenants=tenants,
            prompts=tuple(self.prompts[i] for i in order) if self.prompts else None,
            tenant_names=names,
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a file with a row per request.

    Attributes:
        arrival, prompt, output: names of the columns, the first that is there counts.
        seconds: how an arrival is read.
        hashes: tokens of a hashed block, by the column with the prompt's hashes.
        hint: what to say where a column is missing.
        skips_failures: whether requests without an answer are left out.

    """

    arrival: tuple[str, ...]
    prompt: tuple[str, ...]
    output: tuple[str, ...]
    seconds: Callable[[str], float] = float
    hashes: Mapping[str, int] = field(default_factory=dict)
    hint: str = "this format has it"
    skips_failures: bool = False

    def read(self, path: Path) -> Trace:
        """Return the trace in the file at ``path``.

        Raises:
            InputError: it cannot be read, a column is missing, or a value makes no sense.

        """
        requests, block_tokens = Requests(), BLOCK_TOKENS
        for number, row in enumerate(rows_of(path), start=1):
            # A set of texts tells neither when they come nor how many tokens they are.
            if isinstance(text := row.get("prompt"), str):
                row = {self.arrival[0]: 0, self.prompt[0]: max(1, len(text.split())), **row}

            try:
                arrival_s = self.seconds(str(self._cell(path, row, self.arrival)))
                prompt = whole(self._cell(path, row, self.prompt))
                output = whole(self._cell(path, row, self.output))
            except ValueError as error:
                raise InputError(f"row {number} of {path}: {error}") from None
            if self.skips_failures and min(prompt, output) < 1:
                continue

            requests.add(arrival_s, prompt, output)
            requests.tenants.append(str(row.get("tenant", "")))
            if isinstance(text, str):
                requests.prompts.append(text)
            for name, tokens in self.hashes.items():
                if isinstance(hashes := row.get(name), list):
                    requests.hashes.append([int(h) for h in hashes])
                    block_tokens = int(str(row.get("block_tokens", tokens)))
        return requests.trace(path, block_tokens)

    def _cell(self, path: Path, row: Row, names: tuple[str, ...]) -> object:
        for name in names:
            if name in row:
                return row[name]
        raise InputError(f"{path} lacks column {' or '.join(map(repr, names))}; {self.hint}")


OWN = Layout(
    arrival=("arrival_s",),
    prompt=("prompt_tokens",),
    output=("output_tokens",),
    hashes={"hash_ids": BLOCK_TOKENS, "prefix_hash16": 16},
    hint="a trace needs arrival_s, prompt_tokens and output_tokens, or try headway trace import",
)


def read_trace(path: Path) -> Trace:
    """Return the trace in a file of our own form; raises as `Layout.read`."""
    return OWN.read(path)


def write_trace(trace: Trace, path: Path) -> None:
    """Write our own form, JSON lines where ``path`` ends so, CSV otherwise (lengths only)."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        if path.suffix != ".jsonl":
            stream.write("arrival_s,prompt_tokens,output_tokens\n")
        for i in range(len(trace)):
            request, output_tokens = trace.request(i), int(trace.output_tokens[i])
            if path.suffix != ".jsonl":
                # repr is the shortest text that reads back as the same number.
                stream.write(f"{request.arrival_s!r},{request.prompt_tokens},{output_tokens}\n")
                continue

            row: dict[str, object] = {"arrival_s": request.arrival_s}
            row |= {"prompt_tokens": request.prompt_tokens, "output_tokens": output_tokens}
            if trace.tenants is not None:
                row["tenant"] = request.tenant
            if trace.prompts is not None:
                row["prompt"] = request.prompt
            if (prefixes := trace.prefixes) is not None:
                start, stop = prefixes.first[i : i + 2]
                row["hash_ids"] = prefixes.hashes[start:stop].tolist()
                row["block_tokens"] = prefixes.tokens
            stream.write(json.dumps(row) + "\n")


def rows_of(path: Path) -> Iterable[Row]:
    """Return the rows of a CSV, JSON lines or Parquet file by column."""
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    if path.suffix in (".jsonl", ".json"):
        return _json_rows(path)
    return csv.DictReader(lines_of(path))


def lines_of(path: Path) -> list[str]:
    """Return the lines of a text file; raise `InputError` for one that is too large or no text."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES >> 30} GiB")
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8") from None


def whole(value: object) -> int:
    """Return a number of tokens; raise `ValueError` unless it is whole."""
    number = float(str(value))
    if number != int(number):
        raise ValueError(f"{value!r} is not a whole number of tokens")
    return int(number)


def _json_rows(path: Path) -> Iterable[Row]:
    for number, line in enumerate(lines_of(path), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                raise InputError(f"line {number} of {path} is not JSON") from None
            if not isinstance(row, dict):
                raise InputError(f"line {number} of {path} is not an object")
            yield row


def _parquet_rows(path: Path) -> Iterable[Row]:
    try:
        from pyarrow import parquet  # type: ignore[import-untyped]  # ships no types
    except ImportError:
        raise MissingExtraError("reading Parquet", "parquet") from None
    try:
        rows: list[Row] = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} as a trace: {reason(error)}") from None
    return rows
