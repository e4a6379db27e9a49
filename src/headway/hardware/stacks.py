"""Stacks that exist: which serving engine runs on which chips, in which formats, since when.

The table and its sources lie in ``stacks.toml``. Chips of the user's own cannot be judged by it:
where no row names their family, whatever runs on other chips of the vendor is allowed, and where
no row names their vendor, everything is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from headway.dtypes import DType
from headway.errors import InputError, UnknownNameError, UnsupportedError
from headway.hardware.accelerator import Accelerator, Citation

# Programs that run another engine's kernels, under its name.
RUNS = dict.fromkeys(("koboldcpp", "llamafile", "lm-studio", "ollama"), "llama.cpp")


@dataclass(frozen=True, slots=True)
class Engine:
    """A serving engine by ``name``, and its ``version`` where one is meant: ``vllm@0.19``."""

    name: str
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> Engine:
        """Return the engine called ``text``; raise `UnknownNameError` for one of no row."""
        name, _, version = text.strip().partition("@")
        name = RUNS.get(name.lower(), name)
        if name.lower() not in engine_names():
            raise UnknownNameError("engine", name, engine_names())
        if "@" in text and not re.search(r"\d", version):
            raise InputError(f"an engine's version is a number, as in vllm@0.19, not {text[:40]!r}")
        return cls(name.lower(), version or None)

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Stack:
    """One row of the table: ``engine`` runs ``weights`` on chips of these ``families``.

    Attributes:
        without: first words of the kinds of models that it does not hold for, such as "latent".
        since: the first version that does, and ``until`` the first that no longer does.
        source: where this was read.

    """

    engine: str
    vendor: str
    families: frozenset[str]
    weights: frozenset[DType]
    without: tuple[str, ...]
    since: str
    until: str | None
    source: Citation

    def runs_model(self, kind: str) -> bool:
        """Whether models of ``kind`` ("latent attention with experts") run."""
        return not any(word in kind for word in self.without)

    def runs_version(self, version: str | None) -> bool:
        """Whether ``version`` of the engine has it; ``None`` is the newest."""
        if version is None:
            return self.until is None
        number = version_number(version)
        is_new_enough = number >= version_number(self.since)
        return is_new_enough and (self.until is None or number < version_number(self.until))


def version_number(text: str) -> tuple[int, ...]:
    """Return a version as numbers to compare: ``0.5.6.post2`` is (0, 5, 6, 2)."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:4])


@cache
def stacks() -> tuple[Stack, ...]:
    """Return all rows of the table."""
    return tuple(
        Stack(
            engine=row["engine"],
            vendor=row["vendor"],
            families=frozenset(row["families"]),
            weights=frozenset(map(DType, row["weights"])),
            without=tuple(row.get("without", ())),
            since=row["since"],
            until=row.get("until"),
            source=Citation(row["url"], row["date"], row.get("note", "")),
        )
        for row in _table()["run"]
    )


@cache
def engine_names() -> tuple[str, ...]:
    """Return the names of all engines, sorted."""
    return tuple(sorted({stack.engine for stack in stacks()}))


def check_stack(engine: str, accelerator: Accelerator, weights: DType, kind: str) -> None:
    """Raise `UnsupportedError` where nobody runs this, and say what does run there.

    Args:
        engine: name, perhaps with a version (``vllm@0.19``).
        accelerator: where.
        weights: format in which they are stored.
        kind: of model, such as "plain attention" or "latent attention with experts".

    Raises:
        UnknownNameError: the engine is in no row of the table.

    """
    refusal = _refusal(
        engine,
        chip=accelerator.name,
        vendor=accelerator.vendor,
        family=accelerator.family,
        weights=weights,
        kind=kind,
    )
    if refusal is not None:
        raise UnsupportedError(refusal)


def engine_runs(engine: str, accelerator: Accelerator) -> bool:
    """Return whether the newest ``engine`` runs anything on ``accelerator``."""
    if accelerator.vendor not in _vendors():
        return True
    of_vendor = [s for s in stacks() if s.vendor == accelerator.vendor]
    here = [s for s in of_vendor if accelerator.family in s.families]
    if not here and accelerator.family not in _without_engines():
        here = of_vendor
    return any(s.engine == engine and s.until is None for s in here)


@cache
def _refusal(  # cached: a search asks the same question thousands of times
    text: str, *, chip: str, vendor: str, family: str, weights: DType, kind: str
) -> str | None:
    """Return why a stack does not exist, in one sentence, or ``None`` where it does."""
    engine = Engine.parse(text)
    if vendor not in _vendors():
        return None

    # Chips of one's own: of a family that no row names, whatever the vendor's other chips run.
    of_vendor = [s for s in stacks() if s.vendor == vendor]
    here = [s for s in of_vendor if family in s.families]
    is_own = not here and family not in _without_engines()
    if is_own and any(s.engine == engine.name for s in of_vendor):
        return None

    of_engine = [s for s in here if s.engine == engine.name]
    own = [s for s in of_engine if s.runs_version(engine.version)]
    in_format = [s for s in own if weights in s.weights]
    if any(stack.runs_model(kind) for stack in in_format):
        return None

    # From the coarsest reason to the finest: the chip, the format, the kind of model.
    if not own:
        others = _listing(s.engine for s in here if s.runs_version(None))
        remedy = f"{others} would"
        if of_engine:
            first = min(of_engine, key=lambda s: version_number(s.since))
            until = f" and before {first.until}" if first.until else ""
            remedy = f"{engine.name} does from {first.since} on{until}"
        return f"{engine} does not run on {chip}; {remedy}"
    if not in_format:
        formats = _listing(dtype.value for stack in own for dtype in stack.weights)
        return f"{engine} does not run {weights.value} weights on {chip}; it runs {formats} there"
    return f"{engine} does not run {kind} in {weights.value} on {chip}; take another engine or chip"


@cache
def _vendors() -> frozenset[str]:
    """Return the vendors that the table speaks of."""
    return frozenset({stack.vendor for stack in stacks()} | _without_engines())


@cache
def _without_engines() -> frozenset[str]:
    """Return the vendors and families that no engine of the table runs on."""
    return frozenset(_table()["without_engines"])


def _listing(words: Iterable[str]) -> str:
    names = sorted(set(words))
    return ", ".join(names) if names else "none of the engines in the table"


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("stacks.toml").read_text(encoding="utf-8"))
