"""The catalogue as answers: every entry has a row, every number its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from headway.errors import UnknownNameError
from headway.hardware.catalogue import find_clusters, instances, names
from headway.hardware.reports import (
    accelerator_report,
    accelerators_report,
    instances_report,
    prices_report,
)
from headway.units import GIB

EXAMPLE = Path(__file__).parents[2] / "examples/my_chip.toml"


def test_accelerators_are_listed_in_si_units() -> None:
    report = accelerators_report(find_clusters("all"))
    assert [row.accelerator for row in report.rows] == list(names())

    h100 = next(row for row in report.rows if row.accelerator == "h100")
    assert h100.flops_per_s == h100.bf16_flops_per_s == 989.4e12
    assert h100.nvfp4_flops_per_s is None
    assert h100.memory_bytes == 80 * GIB
    assert (h100.vendor, h100.family, h100.domain_size) == ("nvidia", "hopper", 8)

    # The V100 has no bf16, so that its rate of 16 bits is fp16's.
    v100 = next(row for row in report.rows if row.accelerator == "v100")
    assert v100.bf16_flops_per_s is None
    assert v100.flops_per_s == v100.fp16_flops_per_s


def test_prices_rise_and_name_their_source() -> None:
    report = prices_report(find_clusters("all"))
    prices = [row.usd_per_accelerator_hour for row in report.rows]
    assert prices == sorted(prices)
    assert all(row.source and row.date and row.kind for row in report.rows)
    assert sum(row.is_usual for row in report.rows) == len({r.accelerator for r in report.rows})
    assert "h20" in report.notes[-1]
    assert "groq-lpu" in report.notes[-1]


def test_instances_are_listed() -> None:
    assert len(instances_report().rows) == len(instances())


def test_one_accelerator_shows_every_citation() -> None:
    report = accelerator_report("H100 SXM")
    facts = {row.fact: row for row in report.rows}
    assert facts["memory"].value == "80 GiB"
    assert facts["price"].source is not None
    assert facts["fp8"].note == "dense; the data sheet's 3958 is sparse"
    assert "link 2" in facts
    with pytest.raises(UnknownNameError):
        accelerator_report("h1000")


def test_a_file_of_ones_own_is_shown_like_any_other() -> None:
    report = accelerator_report(str(EXAMPLE))
    assert report.title == "my-chip (my-chip)"
    assert {row.fact for row in report.rows} >= {"memory", "idle", "price", "exchanges"}
    assert accelerators_report(find_clusters(str(EXAMPLE))).rows[0].title == "my-chip"
