"""The profiler against a real HTTP server that misbehaves as told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest

from headway.errors import InputError
from headway.http.fake import FakeEngine, FakeSpeed, running
from headway.measure.endpoint.budget import Budget
from headway.measure.endpoint.campaign import Campaign, Outcome, Plan, probes_and_pings
from headway.measure.endpoint.endpoint import Address, Endpoint
from headway.measure.endpoint.ledger import Ledger
from headway.measure.endpoint.probe import Probe
from headway.measure.endpoint.prompts import WordCount, prompt_of
from headway.serving.token_prices import ApiPrices

pytest.importorskip("httpx", reason="the endpoint client needs the extra http")
ENDLESS = 1_000_000  # tokens: an answer ends at its limit
QUICK = FakeSpeed(ttft_s=0.001, itl_s=0.0002, tokens=ENDLESS)
PLAN = Plan((16, 64), max_tokens=6, trials=2, pings=1)
PRICE = ApiPrices(1000.0, 5000.0)


class Trial:
    """A campaign against a server of known truth, without waiting between retries."""

    def __init__(
        self, path: Path, engine: FakeEngine, plan: Plan = PLAN, budget: Budget | None = None
    ):
        self.path, self.engine, self.plan = path, engine, plan
        self.budget = budget or Budget(1000)
        self.waited: list[float] = []
        self.num_requests = 0

    def run(self) -> tuple[Outcome, list[Probe], list[float]]:
        with running(self.engine) as url, Ledger(self.path) as ledger:
            with Endpoint(Address(url, "fake", timeout_s=0.5)) as endpoint:
                campaign = Campaign(self.plan, ledger, self.budget, "fake", wait=self.waited.append)
                outcome = campaign.run(endpoint)
            self.num_requests = self.engine.num_requests
            return outcome, *probes_and_pings(ledger.entries)


def failing(*faults: str) -> FakeEngine:
    """A quick engine whose first requests go wrong so; empty text: well."""
    return FakeEngine(QUICK, faults=deque(faults))


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_all_that_was_planned_is_asked(ledger: Path) -> None:
    trial = Trial(ledger, FakeEngine(QUICK))
    outcome, probes, pings = trial.run()
    assert outcome == Outcome(4, 0, None)
    assert trial.num_requests == 4
    assert len(pings) == 2
    assert all(probe.usage.output_tokens == 6 and len(probe.chunks_s) == 6 for probe in probes)
    counted = [probe.usage.prompt_tokens for probe in probes if probe.id.startswith("1/64")]
    assert counted == [64]  # learned from the first round


def test_a_finished_campaign_asks_nothing_more(ledger: Path) -> None:
    Trial(ledger, FakeEngine(QUICK)).run()
    again = Trial(ledger, FakeEngine(QUICK))
    assert again.run()[0] == Outcome(4, 0, None)
    assert again.num_requests == 0


def test_another_plan_on_the_same_ledger_is_refused(ledger: Path) -> None:
    Trial(ledger, FakeEngine(QUICK)).run()
    with pytest.raises(InputError, match="another campaign"):
        Trial(ledger, FakeEngine(QUICK), Plan((32,))).run()


@pytest.mark.parametrize(
    ("failure", "name", "seen_chunks"),
    [("status-500", "server_error", 0), ("status-503", "server_error", 0),
     ("status-429", "rate_limited", 0), ("malformed", "malformed", 3), ("die", "closed_early", 3),
     ("hang-midway", "timeout", 3)],
)  # fmt: skip
def test_what_fails_once_is_named_kept_and_asked_again(
    ledger: Path, failure: str, name: str, seen_chunks: int
) -> None:
    truth = failing("", failure)
    outcome, probes, _ = Trial(ledger, truth).run()
    assert outcome == Outcome(4, 1, None)
    (failed,) = [probe for probe in probes if not probe.complete]
    assert failed.failure == name
    assert len(failed.chunks_s) == seen_chunks
    assert failed.message


def test_a_rate_limit_is_waited_for_as_long_as_it_says(ledger: Path) -> None:
    trial = Trial(ledger, failing("status-429"))
    trial.run()
    assert trial.waited[0] == 1.0


@pytest.mark.parametrize(
    ("status", "name"), [(401, "unauthorized"), (404, "not_found"), (400, "refused")]
)
def test_what_will_not_change_ends_the_campaign(ledger: Path, status: int, name: str) -> None:
    truth = failing("", f"status-{status}")
    trial = Trial(ledger, truth)
    outcome, _, _ = trial.run()
    assert outcome.num_complete == 1
    assert outcome.stopped is not None
    assert name in outcome.stopped
    assert f"this is a {status}" in outcome.stopped
    assert trial.num_requests == 2
    # Once the key is right, the same command goes on where it stopped.
    assert Trial(ledger, FakeEngine(QUICK)).run()[0].num_complete == 4


def test_an_endpoint_that_always_fails_is_not_asked_for_ever(ledger: Path) -> None:
    trial = Trial(ledger, failing(*["status-500"] * 100), Plan((16, 32, 64), trials=9))
    outcome, _, _ = trial.run()
    assert outcome.stopped is not None
    assert "in a row" in outcome.stopped
    assert trial.num_requests == 6


def test_nobody_at_home(ledger: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with Ledger(ledger) as opened, Endpoint(Address(url, "m")) as endpoint:
            outcome = Campaign(PLAN, opened, Budget(9), "m", wait=lambda s: None).run(endpoint)
            probes, pings = probes_and_pings(opened.entries)
    assert outcome.num_complete == 0
    assert {probe.failure for probe in probes} == {"down"}
    assert pings == []


def test_no_usage_cached_prompts_and_hidden_reasoning(ledger: Path, tmp_path: Path) -> None:
    _, probes, _ = Trial(ledger, FakeEngine(QUICK, with_usage=False)).run()
    assert {probe.usage.output_tokens for probe in probes} == {None}
    assert {probe.output_tokens for probe in probes} == {6}
    truth = FakeEngine(QUICK, cached_tokens=10, reasoning_tokens=4)
    plan = Plan((16, 64), max_tokens=12, trials=1)
    _, probes, _ = Trial(tmp_path / "2.jsonl", truth, plan).run()
    assert {probe.usage.cached_tokens for probe in probes} == {10}
    assert {probe.hidden_tokens for probe in probes} == {4}
    assert {len(probe.chunks_s) for probe in probes} == {8}


def test_requests_beyond_the_budget_are_not_sent(ledger: Path) -> None:
    trial = Trial(ledger, FakeEngine(QUICK), budget=Budget(3))
    outcome, _, _ = trial.run()
    assert trial.num_requests == 3
    assert outcome.stopped is not None
    assert "budget is used up: 3 requests" in outcome.stopped
    # Raising it lets the same campaign end.
    assert Trial(ledger, FakeEngine(QUICK), budget=Budget(4)).run()[0] == Outcome(4, 0, None)


@pytest.mark.parametrize("limit_usd", [0.0, 0.1, 1.0, 2.0])
@pytest.mark.parametrize(
    "failures", [[], ["status-500", "", "die", "status-429"], ["malformed"] * 9]
)
def test_dollars_are_never_exceeded(ledger: Path, limit_usd: float, failures: list[str]) -> None:
    truth = failing(*failures)
    budget = Budget(1000, limit_usd, PRICE)
    trial = Trial(ledger, truth, Plan((16, 200), 6, 3), budget)
    _, probes, _ = trial.run()
    # Nobody knows what a failed request was charged: at most its prompt and its limit.
    charged = sum(
        PRICE.usd(p.usage.prompt_tokens or p.prompt_words + 7, p.usage.output_tokens or 6)
        for p in probes
    )
    assert charged <= budget.spent_usd + 1e-9
    assert budget.spent_usd <= limit_usd + 1e-9


KILLED = """
import sys
from pathlib import Path
from headway.measure.endpoint.budget import Budget
from headway.measure.endpoint.endpoint import Address, Endpoint
from headway.measure.endpoint.ledger import Ledger
from headway.measure.endpoint.campaign import Campaign, Plan
with Ledger(Path(sys.argv[1])) as ledger, Endpoint(Address(sys.argv[2], "fake")) as endpoint:
    Campaign(Plan((16, 64), 6, 40), ledger, Budget(1000), "fake").run(endpoint)
