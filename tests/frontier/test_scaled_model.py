"""A scaled model has the parameters that were asked for."""

from __future__ import annotations

import pytest

from headway.frontier.scaled_model import scaled
from headway.model.architecture import ModelArchitecture


@pytest.mark.parametrize("factor", [0.01, 0.1, 0.5, 2.0, 10.0])
def test_scaling_reaches_the_size_that_was_asked_for(
    llama_70b: ModelArchitecture, deepseek: ModelArchitecture, factor: float
) -> None:
    for model in (llama_70b, deepseek):
        ratio = scaled(model, factor).layer_params / model.layer_params
        assert ratio == pytest.approx(factor, rel=0.12)


def test_scaling_by_one_changes_nothing(llama_70b: ModelArchitecture) -> None:
    assert scaled(llama_70b, 1.0).layers == llama_70b.layers
