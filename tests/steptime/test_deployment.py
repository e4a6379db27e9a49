"""What fits on accelerators."""

from __future__ import annotations

import pytest

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model, find_precision
from headway.steptime.deployment import Deployment, smallest_tensor_parallel
from headway.steptime.parallelism import Parallelism


@pytest.mark.parametrize(("name", "ranks"), [("llama-3.1-8b", 1), ("llama-3.1-70b", 2)])
def test_the_fewest_ranks_that_fit_are_taken(name: str, ranks: int) -> None:
    asked = find_cluster("h100"), find_model(name), find_precision(name)
    layout = smallest_tensor_parallel(*asked, context_tokens=2000)
    assert layout.num_accelerators == ranks
    assert Deployment(*asked, layout).fits(1, 2000)
    if ranks > 1:
        assert not Deployment(*asked, Parallelism(tp=ranks // 2)).fits(1, 2000)


def test_what_fits_nowhere_gets_the_most_ranks_so_that_the_refusal_names_them() -> None:
    name = "deepseek-v3"
    asked = find_cluster("h100"), find_model(name), find_precision(name)
    assert smallest_tensor_parallel(*asked, context_tokens=2000).num_accelerators == 8
