"""Budgets: what is reserved is settled, nothing is lost or made, and gateways share one limit."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conftest import Live, get, post
from tests.gateway.test_order import FromPrompt, chat
from tests.gateway.test_postgres import Server, programs

from headway.errors import InputError
from headway.gateway.config import GatewayConfig, Tenant
from headway.gateway.leases import Leases
from headway.gateway.pools import Endpoint, Pool
from headway.gateway.scheduler.admission import key_hash
from headway.gateway.scheduler.budgets import REQUESTS, TOKENS, Allowance, Budgets, Reservation

KEY = {"authorization": "Bearer hw-one"}


def tenant(**limits: float) -> Tenant:
    return Tenant("one", key_hash("hw-one"), **limits)  # type: ignore[arg-type]  # limits alone


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(0, 5)), max_size=50))
def test_reserving_and_settling_uses_what_was_used(
    requests: list[tuple[float, float, float]],
) -> None:
    budgets = Budgets()
    budgets.adopt((tenant(tokens_per_minute=6e9),), leased=False)
    allowance = budgets.allowances["one", TOKENS]
    now_s = used = 0.0
    for reserved, actual, pause_s in requests:
        now_s += pause_s
        assert budgets.wait_s("one", {TOKENS: reserved}, now_s) == 0
        reservation = Reservation()
        budgets.reserve("one", reservation, {TOKENS: reserved})
        budgets.reserve("one", reservation, {TOKENS: actual})
        used += actual
        assert allowance.level <= allowance.size + 1e-3
    allowance.refill(now_s + 60)
    assert allowance.level == pytest.approx(allowance.size)


@given(st.lists(st.floats(1, 300), min_size=1, max_size=60))
def test_no_more_than_the_limit_and_one_request_is_used(amounts: list[float]) -> None:
    allowance = Allowance(TOKENS, limit=600.0)
    now_s = used = 0.0
    for amount in amounts:
        allowance.refill(now_s)
        now_s += allowance.wait_s(amount)
        allowance.refill(now_s)
        allowance.grant(-amount)
        used += amount
        assert used <= allowance.size + allowance.rate * now_s + 300 + 1e-6


def test_a_whole_minute_of_requests_does_not_come_at_once() -> None:
    budgets = Budgets()
    budgets.adopt((tenant(requests_per_minute=600),), leased=False)
    sent = 0
    while budgets.wait_s("one", {REQUESTS: 1.0}, 0.0) == 0:
        budgets.reserve("one", Reservation(), {REQUESTS: 1.0})
        sent += 1
    assert sent == 100


def test_tokens_are_reserved_as_predicted_settled_by_what_came_and_told(live: Live) -> None:
    port = live.gateway(
        live.engine(), predictor=FromPrompt(), tenants=(tenant(tokens_per_minute=1000),)
    )
    status, headers, _ = post(port, chat("as long as 40"), x_fake_tokens="30", **KEY)
    assert status == 200
    assert headers["x-ratelimit-limit-tokens"] == "1000"
    budgets = live.gateways[0].scheduler.admission.budgets
    allowance = budgets.allowances["one", TOKENS]
    (entry,) = live.entries(1)
    used = entry.prompt_tokens + entry.output_tokens
    live.until(lambda: allowance.level == pytest.approx(1000 - used, abs=5))

    status, headers, body = post(port, {**chat("x 900"), "max_tokens": 2000}, **KEY)
    assert status in (200, 429)
    codes = [post(port, chat("x 900"), x_fake_tokens="900", **KEY)[0] for _ in range(3)]
    assert codes[-1] == 429
    status, headers, body = post(port, chat("x 900"), **KEY)
    assert json.loads(body)["error"]["code"] in ("rate_limited", "budget_exhausted")
    assert int(headers["retry-after"]) >= 1
    assert float(headers["x-ratelimit-reset-tokens"].rstrip("s")) > 0


def test_dollars_need_prices_and_are_charged_by_them(live: Live) -> None:
    with pytest.raises(InputError, match="usd_per_mtok_input"):
        GatewayConfig((Endpoint("http://h/v1"),), tenants=(tenant(usd_per_day=1.0),))
    pool = Pool("main", usd_per_mtok_input=0.0, usd_per_mtok_output=1e6)
    port = live.gateway(
        live.engine(), predictor=FromPrompt(), tenants=(tenant(usd_per_day=60.0),),
        pool_settings=(pool,),
    )  # fmt: skip
    assert post(port, chat("x 20"), x_fake_tokens="30", **KEY)[0] == 200
    status, headers, _ = post(port, chat("x 20"), x_fake_tokens="30", **KEY)
    assert status == 200
    assert float(headers["x-ratelimit-remaining-usd"]) < 60
    assert post(port, chat("x 20"), **KEY)[0] == 429
    assert get(port, "/v1/models", **KEY)[0] == 200


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    folder = programs()
    if folder is None:
        pytest.skip("needs PostgreSQL's server programs")
    with tempfile.TemporaryDirectory() as place:
        server = Server(Path(place), folder)
        yield server
        server.stop()


def test_gateways_share_one_limit_and_give_back_what_they_do_not_use(database: Server) -> None:
    async def scene() -> None:
        budgets = [Budgets() for _ in range(3)]
        for each in budgets:
            each.adopt((tenant(tokens_per_minute=6000),), leased=True)
        leases = [Leases(database.url, lambda each=each: each.allowances) for each in budgets]  # type: ignore[misc]
        for lease in leases:
            await lease.round()
        assert 0 < sum(each.allowances["one", TOKENS].level for each in budgets) <= 6000

        # All that there is can be used through one of them, and no more than that through all.
        used = 0.0
        for _ in range(30):
            for each, lease in zip(budgets, leases, strict=True):
                while each.wait_s("one", {TOKENS: 1000.0}, 0.0) == 0:
                    each.reserve("one", Reservation(), {TOKENS: 1000.0})
                    used += 1000.0
                await lease.round()
        assert 4000 <= used <= 6000 + 100 * 10

        # What was leased and not used is there for others.
        budgets[0].allowances["one", TOKENS].grant(2000.0)
        for lease in leases:
            await lease.close()
        assert all(each.allowances["one", TOKENS].level <= 0 for each in budgets)

    asyncio.run(scene())


def test_without_its_database_a_gateway_goes_on_alone() -> None:
    async def scene() -> None:
        budgets = Budgets()
        budgets.adopt((tenant(tokens_per_minute=6000),), leased=True)
        lease = Leases("postgresql://x@127.0.0.1:1/x", lambda: budgets.allowances)
        await lease.round()
        assert budgets.wait_s("one", {TOKENS: 10.0}, 1.0) >= 0
        assert not budgets.allowances["one", TOKENS].leased

    asyncio.run(scene())
