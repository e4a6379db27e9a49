"""Laws of the published frontier, pruning against brute force, then the published curves."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.papers.erdil_2025.accelerators import ACCELERATORS, PublishedAccelerator
from headway.papers.erdil_2025.closed_form import simple_latency_s
from headway.papers.erdil_2025.forward import Choices, token_latency
from headway.papers.erdil_2025.frontier import PublishedFrontier, frontier, grid, select
from headway.papers.erdil_2025.models import MODELS, PublishedModel
from headway.papers.erdil_2025.passes import ForwardPass
from headway.papers.erdil_2025.speculative import (
    Speculation,
    expected_tokens,
    speculative_latency_s,
)

ECONOMICS = Path(__file__).parents[3] / ".." / "shared" / "data" / "economics"
H100 = ACCELERATORS["h100"]
M8, M70, M405 = (MODELS[name] for name in ("llama-3-8b", "llama-3-70b", "llama-3.1-405b"))
ALONE = Choices(pipeline=False)

needs_published = pytest.mark.skipif(
    not ECONOMICS.exists(), reason="the published figures are not beside this checkout"
)


def brute_force(
    model: PublishedModel,
    accelerator: PublishedAccelerator,
    context: float,
    choices: Choices,
    draft: PublishedModel | None,
    cap: float,
    size: int,
) -> list[tuple[float, float, float, float]]:
    """Every point, then every threshold: speed, price, cluster and batch of the cheapest."""
    sizes, batches = grid(model, accelerator, size)
    n, b = np.meshgrid(sizes, batches)
    if draft is None:
        time = token_latency(
            n, b, model, accelerator, context_tokens=context, choices=choices
        ).total_s
    else:
        speculation = Speculation(ForwardPass(model, accelerator, context), draft)
        time, _ = speculative_latency_s(n, b, speculation, choices)
    usd = n / b * time * accelerator.usd_per_hour / 3600 * 1e6
    found = []
    for threshold in time.min() * 100 ** np.linspace(0, 1, 1000):
        price = np.where((time <= threshold) & (b <= cap * time), usd, np.inf)
        at = np.unravel_index(np.argmin(price), price.shape)
        point = (float(1 / time[at]), float(usd[at]), float(n[at]), float(b[at]))
        if np.isfinite(price[at]) and point not in found:
            found.append(point)
    return found


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(sorted(MODELS)).map(MODELS.__getitem__),
    st.sampled_from(["h100", "h20", "v100", "tpu-v4"]).map(ACCELERATORS.__getitem__),
    st.sampled_from([0.0, 2e3, 1e5]),
    st.booleans(),
    st.sampled_from([None, M8, MODELS["llama-3-8b-mqa"]]),
    st.sampled_from([np.inf, 1e3, 1e5]),
)
def test_pruning_changes_nothing(
    model: PublishedModel,
    accelerator: PublishedAccelerator,
    context: float,
    pipeline: bool,
    draft: PublishedModel | None,
    cap: float,
) -> None:
    choices = Choices(pipeline=pipeline)
    expected = brute_force(model, accelerator, context, choices, draft, cap, 33)

    def found() -> np.ndarray:
        f = frontier(
            model,
            accelerator,
            context_tokens=context,
            choices=choices,
            draft=draft,
            demand_tok_per_s=cap,
            grid_size=33,
        )
        columns = (f.tok_per_s, f.usd_per_mtok_output, f.num_accelerators, f.batch)
        return np.array(columns).T

    if expected:
        np.testing.assert_allclose(found(), np.array(expected), rtol=1e-11)
    else:
        with pytest.raises(InputError):
            found()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama-3-70b", "gpt-4", "deepseek-v3", "palm-540b"])
@pytest.mark.parametrize("draft", [None, M8])
def test_pruning_changes_nothing_on_a_fine_grid(name: str, draft: PublishedModel | None) -> None:
    expected = brute_force(MODELS[name], H100, 0, Choices(), draft, np.inf, 397)
    f = frontier(MODELS[name], H100, draft=draft, grid_size=397)
    columns = (f.tok_per_s, f.usd_per_mtok_output, f.num_accelerators, f.batch)
    np.testing.assert_allclose(np.array(columns).T, np.array(expected), rtol=1e-11)


@pytest.fixture(scope="module")
def curve() -> PublishedFrontier:
    return frontier(M70, H100)


def test_slower_is_cheaper(curve: PublishedFrontier) -> None:
    assert np.all(np.diff(curve.tok_per_s) < 0)
    assert np.all(np.diff(curve.usd_per_mtok_output) < 0)


def test_points_are_what_their_variant_gives(curve: PublishedFrontier) -> None:
    t = token_latency(curve.num_accelerators, curve.batch, M70, H100)
    np.testing.assert_allclose(1 / t.total_s, curve.tok_per_s, rtol=1e-12)
    np.testing.assert_array_equal(t.pipeline_depth, curve.pipeline_depth)
    np.testing.assert_array_equal(t.two_dimensional, curve.two_dimensional)
    usd = t.total_s * curve.num_accelerators / curve.batch * H100.usd_per_hour / 3600 * 1e6
    np.testing.assert_allclose(usd, curve.usd_per_mtok_output, rtol=1e-12)
    assert np.all((curve.mfu > 0) & (curve.mfu <= H100.arithmetic_efficiency))


def test_fewer_choices_never_help(curve: PublishedFrontier) -> None:
    alone = frontier(M70, H100, choices=ALONE, num_thresholds=None)
    whole = frontier(M70, H100, num_thresholds=None)
    for speed in np.linspace(2, 120, 30):
        assert whole.usd_per_mtok_output_at(speed) <= alone.usd_per_mtok_output_at(speed) * (
            1 + 1e-12
        )
    assert whole.usd_per_mtok_output.size >= curve.usd_per_mtok_output.size
    assert whole.usd_per_mtok_output_at(1e9) == np.inf


def test_a_demand_cap_is_kept() -> None:
    capped = frontier(M70, H100, choices=ALONE, demand_tok_per_s=2000.0)
    assert np.all(capped.batch * capped.tok_per_s <= 2000 * (1 + 1e-12))
    free = frontier(M70, H100, choices=ALONE)
    assert capped.usd_per_mtok_output.min() > free.usd_per_mtok_output.min()


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(InputError, match="demand"):
        frontier(M70, H100, demand_tok_per_s=0.0)
    with pytest.raises(InputError, match="2 points"):
        grid(M70, H100, 1)
    with pytest.raises(InputError, match="does not fit"):
        grid(replace(M70, num_layers=10**9), H100)
    with pytest.raises(InputError, match="lower the context"):
        frontier(M70, H100, context_tokens=1e15, grid_size=20)


def test_selection_of_nothing_is_nothing() -> None:
    assert select(np.array([np.inf]), np.array([np.inf])).size == 0


def test_published_extremes(curve: PublishedFrontier) -> None:
    assert curve.tok_per_s.size == 399
    first = (curve.tok_per_s[0], curve.usd_per_mtok_output[0])
    assert first == pytest.approx((124.9093391, 148.7752741), rel=1e-9)
    assert curve.num_accelerators[0] == pytest.approx(32.8692032)
    assert curve.batch[0] == pytest.approx(1.031763834)
    assert curve.usd_per_mtok_output[-1] == pytest.approx(0.118037373, rel=1e-8)
    at = curve.preferred()
    preferred = (curve.tok_per_s[at], curve.usd_per_mtok_output[at], curve.mfu[at])
    assert preferred == pytest.approx((82.516145598, 0.700133789, 0.117564843), rel=1e-8)
    assert curve.batch[at] == pytest.approx(135.552392516)


def test_published_extremes_without_pipelines() -> None:
    for name, speed in (("gpt-4", 63.71), ("mixtral-8x22b", 196.19), ("deepseek-v3", 214.48)):
        f = frontier(MODELS[name], H100, choices=ALONE)
        assert f.tok_per_s[0] == pytest.approx(speed, abs=0.005)


def test_published_extremes_with_a_draft() -> None:
    f = frontier(M405.with_weights(8), H100, draft=M8)
    assert f.tok_per_s[0] == pytest.approx(122.32, abs=0.005)
    at = f.preferred()
    assert f.tok_per_s[at] == pytest.approx(60.53, abs=0.005)
    assert f.usd_per_mtok_output[at] == pytest.approx(1.310, abs=0.0005)
    assert f.usd_per_mtok_output[-1] == pytest.approx(0.3440, abs=0.00005)


@pytest.mark.parametrize(
    ("model", "efficiency", "speed", "num_accelerators"),
    [(M70, None, 149.66, 31.90), (M8, None, 517.27, 13.87), (M70, 1.0, 161.60, 25.89),
     (M8, 1.0, 554.55, 11.22)],
)  # fmt: skip
def test_published_toy_frontier_under_a_demand_cap(
    model: PublishedModel, efficiency: float | None, speed: float, num_accelerators: float
) -> None:
    on = H100
    if efficiency is not None:
        on = replace(on, memory_efficiency=efficiency, arithmetic_efficiency=efficiency)
    n, b = (axis.ravel() for axis in np.meshgrid(*grid(model, on), indexing="ij"))
    time = simple_latency_s(n, b, model, on)
    at = select(time, time * n / b, b <= 1e4 * time)
    assert 1 / time[at[0]] == pytest.approx(speed, abs=0.005)
    assert n[at[0]] == pytest.approx(num_accelerators, abs=0.005)


CURVES: dict[str, dict[str, Any]] = {
    "gpus_comparison__new__0_H100": {"model": M70.with_weights(8)},
    "gpus_comparison__new__1_A100": {"model": M70.with_weights(8), "on": "a100"},
    "gpus_comparison__new__2_V100": {"model": M70.with_weights(8), "on": "v100"},
    "quantization_comparison__new__0_Llama_3_70B_16-bit": {"model": M70},
    "quantization_comparison__new__1_Llama_3_70B_8-bit": {"model": M70.with_weights(8)},
    "quantization_comparison__new__2_Llama_3_70B_4-bit": {"model": M70.with_weights(4)},
    # Labelled speculative, run without a draft.
    "all_models_comparison__new__0_GPT-4_16-bit__speculative_": {"model": MODELS["gpt-4"]},
    "all_models_comparison__new__3_Mixtral_8x22B_16-bit": {"model": MODELS["mixtral-8x22b"]},
    "all_models_comparison_with_spec_dec__new__2_Llama_3_70B_8-bit": {
        "model": M70.with_weights(8), "draft": M8
    },
    "deepseek_v3_context_len_comparison__new__0_Short_context": {"model": MODELS["deepseek-v3"]},
    "deepseek_v3_context_len_comparison__new__2_Long_context": {
        "model": MODELS["deepseek-v3"], "context_tokens": 1e5
    },
    "spec_dec_comparison__new__0_Llama_3_70B__8B_acceptance=0.8_": {"model": M70, "draft": M8},
    "spec_dec_comparison__new__1_Llama_3_70B__no_spec_dec_": {"model": M70},
    "spec_dec_comparison__new__2_Llama_3.1_405B__8B_acceptance=0.8_": {"model": M405, "draft": M8},
    "spec_dec_comparison__new__3_Llama_3.1_405B__no_spec_dec_": {"model": M405},
}  # fmt: skip


@needs_published
def test_every_published_curve_is_known() -> None:
    published = {path.stem.partition("__")[2] for path in ECONOMICS.glob("frontiers/*.csv")}
    assert published == set(CURVES)


@needs_published
@pytest.mark.parametrize("name", sorted(p.stem for p in ECONOMICS.glob("frontiers/*.csv")))
def test_published_curves(name: str) -> None:
    pipeline, _, setting = name.partition("__")
    arguments = dict(CURVES[setting])
    model, on = arguments.pop("model"), ACCELERATORS[arguments.pop("on", "h100")]
    f = frontier(model, on, choices=Choices(pipeline=pipeline == "pp"), **arguments)
    published = np.loadtxt(ECONOMICS / "frontiers" / f"{name}.csv", delimiter=",", skiprows=1)
    columns = (f.tok_per_s, f.usd_per_mtok_output, f.num_accelerators, f.batch, f.mfu)
    # The files hold ten digits.
    np.testing.assert_allclose(np.array(columns).T, published, rtol=1e-9)


# The sensitivity figures were made on smaller grids, which their numbers give away.


def mesh(
    model: PublishedModel, size: int, log2_most: float, batches: int, log2_batch: float
) -> tuple[np.ndarray, np.ndarray]:
    least = np.log2(model.weights_total_bytes / H100.memory_bytes)
    n = np.logspace(least, log2_most, size, base=2)
    return n[:, None], np.logspace(0, log2_batch, batches, base=2)


def fastest_within(time: np.ndarray, usd: np.ndarray, price: float) -> float:
    return float(np.max((1 / time)[usd <= price], initial=0.0)) or np.nan


def usd_per_mtok(time: np.ndarray, n: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(time * n / b * H100.usd_per_hour / 3600 * 1e6)


def sensitivity(prefix: str) -> dict[str, Any]:
    figures = json.loads((ECONOMICS / "sensitivity.json").read_text())
    return {k.partition(":")[2]: v for k, v in figures.items() if k.startswith(f"{prefix}:")}


def published_model(name: str) -> PublishedModel:
    names = {"Llama_3_8B": M8, "Llama_3_70B": M70, "Llama_3_405B": M405}
    names |= {"Mistral_Large_2": MODELS["mistral-large-2"], "GPT_3": MODELS["gpt-3"]}
    names |= {"DeepSeek_V3": MODELS["deepseek-v3"], "GPT_4": MODELS["gpt-4"]}
    names |= {"Mixtral_8x22B": MODELS["mixtral-8x22b"]}
    model = names[name.removesuffix("_8_bit")]
    return model.with_weights(8) if name.endswith("_8_bit") else model


@needs_published
def test_published_sensitivity_to_size_and_bandwidth() -> None:
    for name, figures in sensitivity("scaleN").items():
        n, b = mesh(model := published_model(name), 200, 10, 60, 10)
        time = token_latency(n, b, model, H100, choices=ALONE).total_s
        usd = usd_per_mtok(time, n, b)
        assert 1 / time.min() == pytest.approx(figures["max_tok_s"], rel=1e-9)
        assert usd.min() == pytest.approx(figures["min_cost"], rel=1e-9)
        at = np.unravel_index(np.argmin(usd * time**3), usd.shape)
        point = [1 / time[at], usd[at], n[at[0], 0], b[at[1]]]
        assert point == pytest.approx(figures["a3"], rel=1e-9)
    for name, rows in sensitivity("scaleBW").items():
        n, b = mesh(model := published_model(name), 200, 10, 60, 10)
        for factor, *speeds in rows:
            rate = factor * H100.memory_bandwidth_bytes_per_s
            on = replace(H100, memory_bandwidth_bytes_per_s=rate)
            time = token_latency(n, b, model, on, choices=ALONE).total_s
            usd = usd_per_mtok(time, n, b)
            found = [1 / time.min(), fastest_within(time, usd, 1), fastest_within(time, usd, 5)]
            assert found == pytest.approx(speeds, rel=1e-9)


@needs_published
def test_published_sensitivity_to_whole_numbers() -> None:
    for name, figures in sensitivity("int").items():
        n, b = mesh(model := published_model(name), 200, 11, 140, 13)
        powers, whole = 2.0 ** np.arange(12)[:, None], np.unique(np.round(b))
        for column, key, n_, b_ in ((0, "cont", n, b), (1, "pow2", powers, whole)):
            time = token_latency(n_, b_, model, H100, choices=ALONE).total_s
            usd = usd_per_mtok(time, n_, b_)
            assert 1 / time.min() == pytest.approx(figures[key]["max_tok_s"], rel=1e-9)
            assert usd.min() == pytest.approx(figures[key]["min_cost"], rel=1e-9)
            for price, speeds in figures["at"].items():
                found = fastest_within(time, usd, float(price))
                assert found == pytest.approx(speeds[column], rel=1e-9, nan_ok=True)


@needs_published
def test_published_sensitivity_to_capacity() -> None:
    for name, figures in sensitivity("fullkv").items():
        n, b = mesh(model := published_model(name), 120, 12, 120, 14)
        context = 1e4 if name.startswith("Llama") else 1e5
        piped = token_latency(n, b, model, H100, context_tokens=context).total_s
        alone = token_latency(n, b, model, H100, context_tokens=context, choices=ALONE).total_s
        fits = ForwardPass(model, H100, context).fits(n, b)
        for column, time in enumerate((piped, np.where(fits, piped, np.inf), alone)):
            usd = usd_per_mtok(time, n, b)
            for speed, prices in figures.items():
                found = usd[1 / time >= float(speed)].min()
                assert found == pytest.approx(prices[column], rel=1e-9)


@needs_published
def test_published_gains_of_speculation() -> None:
    for name, figures in sensitivity("spec").items():
        if not name.endswith("paper eq46 g<=5"):
            continue
        n, b = mesh(model := published_model(name.partition(":")[0]), 150, 10, 100, 10)
        plain = token_latency(n, b, model, H100, choices=ALONE).total_s
        speculation = Speculation(ForwardPass(model, H100), M8)
        time, _ = speculative_latency_s(n, b, speculation, ALONE)
        assert plain.min() / time.min() == pytest.approx(figures.pop("max"), rel=1e-9)
        for price, gain in figures.items():
            found = fastest_within(time, usd_per_mtok(time, n, b), float(price))
            found /= fastest_within(plain, usd_per_mtok(plain, n, b), float(price))
            assert found == pytest.approx(gain, rel=1e-9, nan_ok=True)


@needs_published
def test_published_gains_of_the_extra_token() -> None:
    # Leviathan's count: the verification of g drafted tokens yields one more, and reads g + 1.
    for name, figures in sensitivity("spec").items():
        if not name.endswith("leviathan bonus g<=5"):
            continue
        n, b = mesh(model := published_model(name.partition(":")[0]), 150, 10, 100, 10)
        plain = time = token_latency(n, b, model, H100, choices=ALONE).total_s
        draft = token_latency(n, b, M8, H100, choices=ALONE).total_s
        for count in range(2, 6):
            verify = token_latency(n, b, model, H100, query_tokens=count + 1, choices=ALONE).total_s
            time = np.minimum(time, (verify + count * draft) / expected_tokens(0.8, count + 1))
        assert plain.min() / time.min() == pytest.approx(figures["max"], rel=1e-9)
