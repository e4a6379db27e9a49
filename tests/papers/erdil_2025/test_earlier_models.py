"""The paper's earlier models: their order, then the times that the published program gave."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.papers.erdil_2025.accelerators import ACCELERATORS
from headway.papers.erdil_2025.closed_form import simple_latency_s
from headway.papers.erdil_2025.forward import AS_PRESENTED, FINAL, Choices, token_latency
from headway.papers.erdil_2025.models import MODELS, PublishedModel

POINTS = Path(__file__).parents[3] / ".." / "shared" / "data" / "economics" / "points.json"
H100 = ACCELERATORS["h100"]
NAMES = {
    "Llama_3_8B": "llama-3-8b",
    "Llama_3_70B": "llama-3-70b",
    "Mixtral_8x22B": "mixtral-8x22b",
    "DeepSeek_V3": "deepseek-v3",
}

dense = st.sampled_from(["llama-3-8b", "llama-3-70b", "gpt-3", "palm-540b"]).map(MODELS.get)


@given(st.sampled_from(sorted(MODELS)), st.floats(1.0, 1e4), st.floats(1.0, 1e4))
def test_every_further_choice_can_only_help(name: str, n: float, b: float) -> None:
    steps = (AS_PRESENTED, FINAL, Choices(pipeline=False, expert_parallel=False))
    times = [float(token_latency(n, b, MODELS[name], H100, choices=c).total_s) for c in steps]
    assert times == sorted(times, reverse=True)


@given(dense, st.floats(1.0, 1e4), st.floats(1.0, 1e4), st.floats(1.0, 4.0))
def test_the_simple_model_grows_with_the_batch(
    model: PublishedModel, n: float, b: float, factor: float
) -> None:
    less, more = simple_latency_s(n, np.array([b, b * factor]), model, H100)
    assert 0 < less <= more


def test_the_simple_model_is_flat_below_the_critical_batch() -> None:
    times = simple_latency_s(8, np.array([1, 64, 282, 284]), MODELS["llama-3-70b"], H100)
    assert times[0] == times[1] == times[2] == pytest.approx(10.216697156e-3, rel=1e-9)
    assert times[3] > times[2]


def test_published_times() -> None:
    m70, gpt4 = MODELS["llama-3-70b"], MODELS["gpt-4"]
    assert simple_latency_s(1, 1, MODELS["llama-3-8b"], H100) == pytest.approx(7.256885e-3)
    presented = token_latency(8, [1, 64, 64], m70, H100, choices=AS_PRESENTED).total_s
    assert presented * 1e3 == pytest.approx([11.208680, 13.110586, 13.110586], rel=1e-6)
    long = token_latency(8, 64, m70, H100, context_tokens=4096, choices=AS_PRESENTED).total_s
    assert float(long) * 1e3 == pytest.approx(17.448936, rel=1e-6)
    assert token_latency(8, 64, m70, H100, choices=FINAL).total_s == pytest.approx(12.222541e-3)
    final = token_latency(128, 256, gpt4, H100, choices=FINAL).total_s
    assert float(final) * 1e3 == pytest.approx(41.393330, rel=1e-6)


@pytest.mark.skipif(not POINTS.exists(), reason="the published points are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("section_2_2_token_latency_seconds", None),
        ("token_latency_seconds_as_presented_in_paper", AS_PRESENTED),
        ("final_token_latency_seconds", FINAL),
    ],
)
def test_every_published_time(name: str, choices: Choices | None) -> None:
    entries = [p for p in json.loads(POINTS.read_text()) if p["name"] == name]
    assert len(entries) == 11
    for p in entries:
        model = MODELS[NAMES[p["model"].removesuffix("_8_bit")]]
        if p["model"].endswith("_8_bit"):
            model = model.with_weights(8)
        accelerator, n, b = ACCELERATORS[p["gpu"].lower()], p["n_gpu"], p["batch"]
        if choices is None:
            time = simple_latency_s(n, b, model, accelerator)
        else:
            time = token_latency(
                n, b, model, accelerator, context_tokens=p["ctx"], choices=choices
            ).total_s
        assert float(time) * 1e3 == pytest.approx(p["ms"], rel=1e-9)
        usd = float(time) * n / b * accelerator.usd_per_hour / 3600 * 1e6
        assert usd == pytest.approx(p["usd_per_mtok"], rel=1e-9)
