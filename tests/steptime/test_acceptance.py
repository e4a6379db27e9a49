"""What is assumed of drafted tokens, and what it does to an answer."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headway.errors import InputError
from headway.hardware.catalogue import find_cluster
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import serve
from headway.steptime.acceptance import acceptance_of
from headway.steptime.deployment import Deployment
from headway.steptime.placed_model import Drafting
from headway.steptime.speculative import Speculation, mtp_draft
from headway.steptime.time_estimate import Basis

LIKE = {"glm5.2_mtp.yaml": "glm-5", "qwen3.5_mtp.yaml": "qwen3.5-397b-a17b"}


def test_without_decay_it_is_the_geometric_sum(llama_8b: ModelArchitecture) -> None:
    drafted = np.arange(9.0)
    plain = Speculation(llama_8b, 0.7).tokens_per_pass(drafted)
    slow = Speculation(llama_8b, 0.7, decay=1 - 1e-12).tokens_per_pass(drafted)
    assert plain == pytest.approx(slow)
    assert plain[2] == pytest.approx(1 + 0.7 + 0.49)


def test_a_decay_counts_from_the_second_token_on(llama_8b: ModelArchitecture) -> None:
    drafts = Speculation(llama_8b, 0.8, decay=0.5)
    assert drafts.tokens_per_pass(np.arange(4.0)) == pytest.approx(
        [1, 1.8, 1.8 + 0.8 * 0.4, 1.8 + 0.8 * 0.4 + 0.8 * 0.4 * 0.2]
    )
    without = Speculation(llama_8b, 0.8, bonus_token=False, decay=0.5)
    assert without.tokens_per_pass(2) == pytest.approx(1.8)
    with pytest.raises(InputError, match="decay"):
        Speculation(llama_8b, 0.8, decay=1.5)


@pytest.mark.parametrize("name", ["deepseek-r1", "glm-5", "qwen3.5-397b-a17b", "minimax-m2.5"])
def test_every_head_has_an_acceptance_with_a_source(name: str) -> None:
    known = acceptance_of(find_model(name))
    assert 0 < known.decay <= 1
    assert 0.5 < known.first < 1
    assert "https://" in known.source or "deepseek-v3" in known.source
    assert 0 < known.spread < 0.5


def test_what_ships_is_what_was_measured(shared_data: Path) -> None:
    path = shared_data / "measured" / "reference_spec_decode_acceptance.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["file"] in LIKE]
    assert rows
    for row in rows:
        known = acceptance_of(find_model(LIKE[row["file"]]))
        drafts = Speculation(find_model("llama-3.1-8b"), known.first, decay=known.decay)
        said = float(drafts.tokens_per_pass(int(row["draft_len"])))
        measured = float(row["mean_accept_len"])
        assert said == pytest.approx(measured, abs=0.3)
        assert abs(np.log(said / measured)) < known.spread


def test_an_assumed_acceptance_widens_the_interval_and_says_so() -> None:
    model = find_model("deepseek-r1")
    drafts = Speculation(mtp_draft(model), 0.85)
    d = Deployment(model, find_cluster("h200"), tp=8, precision="fp8", engine="sglang")
    load = ClosedLoop(1000, 1000, 8)
    known = serve(d.with_drafting(Drafting(drafts, tokens=2)), load)
    spread = Drafting(replace(drafts, spread=0.2), tokens=2)
    unsure = serve(d.with_drafting(spread), load)
    assert float(unsure.tpot_s) == float(known.tpot_s)
    assert float(unsure.tpot_s.lower) < float(known.tpot_s.lower)
    assert float(unsure.tpot_s.upper) > float(known.tpot_s.upper)
    assert float(unsure.output_tok_per_s.upper) > float(known.output_tok_per_s.upper)
    assert unsure.basis is Basis.ASSUMED
    assert known.basis is not Basis.ASSUMED


def test_drafting_costs_engine_time_with_every_sequence() -> None:
    model = find_model("deepseek-r1")
    plain = Deployment(model, find_cluster("h200"), tp=8, precision="fp8", engine="sglang")
    useless = Speculation(mtp_draft(model), 0.0, shares_weights=True)
    drafting = plain.with_drafting(Drafting(useless, tokens=2))
    for users in (4, 32):
        load = ClosedLoop(1000, 1000, users)
        assert float(serve(drafting, load).tpot_s) > float(serve(plain, load).tpot_s) + 1.5e-3
