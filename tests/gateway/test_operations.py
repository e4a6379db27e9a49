"""What whoever runs a gateway relies on: discovery, words at the start, numbers to scale on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.gateway.conftest import CHAT, Live, get, post
from tests.gateway.test_order import ONE, FromPrompt

from headway.errors import InputError
from headway.gateway.config import ServiceClass, Tenant
from headway.gateway.config_file import read_config
from headway.gateway.discovery import Discovery
from headway.gateway.scheduler.admission import key_hash
from headway.gateway.scheduler.telemetry import MAX_USERS, Telemetry
from headway.http.fake import FakeSpeed
from headway.record.entry import Entry
from headway.schedule.order import ShortestJob


def test_engines_of_a_file_come_and_go_while_it_runs(live: Live, tmp_path: Path) -> None:
    one, two = live.engine(), live.engine()
    place = tmp_path / "engines.txt"
    place.write_text(f"{one}\n# a comment\n")
    discover = (Discovery(file=str(place), every_s=0.05),)
    port = live.gateway(endpoints=(), discover=discover)
    assert post(port, CHAT)[0] == 200
    fleet = live.gateways[0].scheduler.fleet
    assert set(fleet.engines) == {one}

    place.write_text(f"{two}  # moved\n")
    live.until(lambda: set(fleet.engines) == {two})
    assert post(port, CHAT)[0] == 200
    assert [len(engine.bodies) for engine in live.engines] == [1, 1]

    # What cannot be read, or makes no sense, changes nothing.
    place.write_text("no address\n")
    place.unlink()
    assert post(port, CHAT)[0] == 200
    assert set(fleet.engines) == {two}


def test_every_number_of_a_name_is_an_engine(live: Live) -> None:
    url = live.engine()
    place = url.replace("127.0.0.1", "localhost")
    port = live.gateway(endpoints=(), discover=(Discovery(dns=place),))
    assert f"http://127.0.0.1:{place.split(':')[2]}" in set(
        live.gateways[0].scheduler.fleet.engines
    )
    assert post(port, CHAT)[0] == 200


def test_a_gateway_waits_for_the_first_engine_to_be_discovered(live: Live, tmp_path: Path) -> None:
    place = tmp_path / "engines.txt"
    port = live.gateway(endpoints=(), discover=(Discovery(file=str(place), every_s=0.05),))
    url = live.engine()
    place.write_text(url)
    assert post(port, CHAT)[0] == 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "one of dns, an address, file"),
        ({"dns": "http://h/v1", "file": "x"}, "not two"),
        ({"dns": "https://h/v1"}, "over http"),
        ({"dns": "http://h/v1", "every_s": 0.0}, "every_s"),
    ],
)
def test_a_discovery_that_makes_no_sense_is_told(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Discovery(**settings)  # type: ignore[arg-type]  # as a file would have them


def test_a_file_names_places_models_and_budgets(tmp_path: Path) -> None:
    path = tmp_path / "headway.toml"
    path.write_text(
        """
        admission = "strict"
        [[discover]]
        file = "engines.txt"
        [model.best]
        serves = "large"
        fallback = "small"
        [[tenant]]
        name = "a"
        key_sha256 = "HASH"
        tokens_per_minute = 1000
    """.replace("HASH", key_hash("x"))
    )
    config = read_config(path)
    assert config.discover[0].file == str(tmp_path / "engines.txt")
    assert config.pools == ("main",)
    assert config.model_names["best"].fallback == "small"
    assert config.tenants[0].tokens_per_minute == 1000
    assert config.admission == "strict"


def test_the_start_says_what_answers_and_what_does_not(live: Live) -> None:
    url = live.engine()
    live.gateway(url, url.removesuffix("/v1"), "http://127.0.0.1:1/v1")
    lines = live.run(live.gateways[0].backends.introductions())
    assert lines == [
        f"{url} answers with fake",
        f"{url.removesuffix('/v1')} lists no models, but {url} does: is that its address?",
        "http://127.0.0.1:1/v1 does not answer; requests wait until it does",
    ]


def test_a_gateway_is_not_ready_for_an_engine_whose_address_lacks_its_v1(live: Live) -> None:
    port = live.gateway(live.engine().removesuffix("/v1"))
    live.run(live.gateways[0].backends.introductions())
    assert get(port, "/ready")[0] == 503


def test_metrics_tell_tenants_models_classes_and_the_work_that_is_left(live: Live) -> None:
    tenant = Tenant("one", key_hash("hw-one"))
    port = live.gateway(
        live.engine(FakeSpeed(ttft_s=0.02)), tenants=(tenant,), endpoint=ONE,
        policy=ShortestJob(), predictor=FromPrompt(), classes=(ServiceClass("calm"),),
        admin_sha256=key_hash("root"),
    )  # fmt: skip
    seen: list[str] = []

    def work() -> float:
        seen.append(get(port, "/metrics", authorization="Bearer root")[2].decode())
        line = next(x for x in seen[-1].splitlines() if x.startswith("headway:predicted_work_s"))
        return float(line.split()[-1])

    key = "Bearer hw-one"
    with live.busy(port, Authorization=key):
        before = work()
        burst_of = ["x 100", "x 200"]
        threads = [
            threading.Thread(
                target=post,
                args=(port, {**CHAT, "messages": [{"role": "user", "content": text}]}),
                kwargs={"authorization": key, "x_headway_class": "calm"},
            )
            for text in burst_of
        ]
        for thread in threads:
            thread.start()
        live.until(lambda: len(live.gateways[0].queues["main"]) == 2)
        assert work() > before + 2.5  # 300 tokens of 10 ms
    for thread in threads:
        thread.join()
    live.entries(3)
    work()
    assert 'headway:requests_total{tenant="one",model="fake",class="calm"} 2' in seen[-1]
    assert 'headway:tokens_total{tenant="one",model="fake",class="calm"}' in seen[-1]


def test_names_from_outside_do_not_fill_the_metrics() -> None:
    telemetry = Telemetry()
    for number in range(MAX_USERS + 50):
        telemetry.count(Entry(id="a", status="done", arrival_s=0.0, model=str(number)))
    assert len(telemetry.users) == MAX_USERS + 1
    assert telemetry.users["other", "other", "other"] == 50
