"""The model catalogue as answers."""

from __future__ import annotations

import pytest

from headway.errors import UnknownNameError
from headway.model.catalogue import find_model, names
from headway.model.reports import model_report, models_report


def test_every_model_has_a_row() -> None:
    rows = models_report(names()).rows
    assert [row.model for row in rows] == list(names())
    for row in rows:
        model = find_model(row.model)
        assert (row.total_params, row.active_params) == (model.total_params, model.active_params)

    llama = next(row for row in rows if row.model == "llama-3.1-8b")
    assert llama.kv_bytes_per_token == 2 * 32 * 8 * 128 * 2  # keys and values, 16 bits
    assert llama.max_context_tokens == 131072


def test_one_model_shows_its_layers_and_sources() -> None:
    facts = {row.fact: row for row in model_report("meta-llama/Llama-3.1-8B-Instruct").rows}
    assert facts["layers"].value == (
        "32 x GroupedQueryAttention(num_heads=32, num_kv_heads=8, head_dim=128), "
        "DenseFfn(intermediate_size=14336)"
    )
    assert facts["config"].source is not None
    assert facts["published"].source is not None
    with pytest.raises(UnknownNameError):
        model_report("llama-9")


def test_drafting_layers_are_shown() -> None:
    assert "drafting" in {row.fact for row in model_report("deepseek-v3").rows}
