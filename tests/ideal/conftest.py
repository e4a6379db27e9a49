"""The measured profiles and published tables that are not part of the repository."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from headway.ideal.request_profile import RequestProfile
from headway.papers.narayanan_2023.published import PublishedTable

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "idealized"
# Profiled model -> a name in the published tables.
SHIPPED = {
    "openai_davinci": "openai/davinci", "ai21_j1_large": "ai21/j1-large",
    "ai21_j1_grande": "ai21/j1-grande", "ai21_j1_jumbo": "ai21/j1-jumbo",
    "anthropic": "anthropic/stanford-online-all-v4-s3", "mt_nlg": "microsoft/TNLGv2_530B",
    "bloom": "together/bloom", "yalm": "together/yalm", "gptj_6b": "huggingface/gptj_6b",
    "gpt_neox_20b": "together/gpt-neox-20b", "opt_66b": "together/opt-66b",
    "openai_ada": "openai/ada",
}  # fmt: skip


@pytest.fixture(scope="session")
def folder() -> Path:
    if not FOLDER.is_dir():
        pytest.skip("needs ../shared/data/idealized, which is not in the repository")
    return FOLDER


@pytest.fixture(scope="session")
def a100(folder: Path) -> dict[str, RequestProfile]:
    """The profile of every A100 model; a third of MT-NLG's layers was measured, hence times 3."""
    points: dict[str, list[tuple[float, float, float]]] = {}
    with (folder / "profile_a100.csv").open() as lines:
        for row in csv.DictReader(lines):
            points.setdefault(row["model"], []).append(
                (float(row["p"]), float(row["o"]), float(row["runtime_s"]))
            )
    profiles = {model: RequestProfile.of(rows) for model, rows in points.items()}
    return {m: profiles[m].scaled(3) if m == "mt_nlg" else profiles[m] for m in profiles}


@pytest.fixture(scope="session")
def shipped(folder: Path) -> dict[str, PublishedTable]:
    """The published A100 table of every profiled model that has one."""
    tables = json.loads((folder / "helm_inference_idealized_runtimes.json").read_text())
    return {model: PublishedTable.read(tables[name], name) for model, name in SHIPPED.items()}


@pytest.fixture(scope="session")
def denoised(folder: Path) -> dict[str, PublishedTable]:
    tables = json.loads((folder / "helm_inference_denoised_runtimes.json").read_text())
    return {name: PublishedTable.read(table, name) for name, table in tables.items()}


@pytest.fixture(scope="session")
def cases(folder: Path) -> dict[int, dict[str, Any]]:
    return {case["id"]: case for case in json.loads((folder / "check_cases.json").read_text())}
