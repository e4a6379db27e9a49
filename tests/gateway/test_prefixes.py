"""What engines are believed to hold of prompts, and where requests go by it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.gateway.config import GatewayConfig
from headway.gateway.pools import Endpoint
from headway.gateway.scheduler.engine import EngineState
from headway.gateway.scheduler.fleet import Fleet
from headway.gateway.scheduler.prefixes import (
    BLOCK_CHARACTERS,
    MAX_BLOCKS,
    PrefixIndex,
    blocks_of,
)
from headway.gateway.scheduler.queued import QueuedRequest
from headway.schedule.view import ServiceTime
from headway.workload.request import Request

pieces = st.sampled_from(["a" * 100, "b" * 100, "a" * 17, "b"])
texts = st.lists(pieces, max_size=12).map("".join)


@given(texts, texts, texts)
def test_blocks_are_equal_as_far_as_texts_are(common: str, one: str, other: str) -> None:
    first, second = blocks_of(common + one), blocks_of(common + other)
    num_common = len(common) // BLOCK_CHARACTERS
    assert first[:num_common] == second[:num_common]
    for at, (a, b) in enumerate(zip(first, second, strict=False), start=1):
        end = at * BLOCK_CHARACTERS
        assert (a == b) == ((common + one)[:end] == (common + other)[:end])


@given(st.lists(texts, max_size=8), texts)
def test_the_index_holds_the_longest_prefix_that_was_added(added: list[str], asked: str) -> None:
    index = PrefixIndex()
    for text in added:
        index.add(blocks_of(text))
    blocks = blocks_of(asked)
    expected = max((_common(blocks, blocks_of(text)) for text in added), default=0)
    assert index.num_cached(blocks) == expected


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def test_the_index_is_bounded_and_forgets_the_ends_of_the_longest_unused_first() -> None:
    index = PrefixIndex()
    first = tuple(range(1, 101))
    index.add(first)
    for number in range(1000, 1000 + MAX_BLOCKS - 50):
        index.add((number,))
    assert len(index) == MAX_BLOCKS
    assert index.num_cached(first) == 50


def test_what_an_engine_counts_weighs_the_belief() -> None:
    index = PrefixIndex()
    for _ in range(50):
        index.settle((1, 2), expected_tokens=100.0, cached_tokens=0)
    assert index.trust < 0.05
    for _ in range(50):
        index.settle((1, 2), expected_tokens=100.0, cached_tokens=100)
    assert index.trust > 0.9
    for _ in range(20):
        index.expect(1000.0, 500.0)
    index.confirm(prompt_tokens=3000.0, cached_tokens=1500.0)  # the others wait there
    assert index.trust > 0.95
    for _ in range(20):
        index.expect(1000.0, 500.0)
    index.confirm(prompt_tokens=20_000.0, cached_tokens=0.0)
    assert index.trust < 0.15


def fleet_of(count: int) -> Fleet:
    fleet = Fleet()
    fleet.adopt(GatewayConfig(tuple(Endpoint(f"http://e{n}/v1") for n in range(count))))
    return fleet


def ask(text: str, model: str = "", session: str = "", tokens: int = 1000) -> QueuedRequest:
    queued = QueuedRequest(Request("a", 0.0, text, tokens, model=model), session=session)
    queued.pool, queued.blocks = "main", blocks_of(text)
    return queued


def send(fleet: Fleet, queued: QueuedRequest) -> EngineState:
    engine = fleet.choose("main", 0.0, queued=queued)
    assert engine is not None
    fleet.note_start(queued, engine)
    return engine


def test_a_prompt_goes_where_its_prefix_is_until_that_engine_has_too_much_to_do() -> None:
    fleet = fleet_of(4)
    shared = "x" * 4000
    home = send(fleet, ask(shared + "one"))
    for number in range(8):
        queued = ask(shared + str(number))
        assert send(fleet, queued) is home
        assert 900 < queued.cached_tokens <= 1000
    home.begin(tokens=2000.0)
    assert send(fleet, ask(shared + "another")) is not home


def test_a_wrong_index_gives_way_to_load() -> None:
    fleet = fleet_of(2)
    shared = "x" * 4000
    home = send(fleet, ask(shared))
    home.prefixes.trust = 0.01
    home.begin(tokens=10.0)
    assert send(fleet, ask(shared + "y")) is not home


def test_an_engine_that_was_down_holds_nothing() -> None:
    fleet = fleet_of(2)
    home = send(fleet, ask("x" * 4000))
    home.note_health(is_good=False, now_s=0.0)
    assert len(home.prefixes) == 0


def test_a_session_stays_where_it_was_when_its_prompts_are_no_text() -> None:
    fleet = fleet_of(4)
    home = send(fleet, ask("", session="alice"))
    assert all(send(fleet, ask("", session="alice")) is home for _ in range(5))


def test_a_request_goes_to_an_engine_that_has_its_model() -> None:
    fleet = fleet_of(3)
    for engine, names in zip(fleet.engines.values(), (["a"], ["b", "b-lora"], ["a"]), strict=True):
        engine.models = [{"id": name} for name in names]
    one, two, three = fleet.engines.values()
    for _ in range(6):
        assert fleet.choose("main", 0.0, queued=ask("", "a")) in (one, three)
        assert fleet.choose("main", 0.0, queued=ask("", "b-lora")) is two
    assert fleet.kind("main", "b") == "b"
    two.endpoint = Endpoint(two.url, max_inflight=1)
    two.pace.max_in_flight = 1
    two.begin(1.0)
    assert not fleet.has_room("main", "b", 0.0)
    assert fleet.has_room("main", "a", 0.0)
    assert fleet.choose("main", 0.0, queued=ask("", "b")) is None


def test_a_name_that_no_engine_lists_is_for_the_engines_to_judge() -> None:
    fleet = fleet_of(2)
    for engine in fleet.engines.values():
        engine.models = [{"id": "a"}]
    assert fleet.choose("main", 0.0, queued=ask("", "unheard-of")) is not None
    assert fleet.kind("main", "unheard-of") == ""


def test_an_engine_is_made_of_its_settings_alone() -> None:
    assert EngineState(Endpoint("http://e/v1"), ServiceTime()).may_serve("anything")
