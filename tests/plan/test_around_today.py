"""What runs today, what Prometheus counted, a day, and prices: what else a plan answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plan.problems import problem, stream

from headway.errors import InputError
from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.plan.bounds import candidates
from headway.plan.day import MINUTES, PATTERNS, Day, day_rows
from headway.plan.demand import scaled_lengths
from headway.plan.engine_flags import engine_arguments, read_arguments
from headway.plan.now import Today, other_flags
from headway.plan.price_doubt import with_prices_to_win
from headway.plan.prometheus import read_prometheus
from headway.plan.row import PlanRow
from headway.plan.search import Offer, search
from headway.steptime.deployment import Deployment, EngineLimits


@pytest.fixture(scope="module")
def offers() -> tuple[Offer, ...]:
    asked = problem(on=("h100",), demand=stream(60.0))
    return search(asked, candidates(asked)[0]).offers


@settings(max_examples=40, deadline=None)
@given(
    engine=st.sampled_from(["vllm", "sglang"]),
    tp=st.sampled_from([1, 2, 4, 8]),
    dp=st.sampled_from([1, 2]),
    seqs=st.integers(32, 1024),
    tokens=st.sampled_from([2048, 8192]),
    polls=st.sampled_from([1, 10]),
    precision=st.sampled_from(["bf16", "fp8", "fp8/fp8/fp8"]),
)
def test_flags_that_are_written_are_read_again(
    engine: str, tp: int, dp: int, seqs: int, tokens: int, polls: int, precision: str
) -> None:
    model = find_model("qwen3-235b-a22b" if dp > 1 else "qwen3-32b")
    deployment = Deployment(
        model,
        find_cluster("h200"),
        tp=tp,
        dp=dp,
        ep=tp * dp if dp > 1 else 1,
        precision=precision,
        engine=engine,
        limits=EngineLimits(seqs, tokens, poll_steps=polls if engine == "sglang" else 1),
    )
    again = read_arguments(" ".join(engine_arguments(deployment)), find_cluster("h200"))
    assert again.replicas == 1
    assert again.unread == ()
    assert str(again.deployment) == str(deployment)
    assert again.deployment.limits == deployment.limits


def test_a_command_line_may_have_several_lines_and_replicas() -> None:
    text = "# today\nvllm serve meta-llama/Llama-3.1-8B \\\n  -tp 2 --data-parallel-size=3 --seed 1"
    started = read_arguments(text, find_cluster("h100"))
    assert started.replicas == 3  # groups of a dense model share nothing
    assert float(started.deployment.parallelism.tp) == 2
    assert started.unread == ("--seed",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("python train.py", "should start vllm"),
        ("vllm serve", "names no model"),
        ("vllm serve llama-3.1-8b -tp two", "whole number"),
        ("vllm serve 'llama", "cannot be read"),
    ],
)
def test_command_lines_that_start_nothing_are_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_arguments(text, find_cluster("h100"))


def test_today_is_as_sure_as_the_same_fleet_of_the_plan(offers: tuple[Offer, ...]) -> None:
    best = offers[0]
    started = read_arguments(
        " ".join(engine_arguments(best.candidate.deployment)), find_cluster("h100")
    )
    same = Today(started, best.replicas).offer(best.fleet.problem)
    assert same.usd_per_hour == best.usd_per_hour
    assert same.probability == pytest.approx(best.probability, abs=0.05)

    more = Today(started, best.replicas + 3).offer(best.fleet.problem)
    assert more.probability >= same.probability
    assert other_flags(more, offers) is best


def test_a_perfect_autoscaler_pays_for_the_least_and_the_peak_for_the_most(
    offers: tuple[Offer, ...],
) -> None:
    best = offers[0]
    peak, scaled, perfect = day_rows(best.fleet, best.replicas, Day())
    assert peak.usd_per_month == pytest.approx(best.usd_per_hour * 730)
    assert perfect.usd_per_month <= scaled.usd_per_month <= peak.usd_per_month
    assert peak.max_replicas == perfect.max_replicas == best.replicas
    for row in (peak, scaled, perfect):
        assert row.usd_per_month + row.saving_usd_per_month == pytest.approx(peak.usd_per_month)

    # Slower starts and losses cost more; a flat day leaves nothing to save.
    slow = day_rows(best.fleet, best.replicas, Day(provision_s=7200.0))[1]
    assert slow.usd_per_month >= scaled.usd_per_month
    lossy = day_rows(best.fleet, best.replicas, Day(loss_per_hour=0.2))
    assert lossy[2].usd_per_month > perfect.usd_per_month
    flat = day_rows(best.fleet, best.replicas, Day(PATTERNS["flat"]))
    assert {row.saving_usd_per_month for row in flat} == {0.0}


def test_nobody_at_night_needs_no_replica(offers: tuple[Offer, ...]) -> None:
    day = Day(Day.parse(",".join(["0"] * 12 + ["50"] * 12)))
    assert day.demand.shape == (MINUTES,)
    assert day.demand[:720].max() == 0
    perfect = day_rows(offers[0].fleet, offers[0].replicas, day)[2]
    assert perfect.min_replicas == 0
    assert perfect.replica_hours <= 12 * offers[0].replicas
    with pytest.raises(InputError, match="24 numbers"):
        Day.parse("1,2,3")


def test_at_the_price_that_wins_two_fleets_cost_the_same() -> None:
    def row(name: str, count: int, usd: float) -> PlanRow:
        return PlanRow(
            accelerator=name,
            replicas=count,
            layout="tp1",
            engine="vllm",
            precision="bf16",
            num_accelerators=count,
            usd_per_hour=usd,
            usd_per_month=usd * 730,
        )

    rows = with_prices_to_win([row("a", 4, 8.0), row("a", 5, 10.0), row("b", 2, 9.0)])
    assert [r.usd_per_accelerator_hour_to_win for r in rows] == [2.25, None, 4.0]


def answers(prompt: float, output: float, rate: float, hours: int) -> list[object]:
    """Return what Prometheus answers of two engines whose counters begin again in between."""
    count = int(rate * 3600 * hours)
    lengths = scaled_lengths(prompt, output).sample(np.random.default_rng(5), count)
    bounds = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, np.inf]
    times_s = np.arange(0, hours * 3600 + 1, 600)
    middle = len(times_s) // 2

    series: list[object] = []
    for name, tokens in zip(("prompt", "generation"), lengths, strict=True):
        metric = f"vllm:request_{name}_tokens"
        totals = {(f"{metric}_sum", ""): tokens.sum(), (f"{metric}_count", ""): count}
        for bound in bounds:
            le = f"{bound:g}".replace("inf", "+Inf")
            totals[f"{metric}_bucket", le] = (tokens <= bound).sum()

        for (full_name, le), total in totals.items():
            grown = total * times_s / times_s[-1] / 2
            again = np.where(times_s > times_s[middle], grown - grown[middle], grown)
            for pod, values in (("a", grown), ("b", again)):
                labels = {"__name__": full_name, "pod": pod} | ({"le": le} if le else {})
                points = [[float(t), str(v)] for t, v in zip(times_s, values, strict=True)]
                series.append({"metric": labels, "values": points})
    return [{"status": "success", "data": {"resultType": "matrix", "result": series}}]


def test_what_prometheus_counted_has_the_rate_and_the_lengths(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(answers(1200, 250, rate=3.0, hours=3)))
    demand = read_prometheus(path, None, None)
    assert demand.rate_rps == pytest.approx(3.0, rel=0.01)
    assert demand.prompt_tokens == pytest.approx(1200, rel=0.06)
    assert demand.output_tokens == pytest.approx(250, rel=0.06)
    assert read_prometheus(path, 7.0, None).rate_rps == 7.0

    plain = replace(problem(), demand=demand)
    assert candidates(plain)[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "counts no requests"),
        ({"error": "no"}, "data.result"),
        ({"data": {"result": [{"metric": {}, "value": "x"}]}}, "pairs of numbers"),
        (
            {"data": {"result": [
                {"metric": {"__name__": "vllm:request_success_total"}, "value": [1, "5"]}
            ]}},
            "one reading",
        ),
    ],
)  # fmt: skip
def test_what_tells_no_demand_is_refused(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        read_prometheus(path, None, None)
