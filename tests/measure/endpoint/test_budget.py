from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError
from headway.measure.endpoint.budget import Budget
from headway.serving.token_prices import ApiPrices


@given(
    st.lists(st.tuples(st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1))), max_size=40),
    st.floats(0, 5),
    st.integers(1, 20),
)
def test_neither_limit_is_ever_exceeded(
    requests: list[tuple[float, float | None]], most_usd: float, most: int
) -> None:
    budget, charged = Budget(most, most_usd, ApiPrices(1, 1)), 0.0
    for aside, share in requests:
        if not budget.allows(aside):
            continue
        budget.reserve(aside)
        usd = None if share is None else share * aside
        charged += aside if usd is None else usd
        budget.settle(aside, usd)
        assert budget.spent_requests <= most
        assert charged <= budget.spent_usd + 1e-9 <= most_usd + 2e-9


def test_what_a_request_costs() -> None:
    price = ApiPrices(3.0, 15.0, 0.3)
    assert price.usd(1000, 100) == pytest.approx(0.0045)
    assert price.usd(1000, 100, cached_tokens=1000) == pytest.approx(0.0018)
    assert price.max_usd(1000, 100) == pytest.approx(0.0045)


def test_what_is_no_budget_is_refused() -> None:
    with pytest.raises(InputError, match="budget"):
        Budget(0)
    with pytest.raises(InputError, match="needs the price"):
        Budget(1, 2.0)
    with pytest.raises(InputError, match="API price"):
        ApiPrices(-1, 1)
    budget = Budget(1)
    budget.reserve(0)
    with pytest.raises(InputError, match="does not allow"):
        budget.reserve(0)
