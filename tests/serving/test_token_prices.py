"""Tokens pay for the engine, no more and no less."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.serving.estimate import ServingQuestion, answer
from headway.serving.one_engine import Limits, Load
from headway.serving.token_prices import ApiPrices, TokenPrices, token_prices
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism

USD_PER_S = 0.01


def asked(load: Load, engine: str = "vllm") -> ServingQuestion:
    d = Deployment(
        find_cluster("h100"), find_model("llama-3.1-8b"), Precision.parse("bf16"), Parallelism(1)
    )
    return ServingQuestion(d, engine, load, Limits(mixes=engine != "sglang"))


def prices(load: Load, engine: str = "vllm") -> TokenPrices:
    question = asked(load, engine)
    return token_prices(question, answer(question), USD_PER_S)


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
    load = Load(prompt, output, users, cached)
    question = asked(load, engine)
    found = answer(question)
    sold = token_prices(question, found, USD_PER_S)
    paid = (
        prompt * ((1 - cached) * sold.input + cached * sold.cached_input) + output * sold.output
    ) * float(found.times.requests_per_s)
    assert paid / 1e6 == pytest.approx(USD_PER_S)
    assert min(sold.input, sold.output, sold.blended) >= 0
    assert sold.cached_input >= -1e-12


def test_a_cached_token_is_cheaper_and_dearer_in_a_long_prompt() -> None:
    short, long = prices(Load(2_000, 200, 16, 0.5)), prices(Load(60_000, 200, 4, 0.5))
    assert 0 < short.cached_input < 0.2 * short.input
    assert long.cached_input > 2 * short.cached_input


def test_a_price_for_cached_tokens_is_known_before_any_is_cached() -> None:
    none, some = prices(Load(8_000, 500, 16)), prices(Load(8_000, 500, 16, 0.5))
    assert 0 < none.cached_input < none.input
    assert none.cached_input == pytest.approx(some.cached_input, rel=0.5)


def test_an_api_that_asks_less_for_cached_input_costs_less() -> None:
    load = Load(1_000_000, 100_000, 1, 0.5)
    assert ApiPrices(2.0, 8.0).usd_per_request(load) == pytest.approx(2.0 + 0.8)
    assert ApiPrices(2.0, 8.0, 0.2).usd_per_request(load) == pytest.approx(1.0 + 0.1 + 0.8)
    cold = Load(1_000_000, 100_000, 1)
    assert ApiPrices(2.0, 8.0, 0.2).usd_per_request(cold) == pytest.approx(2.8)
    with pytest.raises(InputError, match="API price"):
        ApiPrices(-1.0, 2.0)
