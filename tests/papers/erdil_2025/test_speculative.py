"""Laws of speculative decoding, then the times that the published program gave."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.papers.erdil_2025.accelerators import ACCELERATORS
from headway.papers.erdil_2025.forward import Choices, token_latency
from headway.papers.erdil_2025.models import MODELS
from headway.papers.erdil_2025.passes import ForwardPass
from headway.papers.erdil_2025.speculative import (
    DRAFT_LENGTHS,
    Speculation,
    expected_tokens,
    speculative_latency_s,
)

POINTS = Path(__file__).parents[3] / ".." / "shared" / "data" / "economics" / "points.json"
H100 = ACCELERATORS["h100"]
DRAFT = MODELS["llama-3-8b"]
ALONE = Choices(pipeline=False)
NAMES = {"Llama_3_70B": "llama-3-70b", "Llama_3_8B": "llama-3-8b"}

names = st.sampled_from(["llama-3-70b", "llama-3.1-405b", "mixtral-8x22b", "deepseek-v3"])


@given(st.floats(0.0, 1.0), st.integers(1, 20))
def test_tokens_lie_between_one_and_all(acceptance: float, drafted: int) -> None:
    tokens = expected_tokens(acceptance, drafted)
    assert 1 <= tokens <= drafted
    if acceptance < 0.99:
        assert tokens == pytest.approx((1 - acceptance**drafted) / (1 - acceptance))


@settings(max_examples=15, deadline=None)
@given(
    names,
    st.floats(0.0, 1.0),
    st.lists(st.floats(1.0, 1e5), min_size=1, max_size=5),
    st.floats(1.0, 1e5),
    st.sampled_from([0.0, 5e3]),
)
def test_it_is_the_best_of_all_drafts(
    name: str, acceptance: float, sizes: list[float], batch: float, context: float
) -> None:
    n, b = np.array(sizes), np.full(len(sizes), batch)
    model = MODELS[name]

    def time(of: str, tokens: int) -> np.ndarray:
        return token_latency(
            n, b, MODELS[of], H100, context_tokens=context, query_tokens=tokens
        ).total_s

    best = time(name, 1)
    for count in DRAFT_LENGTHS:
        drafted = time(name, count) + count * time("llama-3-8b", 1)
        best = np.minimum(best, drafted / expected_tokens(acceptance, count))
    speculation = Speculation(ForwardPass(model, H100, context), DRAFT, acceptance)
    found, count_used = speculative_latency_s(n, b, speculation)
    np.testing.assert_allclose(found, best, rtol=1e-12)
    assert set(count_used) <= {1, *DRAFT_LENGTHS}
    assert np.all(speculation.bound_s(n, b) <= found * (1 + 1e-12))


def test_a_draft_that_is_never_right_is_never_used() -> None:
    plain = ForwardPass(MODELS["llama-3-70b"], H100)
    sizes, batches = np.geomspace(2, 512, 12)[:, None], np.geomspace(1, 4096, 12)
    time, drafted = speculative_latency_s(sizes, batches, Speculation(plain, DRAFT, 0.0))
    assert time.shape == drafted.shape == (12, 12)
    assert np.all(drafted == 1)
    np.testing.assert_allclose(
        time, token_latency(sizes, batches, plain.model, H100).total_s, rtol=1e-12
    )


def test_an_acceptance_is_a_probability() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        Speculation(ForwardPass(DRAFT, H100), DRAFT, 1.5)


def test_published_times() -> None:
    assert [expected_tokens(0.8, g) for g in DRAFT_LENGTHS] == pytest.approx(
        [1.8, 2.44, 2.952, 3.3616]
    )
    m70 = Speculation(ForwardPass(MODELS["llama-3-70b"], H100), DRAFT)
    time, _ = speculative_latency_s(8, [1, 64], m70, ALONE)
    assert time * 1e3 == pytest.approx([6.518551, 9.018100], rel=1e-6)
    m405 = Speculation(ForwardPass(MODELS["llama-3.1-405b"], H100), DRAFT)
    time, _ = speculative_latency_s(16, 16, m405, ALONE)
    assert float(time) * 1e3 == pytest.approx(13.699098, rel=1e-6)


@pytest.mark.skipif(not POINTS.exists(), reason="the published points are not beside this checkout")
def test_every_published_time() -> None:
    entries = [p for p in json.loads(POINTS.read_text()) if p["name"] == "specdec"]
    assert entries
    for p in entries:
        model, draft = MODELS[NAMES[p["model"]]], MODELS[NAMES[p["draft"]]]
        n, b, context = p["n_gpu"], p["batch"], p["ctx"]
        speculation = Speculation(ForwardPass(model, H100, context), draft, p["alpha"])
        time, _ = speculative_latency_s(n, b, speculation, ALONE)
        assert float(time) * 1e3 == pytest.approx(p["ms"], rel=1e-9)
        drafting = token_latency(n, b, draft, H100, context_tokens=context, choices=ALONE).total_s
        assert float(drafting) * 1e3 == pytest.approx(p["draft_ms"], rel=1e-9)
        for count, verify_ms in p["verify_ms"].items():
            verify = token_latency(
                n, b, model, H100, context_tokens=context, query_tokens=int(count), choices=ALONE
            ).total_s
            assert float(verify) * 1e3 == pytest.approx(verify_ms, rel=1e-9)