"""


def test_a_campaign_goes_on_after_kill_9(ledger: Path) -> None:
    engine = FakeEngine(FakeSpeed(ttft_s=0.02, itl_s=0.0002, tokens=ENDLESS))
    plan = Plan((16, 64), 6, 40)
    with running(engine) as url:
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(ledger), url])
        until = time.monotonic() + 20
        while engine.num_requests < 8 and time.monotonic() < until:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = engine.num_requests
        assert 8 <= before < 80
        engine.speed = QUICK
        budget = Budget(1000)
        with Ledger(ledger) as opened, Endpoint(Address(url, "fake")) as endpoint:
            num_recorded = sum(entry["kind"] == "probe" for entry in opened.entries)
            campaign = Campaign(plan, opened, budget, "fake")
            assert campaign.run(endpoint) == Outcome(80, 0, None)
            probes, _ = probes_and_pings(opened.entries)
    # At most the probe in flight was lost; it was counted all the same.
    assert before - 1 <= num_recorded <= before
    assert len(probes) == 80
    assert budget.spent_requests == 80 + (before - num_recorded)


def test_prompts_differ_from_the_first_word_and_have_the_length_asked_for() -> None:
    prompts = [prompt_of(50, seed) for seed in range(20)]
    assert {len(prompt.split()) for prompt in prompts} == {50}
    assert len({" ".join(prompt.split()[:4]) for prompt in prompts}) > 15
    words = WordCount()
    assert words.max_tokens_of(10, "a" * 40) > 40
    for count in (10, 100, 400):
        words.learn(count, round(1.3 * count + 20))
    assert words.tokens_of(words.words_for(1000)) == pytest.approx(1000, rel=0.01)
    with pytest.raises(InputError, match="one word"):
        prompt_of(0, 1)


def test_what_is_no_address_or_plan_is_refused() -> None:
    with pytest.raises(InputError, match="http"):
        Address("localhost:8000", "m")
    with pytest.raises(InputError, match="--model"):
        Address("http://localhost:8000/v1", "")
    assert "secret" not in repr(Address("http://x/v1", "m", "secret"))
    with pytest.raises(InputError, match="prompt sizes"):
        Plan(())
    with pytest.raises(InputError, match="1 trial"):
        Plan((1,), trials=0)
