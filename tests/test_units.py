"""Text becomes numbers once, and refuses what is none."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.dtypes import DType
from headway.errors import HeadwayError, InputError, UnknownNameError
from headway.model.precision import Precision
from headway.units import (
    check_fraction,
    check_positive,
    parse_count,
    parse_counts,
    parse_fraction,
    parse_monthly_fraction,
    parse_number,
    parse_numbers,
    parse_rate_rps,
    parse_time_s,
    parse_usd_per_hour,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4096", 4096),
        ("128k", 128e3),
        ("1e6", 1e6),
        ("4Ki", 4096),
        (" 1.5 M ", 1.5e6),
        ("1_000", 1000),
    ],
)
def test_numbers_as_people_write_them(text: str, number: float) -> None:
    assert parse_number(text, "n") == number


@pytest.mark.parametrize("text", ["", "many", "1e999", "nan", "inf", "12 monkeys", "0x10", "1,5"])
def test_what_is_no_number_is_named(text: str) -> None:
    with pytest.raises(InputError, match="context must be"):
        parse_number(text, "context")


@given(st.floats(-1e300, 1e300))
def test_every_float_reads_back(number: float) -> None:
    assert parse_number(repr(number), "n") == number


@given(st.text())
def test_any_text_is_a_number_or_a_refusal(text: str) -> None:
    try:
        parse_number(text, "n")
        DType.parse(text)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 - what is tested is the sentence


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("64", (64,)),
        ("1,64,256", (1, 64, 256)),
        ("1..256", (1, 2, 4, 8, 16, 32, 64, 128, 256)),
        ("1..6", (1, 2, 4, 6)),
        ("0..4", (0, 1, 2, 4)),
        ("1..4, 3, 4", (1, 2, 4, 3)),
        ("2k,4Ki", (2000, 4096)),
    ],
)
def test_lists_and_doublings(text: str, counts: tuple[int, ...]) -> None:
    assert parse_counts(text, "concurrency", minimum=0) == counts


@pytest.mark.parametrize("text", ["", "1,", "1..", "..4", "8..1", "1.5", "0", "-1..4", "1...4"])
def test_what_is_no_list_of_counts_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"^concurrency must"):
        parse_counts(text, "concurrency")


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_doublings_rise_and_keep_both_ends(first: int, last: int) -> None:
    first, last = sorted((first, last))
    counts = parse_counts(f"{first}..{last}", "n")
    assert counts[0] == first
    assert counts[-1] == last
    assert all(a < b <= 2 * a for a, b in pairwise(counts))


def test_counts_are_whole_and_in_range() -> None:
    assert parse_count("4k", "n") == 4000
    with pytest.raises(InputError, match="whole number from 1 to 100, not '101'"):
        parse_count("101", "n", maximum=100)
    with pytest.raises(InputError, match="whole number"):
        parse_count("1.5", "n")
    assert parse_numbers("0.5, 1,2,1", "x") == (0.5, 1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2),
        ("5m", 300),
        ("5 min", 300),
        ("8h", 28_800),
        ("1d", 86_400),
        ("30", 30),
        ("1e-3s", 1e-3),
        ("250us", 250e-6),
    ],
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_time_s(text, "think time") == pytest.approx(seconds, rel=1e-15)


@pytest.mark.parametrize("text", ["", "soon", "5 apples", "0s", "-1s", "5k", "1e300h", "1:30"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"^think time"):
        parse_time_s(text, "think time")


def test_a_time_of_zero_is_allowed_where_it_means_something() -> None:
    assert parse_time_s("0", "think time", zero=True) == 0
    with pytest.raises(InputError, match="at most 86,400"):
        parse_time_s("2d", "duration", maximum_s=86_400)


def test_fractions_are_written_either_way() -> None:
    assert parse_fraction("0.3", "share") == 0.3
    assert parse_fraction(" 30% ", "share") == 0.3
    assert parse_fraction("0", "share") == 0
    assert parse_fraction("100%", "share") == 1
    for text in ("30", "101%", "-1%", "1.1", "%", "", "nan", "half"):
        with pytest.raises(InputError, match="share must be a fraction"):
            parse_fraction(text, "share")


def test_rates_are_per_second_unless_they_say_otherwise() -> None:
    assert parse_rate_rps("10", "rate") == 10
    assert parse_rate_rps("10/s", "rate") == 10
    assert parse_rate_rps("600/min", "rate") == 10
    assert parse_rate_rps("3.6k/h", "rate") == 1
    for text in ("0", "-1", "10/", "10/week", "fast"):
        with pytest.raises(InputError, match=r"^rate"):
            parse_rate_rps(text, "rate")


def test_growth_and_budgets_may_say_what_they_are_per() -> None:
    assert parse_monthly_fraction("8%/month", "growth") == parse_monthly_fraction("0.08", "growth")
    for text in ("50", "$50", "50usd/h", "50 USD/h", "$50/hour", "36500usd/month"):
        assert parse_usd_per_hour(text, "budget") == pytest.approx(50)
    with pytest.raises(InputError, match="per month"):
        parse_monthly_fraction("8%/year", "growth")
    for text in ("50eur/h", "50/day", "0", "usd/h"):
        with pytest.raises(InputError, match="budget"):
            parse_usd_per_hour(text, "budget")


def test_checks_name_what_they_check() -> None:
    for bad in (0.0, -1.0, float("nan"), float("inf"), 1e19):
        with pytest.raises(InputError, match="speed must be above 0"):
            check_positive(bad, "speed")
    for bad in (0.0, 1.1, float("nan")):
        with pytest.raises(InputError, match="share must be above 0 and at most 1"):
            check_fraction(bad, "share")


def test_precisions_quantize_as_engines_do_by_default() -> None:
    assert str(Precision.parse("bf16")) == "bf16/bf16/bf16"
    assert str(Precision.parse("fp8")) == "fp8/fp8/bf16"
    assert str(Precision.parse("int4")) == "int4/bf16/bf16"
    assert str(Precision.parse("nvfp4/nvfp4/fp8")) == "nvfp4/nvfp4/fp8"
    with pytest.raises(InputError, match="weights"):
        Precision.parse("fp8/fp8/fp8/fp8")
    with pytest.raises(UnknownNameError, match="did you mean fp8"):
        Precision.parse("f8")


def test_unknown_names_carry_the_nearest_and_stay_short() -> None:
    error = UnknownNameError("model", "lama-3-8b" + "x" * 1000, ["llama-3-8b", "phi-4"])
    assert len(str(error)) < 300
    assert UnknownNameError("model", "llama-3-8c", ["llama-3-8b", "phi-4"]).nearest == (
        "llama-3-8b",
    )
    assert isinstance(error, HeadwayError)


def test_stored_bits_include_block_scales() -> None:
    assert DType.MXFP4.bits == 4 + 8 / 32
    assert DType.NVFP4.bits == 4 + 8 / 16
    assert DType.INT4.bits == 4 + 16 / 128
    assert DType.BF16.bytes == 2


def test_a_limit_is_written_as_a_person_would() -> None:
    with pytest.raises(InputError, match=r"at most 1,048,576, not 1e\+12"):
        check_positive(1e12, "count", maximum=2**20)
