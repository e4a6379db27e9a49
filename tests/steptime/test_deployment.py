"""Deployments: what fits on accelerators, and what is taken unless told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headway.errors import DoesNotFitError, InputError, UnknownNameError
from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model
from headway.steptime.deployment import Deployment
from headway.steptime.layouts import NoLayoutError, fastest_deployment
from headway.steptime.time_estimate import Basis
from headway.workload.step import Step


@pytest.mark.parametrize(("name", "count"), [("llama-3.1-8b", 1), ("llama-3.1-70b", 2)])
def test_as_few_accelerators_as_hold_the_model_are_taken(name: str, count: int) -> None:
    chosen = fastest_deployment(find_model(name), find_cluster("h100"), context_tokens=2000)
    assert chosen.num_accelerators == count
    assert chosen.fits(1, 2000)
    if count > 1:
        fewer = Deployment(find_model(name), find_cluster("h100"), tp=count // 2)
        assert not fewer.fits(1, 2000)


def test_the_layout_that_is_taken_is_the_fastest_of_its_size() -> None:
    model, cluster = find_model("llama-3.1-70b"), find_cluster("h100")
    chosen = fastest_deployment(model, cluster, num_accelerators=8, engine="vllm")
    piped = Deployment(model, cluster, tp=4, pp=2, engine="vllm")
    assert chosen.step_time(1, 512).expected_s <= piped.step_time(1, 512).expected_s


def test_what_fits_nowhere_is_refused_with_what_is_lacking() -> None:
    tiny = replace(find_cluster("h100"), num_accelerators=1)
    with pytest.raises(DoesNotFitError, match="lacks"):
        fastest_deployment(find_model("deepseek-v3"), tiny)
    with pytest.raises(NoLayoutError, match="takes exactly 83"):
        fastest_deployment(find_model("llama-3.1-70b"), find_cluster("h100"), num_accelerators=83)


def test_precision_is_that_of_the_publication_unless_told(
    h100: Cluster, llama_8b: ModelArchitecture
) -> None:
    published = Deployment(find_model("deepseek-v3"), find_cluster("h200"), tp=8)
    assert str(published.precision).startswith("fp8")
    with pytest.raises(InputError, match="does not say its precision"):
        Deployment(llama_8b, h100)


def test_an_unknown_engine_is_refused_and_of_one_without_points_the_data_sheet_is_known(
    h100: Cluster, llama_8b: ModelArchitecture
) -> None:
    with pytest.raises(UnknownNameError, match="did you mean vllm"):
        Deployment(llama_8b, h100, precision="bf16", engine="vlm")

    unmeasured = Deployment(llama_8b, h100, precision="bf16", engine="lmdeploy")
    sheet = Deployment(llama_8b, h100, precision="bf16", limits=unmeasured.limits)
    assert unmeasured.step_time(1, 100).expected_s == sheet.step_time(1, 100).expected_s
    assert unmeasured.step_time(1, 100).basis is Basis.ASSUMED
    assert str(unmeasured).endswith(" with lmdeploy")


def test_one_layout_of_a_family_takes_what_it_takes_alone() -> None:
    model, cluster = find_model("qwen3-30b-a3b"), find_cluster("h100")
    for engine in (None, "vllm"):
        step = Step.decode(np.array([1.0, 7.0, 300.0]), 2000)
        whole = Deployment(model, cluster, tp=2, engine=engine).step_time_model.step_time(step)
        for place, batch in enumerate((1, 7, 300)):
            alone = Deployment(model, cluster, tp=2, engine=engine).step_time(batch, 2000)
            assert float(alone.expected_s) == float(whole.expected_s[place])


def test_top_p_costs_a_sort_of_the_vocabulary_where_the_engine_sorts(
    h100: Cluster, llama_8b: ModelArchitecture
) -> None:
    def added_s(engine: str | None, sequences: int, tp: int = 1) -> float:
        plain = Deployment(llama_8b, h100, tp=tp, precision="bf16", engine=engine)
        drawing = replace(plain, top_p=True)
        step = Step.decode(sequences, 500)
        times = [d.step_time_model.step_time(step).expected_s for d in (plain, drawing)]
        return float(times[1] - times[0])

    one, hundred = added_s("vllm", 1), added_s("vllm", 100)
    assert hundred > 50 * one > 0
    assert hundred == pytest.approx(100 * llama_8b.vocab_size * 2.2e-10, rel=0.5)
    # Every rank sorts all of the vocabulary.
    assert added_s("vllm", 100, tp=2) == pytest.approx(hundred, rel=0.1)
    assert added_s("sglang", 100) == added_s(None, 100) == 0
