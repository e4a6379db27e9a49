"""The load generator against servers that are known: it counts right, and hides nothing."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conftest import Live
from tests.gateway.conftest import live as live  # a fixture

from headway.errors import InputError, MissingServerError
from headway.http.fake import FakeSpeed
from headway.load.answer import GIVEN_UP, Answer, Outcome
from headway.load.client import Flight, Target, first_model
from headway.load.counters import counter_notes, engine_counters
from headway.load.export import Level, read_results, write_export
from headway.load.load_plan import LoadPlan
from headway.load.measure import paired_differences, summarize
from headway.load.overload import is_overloaded
from headway.load.plan import (
    Planned,
    evenly_shaped,
    plan_trace,
    previous_turns,
    ramped,
    shaped_arrivals,
    shares,
)
from headway.load.run import Server, closed_loop, open_loop, open_loop_on, run
from headway.load.saturation import MAX_DOUBLINGS, kept_up, saturation
from headway.load.session import load_test
from headway.report.estimate import Estimate
from headway.units import parse_rates_rps
from headway.workload.aggregate import Latency, mean_interval, quantile_interval
from headway.workload.oracle import BlockHashes, Trace
from headway.workload.profile import find_profile
from headway.workload.request import Slo


def test_it_counts_tokens_not_events(live: Live) -> None:
    server = Server(live.engine())
    planned = plan_trace(evenly_shaped(20, 8, 12), "fake")
    outcome = run(lambda: closed_loop(server, planned, 4))
    assert [a.output_tokens for a in outcome.answers] == [8] * 20  # the engine's own length
    assert {len(a.token_s) for a in outcome.answers} == {8}
    row = summarize(outcome)
    assert (row.requests, row.unfinished) == (20, 0)
    assert live.engines[0].max_running == 4
    body = json.loads(live.engines[0].bodies[-1])
    assert (body["max_tokens"], body["ignore_eos"], body["stream"]) == (12, True, True)


@pytest.mark.parametrize("fault", ["split", "no-done"])
def test_it_reads_streams_however_they_are_cut(live: Live, fault: str) -> None:
    server = Server(live.engine())
    live.engines[0].faults.extend([fault] * 5)
    planned = plan_trace(evenly_shaped(5, 8, 12), "fake", "completions")
    outcome = run(lambda: closed_loop(Server(server.url, "completions"), planned, 2))
    assert [(a.problem, a.output_tokens) for a in outcome.answers] == [("", 8)] * 5


def answer_of(number: int, due_s: float, token_s: tuple[float, ...], problem: str = "") -> Answer:
    return Answer(
        number=number,
        due_s=due_s,
        sent_s=due_s,
        token_s=token_s,
        prompt_tokens=10,
        output_tokens=len(token_s),
        status=500 if problem else 200,
        problem=problem,
    )


EVENTS = [
    b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n',
    *[b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'] * 4,
    b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n',
    b'data: {"choices": [], "usage": {"completion_tokens": 4, "prompt_tokens": 9}}\n\n',
    b"data: [DONE]\n\n",
]


@given(st.sets(st.integers(1, len(EVENTS) - 1)), st.integers(1, 4))
def test_tokens_are_counted_however_events_come_together(cuts: set[int], tokens: int) -> None:
    events = EVENTS[:1] + EVENTS[1 : 1 + tokens] + EVENTS[5:]
    answers: list[Answer] = []
    flight = Flight(0, Planned(0.0, b"", 1), 0.0, answers.append)
    flight.answer_begins(200, [(b"Content-Type", b"text/event-stream")])
    edges = [0, *sorted(cut for cut in cuts if cut < len(events)), len(events)]
    for number, (low, high) in enumerate(pairwise(edges)):
        flight.answer_body(b"".join(events[low:high]), float(number), is_last=False)
    flight.answer_ends()
    (answer,) = answers
    assert not answer.problem
    assert len(answer.token_s) == tokens
    # Each token has the time of the arrival that it was in.
    came = [sum(edge <= 1 + k for edge in edges[1:-1]) for k in range(tokens)]
    assert answer.token_s == tuple(map(float, came))


@given(st.sets(st.integers(1, 500), max_size=30), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_tokens_are_counted_however_bytes_are_cut(cuts: set[int], line_end: bytes) -> None:
    wire = b": ping\n\n".join(EVENTS).replace(b"\n", line_end)
    answers: list[Answer] = []
    flight = Flight(0, Planned(0.0, b"", 1), 0.0, answers.append)
    flight.answer_begins(200, [(b"Content-Type", b"text/event-stream")])
    edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    for number, (low, high) in enumerate(pairwise(edges)):
        flight.answer_body(wire[low:high], float(number), is_last=False)
    flight.answer_ends()
    assert [(len(a.token_s), a.output_tokens, a.prompt_tokens, a.problem) for a in answers] == [
        (4, 4, 9, "")
    ]


@pytest.mark.parametrize(
    "fault", ["die", "die-in-event", "close-early", "garbage", "status-503", "close-before"]
)
def test_what_fails_is_counted_as_failed(live: Live, fault: str) -> None:
    server = Server(live.engine())
    live.engines[0].faults.append(fault)
    planned = plan_trace(evenly_shaped(4, 8, 12), "fake")
    outcome = run(lambda: closed_loop(server, planned, 1))
    assert sum(bool(a.problem) for a in outcome.answers) == 1
    assert summarize(outcome).unfinished == 1
    assert sum(outcome.problems.values()) == 1


def test_a_server_that_is_not_there_is_told_in_a_sentence() -> None:
    planned = plan_trace(evenly_shaped(3, 8, 4), "x")
    with pytest.raises(MissingServerError, match="a load needs a server at http://127"):
        run(lambda: closed_loop(Server("http://127.0.0.1:9/v1"), planned, 1))


def test_an_open_loop_does_not_wait_for_answers(live: Live) -> None:
    server = Server(live.engine(FakeSpeed(ttft_s=0.3, max_num_seqs=1, tokens=1)))
    trace = shaped_arrivals(evenly_shaped(5, 8, 4), 50.0, 0.0, 0)
    outcome = run(lambda: open_loop(server, plan_trace(trace, "fake")))
    sent = np.array([a.sent_s - outcome.start_s for a in outcome.answers])
    assert sent.max() < 0.3  # all were sent before the first answer came
    e2e = np.array([a.token_s[-1] - a.due_s for a in outcome.answers])
    assert np.all(np.diff(e2e) > 0.15)  # the queue shows in the latency


def test_whoever_does_not_answer_in_time_has_failed(live: Live) -> None:
    server = Server(live.engine())
    live.engines[0].faults.append("hang")
    trace = shaped_arrivals(evenly_shaped(3, 8, 4), 100.0, 1.0, 0)
    outcome = run(lambda: open_loop(server, plan_trace(trace, "fake"), drain_s=0.5))
    assert outcome.problems == {GIVEN_UP: 1}


def test_lateness_is_its_own_and_latency_counts_from_when_it_was_due() -> None:
    answer = Answer(number=0, due_s=10.0, sent_s=10.25, token_s=(11.0, 12.0), prompt_tokens=1,
                    output_tokens=2, status=200)  # fmt: skip
    row = summarize(Outcome(10.0, (answer,)))
    assert row.late_max_s == pytest.approx(0.25)
    assert row.ttft_mean_s == pytest.approx(1.0)
    assert row.e2e_mean_s == pytest.approx(2.0)
    assert row.tpot_mean_s == row.itl_mean_s == pytest.approx(1.0)


def test_several_processes_send_what_one_would(live: Live) -> None:
    server = Server(live.engine())
    trace = shaped_arrivals(evenly_shaped(30, 8, 4), 300.0, 1.0, 3)
    planned = plan_trace(trace, "fake")
    outcome = open_loop_on(server, planned, 2)
    assert [a.number for a in outcome.answers] == list(range(30))
    due = [a.due_s - outcome.start_s for a in outcome.answers]
    assert due == pytest.approx(trace.arrival_s.tolist())
    assert not outcome.problems
    assert [len(part) for part in shares(planned, 4)] == [8, 8, 7, 7]


@pytest.mark.parametrize("gap_cv", [0.0, 1.0, 3.0])
def test_arrivals_have_the_rate_and_the_burstiness_asked_for(gap_cv: float) -> None:
    trace = shaped_arrivals(evenly_shaped(20_000, 8, 4), 20.0, gap_cv, 1)
    gaps = np.diff(trace.arrival_s)
    assert 1 / gaps.mean() == pytest.approx(20, rel=0.02)
    if gap_cv:
        assert gaps.std() / gaps.mean() == pytest.approx(gap_cv, rel=0.1)
        assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.05


def test_goodput_counts_what_meets_every_objective() -> None:
    answers = tuple(answer_of(i, 0.0, (0.1 * i + 0.1, 0.1 * i + 0.2)) for i in range(10))
    row = summarize(Outcome(0.0, answers), Slo(ttft_s=0.55, e2e_s=0.45))
    assert row.slo_attainment == pytest.approx(0.3)


def expected(value: Latency) -> float | None:
    return value.expected if isinstance(value, Estimate) else value


def outcome_of(e2e_s: list[float], broken: int = -1) -> Outcome:
    return Outcome(0.0, tuple(
        answer_of(i, 0.0, (e2e / 2, e2e), "lost" if i == broken else "")
        for i, e2e in enumerate(e2e_s)
    ))  # fmt: skip


def test_servers_are_compared_request_by_request() -> None:
    random = np.random.default_rng(4)
    theirs = 1 + random.lognormal(0, 2, 200)  # requests differ far more than the servers do
    ours = outcome_of((theirs - 0.1).tolist(), broken=7)
    row = paired_differences(ours, outcome_of(theirs.tolist()))
    assert row["against_pairs"] == 199
    scale = np.delete(theirs, 7).mean()
    assert row["against_e2e"].expected * scale == pytest.approx(-0.1)
    assert row["against_ttft"].expected * scale / 2 == pytest.approx(-0.05)
    assert row["against_e2e"].lower == pytest.approx(row["against_e2e"].expected)
    assert row["against_e2e"].upper == pytest.approx(row["against_e2e"].expected)
    same = paired_differences(outcome_of(theirs.tolist()), outcome_of(theirs[::-1].tolist()))
    assert same["against_e2e"].expected == pytest.approx(0.0, abs=1e-12)
    assert same["against_e2e"].lower < 0 < same["against_e2e"].upper


def test_intervals_cover_as_often_as_they_say() -> None:
    random = np.random.default_rng(5)
    means = quantiles = 0
    for _ in range(300):
        values = random.exponential(1.0, 400)
        mean = mean_interval(values)
        median = quantile_interval(np.sort(values), 0.5)
        assert mean is not None
        assert median is not None
        means += mean[0] <= 1.0 <= mean[1]
        quantiles += median[0] <= np.log(2) <= median[1]
    assert means / 300 == pytest.approx(0.95, abs=0.04)
    assert quantiles / 300 >= 0.97


def test_a_tail_needs_enough_requests() -> None:
    assert quantile_interval(np.arange(600.0), 0.99) is None
    assert quantile_interval(np.arange(700.0), 0.99) is not None


def test_saturation_is_found_with_few_questions() -> None:
    asked: list[int] = []

    def throughput(level: int) -> float:
        asked.append(level)
        return 100.0 * min(level, 40)

    assert 32 <= saturation(throughput, 1024) <= 46
    assert len(asked) == len(set(asked)) < 16


@given(st.floats(0.1, 1000.0), st.floats(0.1, 1000.0))
def test_the_rate_that_is_kept_up_with_is_found_to_an_eighth(
    capacity_rps: float, start_rps: float
) -> None:
    asked: list[float] = []

    def keeps_up(rate_rps: float) -> bool:
        asked.append(rate_rps)
        return rate_rps <= capacity_rps

    highest_rps = kept_up(keeps_up, start_rps)
    if capacity_rps < start_rps / 2**MAX_DOUBLINGS:
        assert highest_rps == 0
    elif capacity_rps < start_rps * 2**MAX_DOUBLINGS:
        assert highest_rps <= capacity_rps <= 1.126 * highest_rps
    assert len(asked) == len(set(asked)) <= MAX_DOUBLINGS + 5


@pytest.mark.slow
def test_saturation_from_a_rate_on_is_an_open_loop(live: Live) -> None:
    url = live.engine(FakeSpeed(ttft_s=0.01, itl_s=0.0, max_num_seqs=1))  # 100 a second
    plan = LoadPlan(rate_rps=120.0, saturate=True, duration_s=0.5, output=2)
    report = load_test(url, plan)
    rates_rps = [row.rate_rps for row in report.rows]
    assert rates_rps[0] == 120.0
    assert not plan.is_closed
    assert len({row.overloaded for row in report.rows}) == 2 or "none" in report.notes[-1]
    assert any("keeps up with" in note for note in report.notes)
    with pytest.raises(InputError, match="one rate"):
        LoadPlan(rate_rps=(1.0, 2.0), saturate=True)


@pytest.mark.parametrize("name", ["result.json", "result.guidellm.json"])
def test_results_of_other_tools_are_written_and_read(tmp_path: Path, name: str) -> None:
    answers = tuple(answer_of(i, float(i), (i + 0.5, i + 0.6, i + 0.7)) for i in range(12))
    broken = answer_of(12, 12.0, (), "status 500")
    outcome = Outcome(0.0, (*answers, broken))
    write_export(tmp_path / name, [Level(None, 1.0, outcome)], "m")
    ours, theirs = summarize(outcome), summarize(read_results(tmp_path / name))
    for key in ("requests", "unfinished", "ttft_mean_s", "tpot_mean_s", "e2e_p50_s",
                "output_tok_per_s"):  # fmt: skip
        assert expected(getattr(theirs, key)) == pytest.approx(expected(getattr(ours, key)))
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="no result"):
        read_results(tmp_path / name)


def test_a_profile_can_be_asked(live: Live) -> None:
    url = live.engine()
    trace = find_profile("azure-conv").generate(0, 10, 200.0)
    planned = plan_trace(trace, first_model(url))
    assert [p.prompt_tokens for p in planned] == trace.prompt_tokens.tolist()
    outcome = run(lambda: open_loop(Server(url), planned))
    assert not outcome.problems


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://h/v1"])
def test_an_address_is_checked(url: str) -> None:
    with pytest.raises(InputError):
        Target(url, "chat")


CONVERSATION = BlockHashes.of_lists([[1, 2], [7], [1, 2, 3], [1, 2, 3, 4], [7, 8], [9]], tokens=4)


def talk() -> Trace:
    prompt_tokens = np.array([9, 5, 14, 18, 9, 5])
    return Trace(np.linspace(0.0, 0.05, 6), prompt_tokens, np.full(6, 3), prefixes=CONVERSATION)


def test_prompts_share_a_prefix_as_far_as_their_hashes_do() -> None:
    bodies = [json.loads(planned.body) for planned in plan_trace(talk(), "m", "completions")]
    words = [body["prompt"].split() for body in bodies]
    assert [len(text) for text in words] == [9, 5, 14, 18, 9, 5]
    assert words[0][:8] == words[2][:8] == words[3][:8]
    assert words[2][:12] == words[3][:12]
    assert words[0][:4] != words[5][:4]
    assert words[1][:4] == words[4][:4]


def test_turns_of_a_conversation_follow_each_other() -> None:
    assert previous_turns(CONVERSATION) == {2: 0, 3: 2, 4: 1}
    assert previous_turns(None) == {}


def test_a_turn_is_sent_once_the_one_before_it_was_answered(live: Live) -> None:
    server = Server(live.engine(FakeSpeed(ttft_s=0.05)))
    planned = plan_trace(talk(), "fake", sessions=True)
    answers = run(lambda: open_loop(server, planned)).answers
    assert [answer.problem for answer in answers] == [""] * 6
    for number, previous in {2: 0, 3: 2, 4: 1}.items():
        assert answers[number].sent_s >= answers[previous].token_s[-1]
        assert answers[number].late_s < 0.05  # who has not read the answer is not late
    assert answers[5].sent_s < answers[2].sent_s


@given(st.floats(0.1, 50), st.floats(1, 100), st.integers(10, 300))
def test_a_ramp_reaches_the_rate_and_keeps_the_order(
    ramp_s: float, rate_rps: float, count: int
) -> None:
    ones = np.ones(count, dtype=np.int64)
    even = Trace(np.arange(count, dtype=np.float64) / rate_rps, ones, ones)
    arrival_s = ramped(even, ramp_s).arrival_s
    assert np.all(np.diff(arrival_s) > 0)
    late = arrival_s > ramp_s + 1 / rate_rps
    if late.sum() > 2:
        np.testing.assert_allclose(np.diff(arrival_s[late]), 1 / rate_rps, rtol=1e-6)


def test_rates_come_as_lists_and_doublings() -> None:
    assert parse_rates_rps("5..40", "--rate") == (5, 10, 20, 40)
    assert parse_rates_rps("60/min,3..10", "--rate") == (1, 3, 6, 10)
    with pytest.raises(InputError, match="must rise"):
        parse_rates_rps("4..2", "--rate")


def test_a_sweep_over_rates_says_where_the_server_falls_behind(live: Live) -> None:
    url = live.engine(FakeSpeed(ttft_s=0.01, itl_s=0.0, max_num_seqs=1))  # 100 a second
    plan = LoadPlan(rate_rps=(25.0, 300.0), duration_s=0.5, warmup_s=0.1, ramp_s=0.05, output=2)
    report = load_test(url, plan)
    slow, fast = report.rows
    assert (slow.rate_rps, fast.rate_rps) == (25.0, 300.0)
    assert slow.requests < 25 * 0.6 + 5
    assert (slow.overloaded, fast.overloaded) == ("no", "yes")
    assert any("overloaded at 300" in note for note in report.notes)


def test_a_steady_run_is_not_called_overloaded() -> None:
    random = np.random.default_rng(5)
    due_s = np.cumsum(random.exponential(0.1, 300))
    answers = [answer_of(i, float(t), (float(t) + 2.0,)) for i, t in enumerate(due_s)]
    assert not is_overloaded(Outcome(0.0, tuple(answers)))
    growing = [answer_of(i, float(t), (2 * float(t) + 1,)) for i, t in enumerate(due_s)]
    assert is_overloaded(Outcome(0.0, tuple(growing)))


def test_every_request_has_a_row_of_its_own(tmp_path: Path) -> None:
    outcome = Outcome(1.0, (answer_of(0, 1.5, (2.0, 2.5)), answer_of(1, 2.0, (), "lost")))
    write_export(tmp_path / "rows.csv", [Level(None, 5.0, outcome), Level(2, None, outcome)], "m")
    head, first, second, third, _ = (tmp_path / "rows.csv").read_text().splitlines()
    assert head.startswith("sent_per_s,concurrency,number,due_s,sent_s,ttft_s")
    assert first == "5.0,,0,0.5,0.5,0.5,0.5,1.0,10,2,200,"
    assert second.endswith(",lost")
    assert third.startswith(",2,0,")


def test_an_engines_counters_are_read_before_and_after(live: Live) -> None:
    assert engine_counters(Server(live.engine())) == {}
    before = {"vllm:prompt_tokens_total": 5.0, "vllm:generation_tokens_total": 1.0}
    after = {"vllm:prompt_tokens_total": 105.0, "vllm:generation_tokens_total": 1.0}
    assert counter_notes("http://x", before, after) == [
        "http://x counted meanwhile: 100 prompt tokens"
    ]


def test_who_goes_away_as_planned_is_cancelled_at_the_engine_and_no_failure(live: Live) -> None:
    url = live.engine(FakeSpeed(itl_s=0.005, tokens=64))
    plan = LoadPlan(concurrency=(4,), num_requests=40, cancel=0.4, seed=3, output=64)
    report = load_test(url, plan)
    (row,) = report.rows
    assert 5 < row.cancelled < 30
    assert row.requests == 40 - row.cancelled
    assert row.unfinished == 0
    live.until(lambda: live.engines[0].cancelled == row.cancelled)
    assert not any("failed" in note for note in report.notes)


def test_the_head_of_a_trace_with_a_coarse_clock_has_arrivals_of_its_own(tmp_path: Path) -> None:
    # Mooncake's clock ticks every three seconds.
    lines = [f"{3 * (k // 9)},20,4" for k in range(12)]
    file = tmp_path / "coarse.csv"
    file.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *lines]))
    for count in (1, 6):
        trace = LoadPlan(workload=str(file), rate_rps=2.0, num_requests=count).trace(2.0)
        assert len(trace) == count
        assert len(set(trace.arrival_s.tolist())) == count


def test_a_set_of_texts_is_sent_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    rows = [
        {"prompt": f"Why is the sky number {k} blue?", "output_tokens": 5 + k} for k in range(8)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    trace = LoadPlan(workload=str(file), rate_rps=4.0, num_requests=8).trace(4.0)
    assert trace.prompt_tokens.tolist() == [7] * 8
    assert trace.output_tokens.tolist() == list(range(5, 13))
    assert len(set(trace.arrival_s.tolist())) == 8
    bodies = [json.loads(one.body) for one in plan_trace(trace, "m", hide_lengths=True)]
    assert [body["messages"][0]["content"] for body in bodies] == [row["prompt"] for row in rows]


def test_each_level_of_a_sweep_has_prompts_of_its_own_and_both_servers_the_same(live: Live) -> None:
    one, other = live.engine(), live.engine()
    load_test(one, LoadPlan(concurrency=(1, 2), num_requests=4, prompt=30), compare=other)
    ours, theirs = (sorted(engine.bodies) for engine in live.engines[:2])
    assert ours == theirs
    assert len(set(ours)) == 8
