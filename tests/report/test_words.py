import pytest

from headway.report.report import Value
from headway.report.words import digits, heading, printable, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.0123456, "0.0123"), (1.2, "1.20"), (71.04, "71.0"), (123.4, "123"),
        (999.6, "1,000"), (12345.6, "12,346"), (7, "7"), (12345, "12,345"), (-1.5, "-1.50"),
        (1.5e-7, "1.50e-07"), (3e20, "3.00e+20"),
    ],
)  # fmt: skip
def test_three_digits_are_kept(value: float, text: str) -> None:
    assert digits(value) == text


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("step_s", 0.0123, "12.3 ms"), ("step_s", 12e-6, "12.0 µs"), ("step_s", 1.5, "1.50 s"),
        ("step_s", 0.9999, "1.00 s"), ("step_s", 0, "0 s"), ("flops_per_s", 2.0, "2.00"),
        ("tok_per_s_per_user_lower", 62.0, "62.0"), ("usd_per_mtok_upper", 0.613, "$0.613"),
        ("mfu", 0.412, "41.2%"), ("energy_j", 0.32, "0.320 J"), ("memory_bytes", 80e9, "80.0 GB"),
        ("memory_bytes", 512, "512 bytes"), ("on_front", True, "yes"), ("on_front", False, "no"),
        ("mfu", None, "–"), ("binds", "memory", "memory"), ("batch", 10**400, f"{10**400:,}"),
    ],
)  # fmt: skip
def test_cells_carry_their_unit(key: str, value: Value, text: str) -> None:
    assert shown(key, value) == text


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("tok_per_s_per_user", "tokens/s/user"), ("usd_per_mtok", "$/Mtok"), ("step_s", "step"),
        ("mfu", "MFU"), ("draft_tp", "draft TP"), ("num_accelerators", "accelerators"),
        ("memory_bytes", "memory"), ("num_", ""), ("", ""),
    ],
)  # fmt: skip
def test_headings_are_words(key: str, text: str) -> None:
    assert heading(key) == text


def test_printable_text_stays_on_its_line() -> None:
    assert printable("a\x00b\n\tc \ud800 d\u202ee") == "a b c d e"
