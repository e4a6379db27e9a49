"""Length data of the benchmarks: prompts with the tokens of a real model's answer.

The files stand in ``../shared/data/lengths`` beside the repository and are not part of it. Reading
them needs pyarrow; Headway itself does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from headway.predict import Observation

LENGTHS = Path(__file__).resolve().parents[2] / "shared" / "data" / "lengths"
FIRST_ELICITED = 292
ELICITED = Path(__file__).with_name("elicited_lengths.jsonl")


def rows(name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of one file as dicts."""
    parquet = import_module("pyarrow.parquet")  # here only: Headway itself does not need it
    yield from parquet.read_table(LENGTHS / f"{name}.parquet").to_pylist()


def alpaca(subset: str | None = "random_9k") -> list[Observation]:
    """Return text-davinci-003 on Alpaca (CC BY-NC 4.0); only ``random_9k`` is unbiased."""
    return [
        Observation(r["prompt"], r["out_tokens"], r["model"], source="alpaca")
        for r in rows("dev_alpaca_davinci003")
        if subset is None or r["subset"] == subset
    ]


def instructions_split(
    observations: list[Observation], share: float = 0.2, seed: int = 0
) -> tuple[list[Observation], list[Observation]]:
    """Return (train, test), split by instruction, whatever its input."""
    keys = [o.prompt.split("\n\n")[0].strip().lower() for o in observations]
    names = list(dict.fromkeys(keys))
    order = np.random.default_rng(seed).permutation(len(names))
    test = {names[i] for i in order[: int(len(names) * share)]}
    pairs = list(zip(keys, observations, strict=True))
    return [o for k, o in pairs if k not in test], [o for k, o in pairs if k in test]


def mixed(source: str) -> list[Observation]:
    """Return GPTeacher (MIT), arena-hard (Apache-2.0) or codealpaca (CC BY-NC 4.0)."""
    return [
        Observation(r["prompt"], r["out_tokens"], r["model"], source=r["subset"])
        for r in rows("dev_mixed")
        if r["source"] == source
    ]


def zeroeval() -> list[Observation]:
    """Return ZeroEval (Apache-2.0): three sets of reasoning prompts, nine models."""
    return [
        Observation(r["prompt"], r["out_tokens"], r["model"], source=r["subset"])
        for r in rows("dev_reasoning_zeroeval")
    ]


def dialogue() -> list[Observation]:
    """Return small dialogue models (no licence: for checks only)."""
    return [
        Observation(r["utterance"], r["length"], r["model"], source="dialogue")
        for r in rows("dialogue_small_lms_qaslow")
    ]


def elicited() -> list[Observation]:
    """Return 1,057 prompts written for Headway with lengths estimated by hand, not measured.

    Trees and words of the predictor that ships have learned from the first `FIRST_ELICITED`.
    """
    lines = ELICITED.read_text(encoding="utf-8").splitlines()
    return [Observation(**json.loads(line)) for line in lines]


def at_most(observations: list[Observation], prompts: int, seed: int = 0) -> list[Observation]:
    """Return the observations of at most ``prompts`` prompts of each source, drawn at random."""
    sample: list[Observation] = []
    for source in dict.fromkeys(o.source for o in observations):
        own = [o for o in observations if o.source == source]
        texts = list(dict.fromkeys(o.prompt for o in own))
        order = np.random.default_rng(seed).permutation(len(texts))
        chosen = {texts[i] for i in order[:prompts]}
        sample += [o for o in own if o.prompt in chosen]
    return sample
