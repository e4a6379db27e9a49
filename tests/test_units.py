"""Text becomes numbers once, and refuses what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.dtypes import DType
from headway.errors import HeadwayError, InputError, UnknownNameError
from headway.model.precision import Precision
from headway.units import check_fraction, check_positive, parse_number


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
        check_positive(1e12, "count", most=2**20)
