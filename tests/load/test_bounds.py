"""A load ends: after a bound, past saturation, when somebody asks it to; and says how far it is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conftest import Live
from tests.gateway.conftest import live as live  # a fixture

from headway.http.fake import FakeSpeed
from headway.load.answer import GIVEN_UP, Answer, Outcome
from headway.load.answers import Count
from headway.load.interruption import Interruption
from headway.load.load_plan import LoadPlan
from headway.load.overload import grows, is_overloaded
from headway.load.plan import evenly_shaped, plan_trace, previous_turns, shaped_arrivals
from headway.load.progress import Progress
from headway.load.run import Server, open_loop, run
from headway.load.session import load_test
from headway.workload.oracle import BlockHashes
from headway.workload.profile import find_profile


def answer_of(number: int, due_s: float, end_s: float | None) -> Answer:
    return Answer(
        number=number,
        due_s=due_s,
        sent_s=due_s,
        token_s=() if end_s is None else (end_s,),
        prompt_tokens=1,
        output_tokens=1,
        status=200,
        problem=GIVEN_UP if end_s is None else "",
    )


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=12))
def test_one_turn_at_most_goes_on_from_each(lists: list[list[int]]) -> None:
    turns = previous_turns(BlockHashes.of_lists(lists, tokens=4))
    assert len(set(turns.values())) == len(turns)
    for row, previous in turns.items():
        assert previous < row
        hashes = lists[previous]
        assert lists[row][: len(hashes) - 1] == hashes[: len(hashes) - 1]


def test_every_turn_of_a_profile_is_sent_and_the_load_ends(live: Live) -> None:
    trace = find_profile("mooncake-conv").generate(0, 400, 1000.0)
    hashes = trace.prefixes
    assert hashes is not None
    short = shaped_arrivals(evenly_shaped(400, 4, 2), 1000.0, 1.0, 0)
    planned = plan_trace(short, "fake")
    turns = previous_turns(hashes)
    assert len(turns) > 50
    with_turns = [
        type(one)(one.due_s, one.body, one.prompt_tokens, after=turns.get(number))
        for number, one in enumerate(planned)
    ]
    outcome = run(lambda: open_loop(Server(live.engine()), with_turns))
    assert (len(outcome.answers), outcome.num_not_sent) == (400, 0)
    assert not outcome.problems


def test_what_is_given_up_at_the_bound_is_counted_and_was_sent_when_it_was(live: Live) -> None:
    server = Server(live.engine(FakeSpeed(ttft_s=0.2, max_num_seqs=1, tokens=1)))  # 5 a second
    planned = plan_trace(shaped_arrivals(evenly_shaped(120, 4, 2), 300.0, 0.0, 0), "fake")
    outcome = run(lambda: open_loop(server, planned, drain_s=0.3))
    num_given_up = outcome.problems[GIVEN_UP]
    assert len(outcome.answers) == 120
    assert 110 <= num_given_up < 120
    assert max(answer.late_s for answer in outcome.answers) > 0
    assert is_overloaded(outcome)


def test_answers_longer_than_the_run_are_no_overload() -> None:
    due_s = np.arange(200) / 10
    steady = [answer_of(i, t, t + 60) for i, t in enumerate(due_s.tolist())]
    assert grows(due_s, due_s + 60)
    assert not is_overloaded(Outcome(0.0, tuple(steady)))
    backlog = [answer_of(i, t, t + 1 + t) for i, t in enumerate(due_s.tolist())]
    assert is_overloaded(Outcome(0.0, tuple(backlog)))
    lost = [answer_of(i, t, t + 2 if i < 20 else None) for i, t in enumerate(due_s.tolist())]
    assert is_overloaded(Outcome(0.0, tuple(lost)))


@pytest.mark.parametrize(("share", "expected"), [(50, False), (10, True)])
def test_more_than_a_few_without_an_answer_are_an_overload(share: int, expected: bool) -> None:
    # One in so many hangs, and the others are steady.
    answers = [answer_of(i, i / 10, None if i % share == 0 else i / 10 + 2) for i in range(200)]
    assert is_overloaded(Outcome(0.0, tuple(answers))) == expected


def test_a_sweep_ends_with_the_first_rate_that_is_too_much(live: Live) -> None:
    url = live.engine(FakeSpeed(ttft_s=0.01, itl_s=0.0, max_num_seqs=1))  # 100 a second
    report = load_test(url, LoadPlan(rate_rps=(25.0, 400.0, 800.0), duration_s=0.5, output=2))
    assert [row.rate_rps for row in report.rows] == [25.0, 400.0]
    assert any("no more than 400 requests/s" in note for note in report.notes)


def test_a_closed_loop_sends_for_its_duration(live: Live) -> None:
    url = live.engine(FakeSpeed(ttft_s=0.05, itl_s=0.0))
    plan = LoadPlan(concurrency=(2,), duration_s=0.4, num_requests=500, output=2)
    (row,) = load_test(url, plan).rows
    assert 4 <= row.requests < 100  # each asks some eight times, and its last answer is waited for
    assert row.unfinished == 0
    report = load_test(url, LoadPlan(concurrency=(2,), duration_s=0.5, output=2))
    assert report.rows[0].requests == 4
    assert any("all 4 requests were sent before 0.5 s were over" in note for note in report.notes)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupted_load_tells_what_it_measured(live: Live, processes: int) -> None:
    url = live.engine(FakeSpeed(ttft_s=0.05, tokens=2))
    interruption = Interruption()

    def watch(progress: Progress) -> None:
        if progress.count.num_ended >= 5:
            interruption.ask()

    plan = LoadPlan(rate_rps=(40.0, 50.0), duration_s=60.0, output=2, processes=processes)
    report = load_test(url, plan, watch=watch, interruption=interruption)
    (row,) = report.rows
    assert 5 <= row.requests < 400
    assert row.unfinished == 0
    (note,) = [note for note in report.notes if note.startswith("interrupted at 40")]
    cut, not_sent = re.findall(r"(\d+) (?:requests under way|were not sent)", note)
    assert row.requests + int(cut) + int(not_sent) == 2400


def test_who_interrupts_before_there_is_an_answer_gets_none(live: Live) -> None:
    interruption = Interruption()
    interruption.ask()
    with pytest.raises(KeyboardInterrupt):
        load_test(live.engine(), LoadPlan(concurrency=(2,)), interruption=interruption)


def test_progress_is_told_in_words() -> None:
    count = Count(num_sent=30, num_ended=20, num_failed=2)
    begun = Progress(level="5 requests/s", count=Count(), num_requests=60)
    assert begun.text == "5 requests/s: writing 60 requests"
    sending, waiting = (
        Progress(level="5 requests/s", count=count, num_requests=60, elapsed_s=elapsed_s,
                 send_s=12.0, max_s=42.0)
        for elapsed_s in (6.0, 20.0)
    )  # fmt: skip
    assert sending.text == (
        "5 requests/s: 6 of 12 s, 30 of 60 sent, 20 ended (2 failed), 10 under way"
    )
    assert waiting.text.startswith("5 requests/s: 20 of at most 42 s")


def test_ctrl_c_writes_the_files(live: Live, tmp_path: Path) -> None:
    url = live.engine(FakeSpeed(ttft_s=0.01, tokens=2))
    answer, rows = tmp_path / "answer.json", tmp_path / "rows.csv"
    line = [sys.executable, "-m", "headway.cli.main", "load", url, "--rate", "50",
            "--duration", "60s", "--output", "2",
            "--json", str(answer), "-o", str(rows)]  # fmt: skip
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert "writing 3000 requests" in child.stderr.readline()
        assert "of 3000 sent" in child.stderr.readline()
        live.until(lambda: len(live.engines[0].bodies) > 10)
        os.kill(child.pid, signal.SIGINT)
        assert child.wait(20) == 130
    tree = json.loads(answer.read_text())
    assert any("interrupted" in note for note in tree["notes"])
    assert len(rows.read_text().splitlines()) > 10


def test_overload_is_seen_from_the_beginning_on_and_not_after_the_warm_up_alone(live: Live) -> None:
    # 100 a second; under way grows evenly from the first moment on.
    url = live.engine(FakeSpeed(ttft_s=0.01, itl_s=0.0, max_num_seqs=1))
    plan = LoadPlan(rate_rps=200.0, duration_s=0.5, warmup_s=0.5, output=2)
    (row,) = load_test(url, plan).rows
    assert row.overloaded == "yes"
