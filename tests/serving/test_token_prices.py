"""Tokens pay for the engine, no more and no less."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import ServingEstimate, serve
from headway.serving.token_prices import ApiPrices, BreakEvenPrices, break_even_prices
from headway.steptime.deployment import Deployment


def served(load: ClosedLoop, engine: str = "vllm") -> ServingEstimate:
    llama, h100 = find_model("llama-3.1-8b"), find_cluster("h100")
    return serve(Deployment(llama, h100, precision="bf16", engine=engine), load)


def prices(load: ClosedLoop, engine: str = "vllm") -> BreakEvenPrices:
    return break_even_prices(served(load, engine))


@given(
    st.integers(2, 30_000),
    st.integers(1, 4_000),
    st.integers(1, 200),
    st.sampled_from((0.0, 0.1, 0.5, 0.9)),
    st.sampled_from(("vllm", "sglang")),
)
@settings(max_examples=40)
def test_all_tokens_together_pay_exactly(
    prompt: int, output: int, users: int, cached: float, engine: str
) -> None:
    load = ClosedLoop(prompt, output, users, cached)
    answer = served(load, engine)
    sold = break_even_prices(answer)
    paid = (
        prompt * ((1 - cached) * sold.input + cached * sold.cached_input) + output * sold.output
    ) * float(answer.times.requests_per_s)
    assert paid / 1e6 == pytest.approx(float(answer.usd_per_s or 0))
    assert min(sold.input, sold.output) >= 0
    assert sold.cached_input >= -1e-12


def test_a_cached_token_is_cheaper_and_dearer_in_a_long_prompt() -> None:
    short, long = prices(ClosedLoop(2_000, 200, 16, 0.5)), prices(ClosedLoop(60_000, 200, 4, 0.5))
    assert 0 < short.cached_input < 0.2 * short.input
    assert long.cached_input > 2 * short.cached_input


def test_a_price_for_cached_tokens_is_known_before_any_is_cached() -> None:
    none, some = prices(ClosedLoop(8_000, 500, 16)), prices(ClosedLoop(8_000, 500, 16, 0.5))
    assert 0 < none.cached_input < none.input
    assert none.cached_input == pytest.approx(some.cached_input, rel=0.5)


def test_an_api_that_asks_less_for_cached_input_costs_less() -> None:
    load = ClosedLoop(1_000_000, 100_000, 1, 0.5)
    assert ApiPrices(2.0, 8.0).usd_per_request(load) == pytest.approx(2.0 + 0.8)
    assert ApiPrices(2.0, 8.0, 0.2).usd_per_request(load) == pytest.approx(1.0 + 0.1 + 0.8)
    cold = ClosedLoop(1_000_000, 100_000, 1)
    assert ApiPrices(2.0, 8.0, 0.2).usd_per_request(cold) == pytest.approx(2.8)
    with pytest.raises(InputError, match="API price"):
        ApiPrices(-1.0, 2.0)
