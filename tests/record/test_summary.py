"""What a record says of many requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.record.test_store import ENTRY

from headway.cli.main import headway
from headway.errors import InputError
from headway.record.entry import OPEN
from headway.record.store import open_store
from headway.record.summary import record_report
from headway.report.estimate import Estimate
from headway.report.report import Report
from headway.workload.request import Slo


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Two tenants: streams that wait 0.1 s, and one whole answer; one failed, one open."""
    path = tmp_path / "live.db"
    store = open_store(path)
    for i in range(10):
        entry = replace(
            ENTRY, arrival_s=100.0 + i, sent_s=100.1 + i, first_s=100.5 + i, last_s=102.5 + i
        )
        store.add(replace(entry, id=f"hw-{i}", tenant="ab"[i % 2]))
    store.add(replace(ENTRY, id="whole", stream=0, first_s=102.5, tenant="a"))
    store.add(replace(ENTRY, id="failed", status="failed", tenant="b", last_s=None))
    store.add(replace(ENTRY, id="open", status=OPEN))
    store.close()
    return path


def test_a_record_is_one_row(record: Path) -> None:
    report = record_report(record, slo=Slo(e2e_s=2.6))
    (row,) = report.rows
    assert (row.group, row.requests, row.unfinished) == ("all", 12, 1)
    assert row.requests_per_s == pytest.approx(11 / 11.5)
    assert isinstance(row.queue_mean_s, Estimate)
    assert row.queue_mean_s.expected == pytest.approx(0.1)
    assert row.covered_p90 == 1.0
    assert row.slo_attainment == pytest.approx(11 / 12)
    assert any("1 requests had not ended" in note for note in report.notes)


def test_of_a_whole_answer_neither_ttft_nor_tpot_counts(record: Path) -> None:
    (row,) = record_report(record).rows
    assert row.ttft_max_s == pytest.approx(0.5)
    assert row.tpot_max_s == pytest.approx(0.5)
    assert row.e2e_max_s == pytest.approx(2.5)


def test_a_row_for_each_tenant_and_every_view(record: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = ["report", str(record), "--by", "tenant", "--json", "-", "--html", str(page)]
    result = CliRunner().invoke(headway, arguments, catch_exceptions=False)
    rows = Report.from_json(result.stdout).rows
    assert [(row.group, row.requests) for row in rows] == [("a", 6), ("b", 6)]
    assert page.is_file()


def test_a_record_without_an_end_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path / "empty.db").close()
    with pytest.raises(InputError, match="no request that has ended"):
        record_report(tmp_path / "empty.db")
