"""A whole published fleet: what it served in a day, and what that cost."""

from __future__ import annotations

import pytest
from benchmarks.deepseek_day import PUBLISHED, lengths, serving_day

from headway.steptime.roofline import EXPECTED, PERFECT, POOR


def test_the_published_day_adds_up() -> None:
    prompt, answer = lengths()
    assert prompt / answer == pytest.approx(608 / 168)
    assert prompt + answer / 2 == pytest.approx(4989)
    assert PUBLISHED.nodes == pytest.approx(226.75, rel=1e-3)
    assert PUBLISHED.usd == pytest.approx(87_072, rel=1e-3)


def test_the_published_day_lies_within_the_interval() -> None:
    best, ours, worst = map(serving_day, (PERFECT, EXPECTED, POOR))
    for quantity in ("prefill", "decode"):
        low, high = getattr(worst, quantity), getattr(best, quantity)
        assert low < getattr(PUBLISHED, quantity) < high
    assert best.usd < PUBLISHED.usd < worst.usd
    assert ours.usd == pytest.approx(PUBLISHED.usd, rel=0.2)
