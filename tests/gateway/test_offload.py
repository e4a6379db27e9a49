"""A second, slower pool: who is sent there, who comes back, and what it is told."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from tests.gateway.conftest import Live, get, post
from tests.gateway.test_order import FromPrompt, chat

from headway.errors import InputError
from headway.gateway.config import GatewayConfig
from headway.gateway.pools import Endpoint, Overflow, Pool
from headway.http.fake import FakeSpeed
from headway.schedule.order import ShortestJob

RULE = Overflow("gpu", "cpu", threshold_tokens=300)
SPEEDS = (
    Pool("gpu", 10.0, fixed_s=0.4, prompt_token_s=0.0, output_token_s=0.0),
    Pool("cpu", 1.0, fixed_s=0.1, prompt_token_s=0.0, output_token_s=0.0),
)


def two_pools(live: Live, rule: Overflow = RULE, slow: bool = True, **settings: Any) -> int:
    """A gateway with one place on the fast engine, and a slow one that is often free."""
    endpoints = [Endpoint(live.engine(), max_inflight=1, pool="gpu")]
    endpoints.append(Endpoint(live.engine() if slow else "http://127.0.0.1:1/v1", pool="cpu"))
    settings = {"pool_settings": SPEEDS, "policy": ShortestJob(), **settings}
    return live.gateway(
        endpoints=tuple(endpoints), predictor=FromPrompt(), overflow=rule, **settings
    )


def while_one_runs(
    live: Live, port: int, texts: Sequence[str], **headers: str
) -> list[tuple[int, dict[str, str], bytes]]:
    """Send ``texts`` one after the other while another request keeps the fast engine busy."""
    found: dict[str, tuple[int, dict[str, str], bytes]] = {}

    def ask(text: str, more: dict[str, str]) -> None:
        found[text] = post(port, chat(text), **more)

    gateway, threads = live.gateways[0], []
    overflow = gateway.scheduler.dispatcher.overflow
    with live.busy(port):
        for number, text in enumerate(texts, 1):
            threads.append(threading.Thread(target=ask, args=(text, headers)))
            threads[-1].start()
            live.until(lambda n=number: len(gateway.queues["gpu"]) + overflow.num_moved >= n)  # type: ignore[misc]
    for thread in threads:
        thread.join()
    return [found[text] for text in texts]


def test_a_long_answer_goes_to_the_slow_pool_when_the_fast_one_is_busy(live: Live) -> None:
    port = two_pools(live)
    ((status, headers, _),) = while_one_runs(live, port, ["long 1000"])
    assert status == 200
    assert headers["x-headway-pool"] == "cpu"
    assert headers["x-headway-offloaded-from"] == "gpu"
    assert len(live.engines[1].bodies) == 1
    assert "headway:num_requests_offloaded 1" in get(port, "/metrics")[2].decode()
    entry = next(e for e in live.entries(2) if e.status == "done")
    assert entry.pool == "cpu"
    assert entry.p50_tokens == pytest.approx(1000)


def test_a_short_answer_waits_for_the_fast_pool(live: Live) -> None:
    port = two_pools(live)
    ((_, headers, _),) = while_one_runs(live, port, ["short 100"])
    assert headers["x-headway-pool"] == "gpu"
    assert "x-headway-offloaded-from" not in headers


def test_it_is_the_upper_quantile_that_counts(live: Live) -> None:
    port = two_pools(live)  # the 0.9 quantile is 1.2 times the number: 312 and 288
    over, under = while_one_runs(live, port, ["x 260", "x 240"])
    assert over[1]["x-headway-pool"] == "cpu"
    assert under[1]["x-headway-pool"] == "gpu"


def test_a_free_fast_pool_takes_long_answers_too(live: Live) -> None:
    _, headers, _ = post(two_pools(live), chat("long 1000"))
    assert headers["x-headway-pool"] == "gpu"


def test_it_stays_where_the_slow_pool_would_take_longer(live: Live) -> None:
    slower = (SPEEDS[0], Pool("cpu", fixed_s=60.0, output_token_s=0.0, prompt_token_s=0.0))
    port = two_pools(live, pool_settings=slower)
    ((_, headers, _),) = while_one_runs(live, port, ["long 1000"])
    assert headers["x-headway-pool"] == "gpu"


def test_a_clients_choice_of_pool_holds(live: Live) -> None:
    port = two_pools(live)
    ((_, headers, _),) = while_one_runs(live, port, ["long 1000"], x_headway_pool="gpu")
    assert headers["x-headway-pool"] == "gpu"


def test_a_slow_pool_that_is_down_takes_nothing(live: Live) -> None:
    port = two_pools(live, slow=False)
    live.until(lambda: not live.gateways[0].scheduler.fleet.is_up("cpu", 0.0))
    ((status, headers, _),) = while_one_runs(live, port, ["long 1000"])
    assert (status, headers["x-headway-pool"]) == (200, "gpu")


def test_what_fails_on_the_slow_pool_is_tried_where_it_came_from(live: Live) -> None:
    port = two_pools(live)
    live.engines[1].faults.append("close-before")
    ((status, headers, _),) = while_one_runs(live, port, ["long 1000"])
    assert (status, headers["x-headway-pool"]) == (200, "gpu")
    assert sorted(e.attempts for e in live.entries(2)) == [1, 2]


def test_whoever_waits_in_the_slow_pool_comes_back_when_the_fast_one_is_free(live: Live) -> None:
    port = two_pools(live)
    gateway = live.gateways[0]
    slow = next(e for e in gateway.scheduler.fleet.engines.values() if e.endpoint.pool == "cpu")
    slow.pace.max_in_flight = 1
    live.engines[1].speed = FakeSpeed(ttft_s=0.5)
    answers = while_one_runs(live, port, ["long 1000", "long 2000"])
    assert gateway.scheduler.dispatcher.overflow.num_moved == 2
    assert sorted(headers["x-headway-pool"] for _, headers, _ in answers) == ["cpu", "gpu"]


def test_money_counts_where_a_clients_time_has_a_price(live: Live) -> None:
    # On the slow pool it ends sooner, but an hour of it costs more than an hour of waiting.
    dear = (SPEEDS[0], Pool("cpu", 1e6, fixed_s=0.3, prompt_token_s=0.0, output_token_s=0.0))
    rule = Overflow("gpu", "cpu", threshold_tokens=300, worth_usd_per_hour=1.0)
    port = two_pools(live, rule, pool_settings=dear)
    ((_, headers, _),) = while_one_runs(live, port, ["long 1000"])
    assert headers["x-headway-pool"] == "gpu"


def test_a_share_of_the_answers_may_go(live: Live) -> None:
    port = two_pools(live, Overflow("gpu", "cpu", share=0.5))
    gateway = live.gateways[0]
    gateway.scheduler.dispatcher.overflow._lengths.extend(range(100, 200))
    short, long = while_one_runs(live, port, ["x 90", "x 500"])
    assert long[1]["x-headway-pool"] == "cpu"
    assert short[1]["x-headway-pool"] == "gpu"


@pytest.mark.parametrize(
    "settings",
    [
        {"fast": "gpu", "slow": "gpu", "threshold_tokens": 5.0},
        {"fast": "gpu", "slow": "cpu"},
        {"fast": "gpu", "slow": "cpu", "threshold_tokens": 5.0, "share": 0.1},
        {"fast": "gpu", "slow": "cpu", "share": 1.0},
        {"fast": "gpu", "slow": "cpu", "share": 0.1, "level": 0.999},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Overflow(**settings)  # type: ignore[arg-type]


def test_pools_must_exist() -> None:
    with pytest.raises(InputError, match="cpu"):
        GatewayConfig((Endpoint("http://x/v1", pool="gpu"),), overflow=RULE)
    with pytest.raises(InputError, match="annotating"):
        GatewayConfig(
            (Endpoint("http://x/v1", pool="gpu"), Endpoint("http://y/v1", pool="cpu")),
            overflow=RULE, mode="annotate",
        )  # fmt: skip
