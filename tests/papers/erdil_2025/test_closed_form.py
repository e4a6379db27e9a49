"""The closed form is the minimum of what it minimises, and gives the paper's figures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.papers.erdil_2025.closed_form import ClosedForm, closed_form, critical_batch
from headway.papers.erdil_2025.models import MODELS

BF16 = Precision.parse("bf16")

FIGURES = Path(__file__).parents[3] / ".." / "shared" / "data" / "economics"
FIGURES = FIGURES / "closed_form_eq12_14.json"

NAMES = {
    "Llama_3_8B": "llama-3-8b",
    "Llama_3_70B": "llama-3-70b",
    "Llama_3_405B": "llama-3.1-405b",
    "GPT_3": "gpt-3",
    "Falcon": "falcon-180b",
    "PaLM_8B": "palm-8b",
    "PaLM_540B": "palm-540b",
    "GPT_4": "gpt-4",
    "Mixtral_8x22B": "mixtral-8x22b",
    "Mistral_Large_2": "mistral-large-2",
    "GPT_J_6B": "gpt-j-6b",
}


@given(st.floats(1e-4, 10.0), st.floats(1e-6, 1e-2))
def test_no_cluster_is_faster(read_s: float, hops_s: float) -> None:
    form = ClosedForm(read_s, hops_s)
    sizes = np.geomspace(1, 1e6, 2000)
    times = read_s / sizes + 2 * hops_s * (np.sqrt(sizes) - 1)
    assert form.latency_s <= times.min() * (1 + 1e-9)
    assert form.num_accelerators >= 1


@given(st.floats(1e-3, 10.0))
def test_the_approximation_lies_above_and_nears_for_large_clusters(read_s: float) -> None:
    form = ClosedForm(read_s, read_s / 1e6)
    assert form.latency_s < form.approximate_latency_s
    assert form.latency_s == pytest.approx(form.approximate_latency_s, rel=0.01)


def test_at_the_critical_batch_the_fastest_token_costs_three_times_its_arithmetic() -> None:
    model = MODELS["llama-3.1-405b"]
    form = ClosedForm.of(model, 3.3e12)
    batch = critical_batch(2, 1e15, 3.3e12)
    floor = 2 * model.total_params / 1e15
    assert form.num_accelerators * form.approximate_latency_s / batch == pytest.approx(3 * floor)
    assert form.accelerator_s_per_token(batch) < 3 * floor


def test_times_must_be_positive() -> None:
    with pytest.raises(InputError, match="positive"):
        ClosedForm(0.0, 1.0)


def test_published_figures() -> None:
    assert critical_batch(2, 1e15, 3.3e12) == pytest.approx(303.03, rel=1e-5)
    form = ClosedForm.of(MODELS["llama-3-70b"], 3.3e12)
    assert form.num_accelerators == pytest.approx(26.1368, rel=2e-6)
    assert form.latency_s == pytest.approx(4.26792e-3, rel=2e-6)
    assert 1 / ClosedForm.of(MODELS["llama-3-8b"], 3.3e12).latency_s == pytest.approx(965.965)
    large = ClosedForm.of(MODELS["llama-3.1-405b"], 3.3e12)
    assert large.num_accelerators == pytest.approx(62.4167, rel=1e-6)
    assert 1 / large.latency_s == pytest.approx(91.4291, rel=1e-6)


@pytest.mark.skipif(
    not FIGURES.exists(), reason="the published figures are not beside this checkout"
)
def test_every_published_figure() -> None:
    for key, figures in json.loads(FIGURES.read_text()).items():
        name, rate = key.split("|")
        model = MODELS[NAMES[name.removesuffix("_8_bit")]].with_weights(8 * figures["p"])
        form = ClosedForm.of(model, 3.3e12 if rate == "peak" else 0.75 * 3.3e12)
        assert model.total_params == figures["params"]
        assert model.reductions_per_layer == figures["nreduce"]
        assert form.read_s * 1e3 == pytest.approx(figures["read_ms"], rel=1e-9)
        assert form.hops_s * 1e3 == pytest.approx(figures["latency_unit_ms"], rel=1e-9)
        assert form.num_accelerators == pytest.approx(figures["N_star"], rel=1e-9)
        assert form.latency_s * 1e3 == pytest.approx(figures["min_latency_ms"], rel=1e-9)
        assert 1 / form.latency_s == pytest.approx(figures["max_tok_s"], rel=1e-9)
        speed = 1 / form.approximate_latency_s
        assert speed == pytest.approx(figures["approx18_tok_s"], rel=1e-9)


def test_the_fastest_cluster_minimises_the_time(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    row = closed_form(llama_70b, BF16, h100).rows[0]
    read, hops = 2 * llama_70b.active_params / 3e12, 80 * 4 * 1e-6
    assert row.read_s == pytest.approx(read)
    best = row.num_accelerators

    def time(n: float) -> float:
        return float(read / n + 2 * hops * (n**0.5 - 1))

    assert row.step_s == pytest.approx(time(best))
    assert time(best) < min(time(0.99 * best), time(1.01 * best))
    assert row.critical_batch == pytest.approx(1e15 / 3e12)
    floor = 2 * llama_70b.active_params / 1e15 * 2 / 3600 * 1e6
    assert row.floor_usd_per_mtok_output == pytest.approx(floor)
    assert 2 * floor < row.usd_per_mtok_output < 3 * floor


def test_parallel_blocks_reduce_half_as_often(llama_70b: ModelArchitecture, h100: Cluster) -> None:
    row = closed_form(replace(llama_70b, parallel_blocks=True), BF16, h100).rows[0]
    assert row.hops_s == pytest.approx(80 * 2 * 1e-6)


def test_a_hop_takes_time(llama_70b: ModelArchitecture, h100: Cluster) -> None:
    with pytest.raises(InputError, match="hop"):
        closed_form(llama_70b, BF16, h100, hop_s=0.0)
