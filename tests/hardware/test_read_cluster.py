"""A user's own hardware file: what it says is what is read, and mistakes meet one sentence."""

import os
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.dtypes import DType
from headway.errors import InputError, UnknownNameError
from headway.hardware.catalogue import find_cluster, names
from headway.hardware.cluster_file import read_cluster
from headway.units import GIB

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/my_chip.toml"

PLAIN = """\
name = "mine"
memory_gib = 64
memory_bandwidth_gb_per_s = 2000
tdp_w = 450

[peak_tflops]
bf16 = 400

[[links]]
name = "inner"
domain_size = 8
bandwidth_gb_per_s = 200
latency_us = 0.8

[[links]]
name = "outer"
domain_size = 64
bandwidth_gb_per_s = 25
latency_us = 5
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def to_file(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def test_a_plain_file_becomes_si(write: Callable[[str], Path]) -> None:
    cluster = read_cluster(write(PLAIN))
    assert cluster.name == "mine"
    assert cluster.accelerator.vendor == "any"
    assert cluster.accelerator.memory_bytes == 64 * GIB
    assert cluster.accelerator.memory_bandwidth_bytes_per_s == 2e12
    assert cluster.accelerator.flops_per_s(DType.BF16) == 4e14
    assert cluster.accelerator.tdp_w == 450
    assert cluster.accelerator.idle_w is None
    assert cluster.usd_per_accelerator_hour is None
    assert [link.name for link in cluster.links] == ["inner", "outer"]
    assert cluster.links[0].latency_s == pytest.approx(0.8e-6)
    assert cluster.links[1].bandwidth_bytes_per_s == 25e9
    assert cluster.num_accelerators == 64
    assert not cluster.sources
    assert not cluster.accelerator.sources


def test_the_example_is_read_and_is_the_one_in_the_documentation() -> None:
    cluster = find_cluster(str(EXAMPLE))
    assert cluster.name == "my-chip"
    assert cluster.accelerator.sources["memory_bytes"].note == "table 2"
    page = (ROOT / "docs/catalogue-hardware.md").read_text(encoding="utf-8")
    assert EXAMPLE.read_text(encoding="utf-8") in page


def test_a_slash_or_an_ending_makes_a_path(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(PLAIN)
    monkeypatch.chdir(path.parent)
    path.with_suffix(".txt").write_text(PLAIN, encoding="utf-8")
    for spelling in ("mine.toml", "./mine.txt", str(path)):
        assert find_cluster(spelling).name == "mine"
    with pytest.raises(InputError, match=r"there is no file 'h100\.toml'"):
        find_cluster("h100.toml")


def test_a_catalogue_entry_is_a_file_like_any_other() -> None:
    folder = ROOT / "src/headway/hardware/catalogue"
    for name in names():
        assert read_cluster(folder / f"{name}.toml") == find_cluster(name).at_price(None)


def test_a_date_needs_no_quotes(write: Callable[[str], Path]) -> None:
    number = '{ value = 450, url = "https://example.com", date = 2026-11-20 }'
    cluster = read_cluster(write(PLAIN.replace("450", number)))
    assert cluster.accelerator.sources["tdp_w"].date == "2026-11-20"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"\n', "", "mine.toml lacks name"),
        ("memory_gib = 64\n", "", "mine.toml lacks memory_gib"),
        ("[peak_tflops]\nbf16 = 400\n", "", "mine.toml lacks peak_tflops"),
        ("bf16 = 400\n", "", "peak_tflops must be a table with at least one"),
        ("latency_us = 5\n", "", "link 2 lacks latency_us"),
        ("memory_gib", "memory_gb", "did you mean memory_gib"),
        ("latency_us = 5", "latency_ms = 5", "did you mean latency_us"),
        ("bf16 =", "bf17 =", "unknown number format in mine.toml 'bf17'; did you mean bf16"),
        ("bf16 =", "BF16 =", "did you mean bf16"),
        ("bf16 =", "fp64 =", "unknown number format"),
        ("= 64\n", "= -64\n", "memory_gib must be from 1e-06 to 1e\\+06, not -64"),
        ("= 64\n", "= 0\n", "memory_gib must be from"),
        ("= 64\n", "= nan\n", "memory_gib must be from .* not nan"),
        ("= 64\n", "= inf\n", "memory_gib must be from .* not inf"),
        ("= 64\n", "= 68719476736\n", "memory_gib must be from .* not 6.87195e\\+10"),
        ("= 64\n", f"= 0x{'f' * 8_000}\n", "memory_gib must be from 1e-06 to 1e\\+06"),
        ("= 64\n", f"= {'9' * 8_000}\n", "is not TOML"),
        ("= 64\n", '= "64"\n', "memory_gib must be a number, or a table"),
        ("= 64\n", "= true\n", "memory_gib must be a number"),
        ("= 64\n", "= [64]\n", "memory_gib must be a number"),
        ("= 64\n", "= { value = 64 }\n", "mine.toml, memory_gib lacks url, date"),
        ("= 64\n", '= { url = "u", date = "2026-01-01" }\n', "memory_gib lacks value"),
        (
            "= 64\n",
            '= { value = 64, url = "u", date = "soon" }\n',
            "memory_gib: date must be a day such as",
        ),
        ("= 64\n", '= { value = 64, url = "u", date = 7 }\n', "date must be a day"),
        ("= 64\n", '= { value = 64, url = "", date = "2026-01-01" }\n', "url must be text"),
        (
            "= 64\n",
            '= { value = 64, url = "u", date = "2026-01-01", note = 1 }\n',
            "note must be text",
        ),
        (
            "= 64\n",
            '= { value = 64, url = "u", date = "2026-01-01", nte = "n" }\n',
            "did you mean note",
        ),
        ("bf16 = 400", "bf16 = 4e14", "peak_tflops: bf16 must be from .* not 4e\\+14"),
        ("domain_size = 8", "domain_size = 8.5", "domain_size must be a whole number, not 8.5"),
        ("domain_size = 8", "domain_size = 0", "link 1: domain_size must be from 1"),
        ("domain_size = 8", "domain_size = 64", "each domain larger than the last"),
        ("latency_us = 5", "latency_us = 5e9", "link 2: latency_us must be from"),
        ('"mine"', '""', "name must be a text of 1 to 200"),
        ('"mine"', '"a\\nb"', "name must be one line"),
        ('"mine"', "7", "name must be a text"),
        ('"mine"', f'"{"m" * 201}"', "name must be a text"),
        ("tdp_w", 'vendor = ""\ntdp_w', "vendor must be a text"),
        ("tdp_w", 'exchanges = "nccl"\ntdp_w', "exchanges must be one of library, .* not 'nccl'"),
        ("tdp_w", "aliases = [7]\ntdp_w", "aliases must be a list of names"),
        ("tdp_w", "idle_w = 451\ntdp_w", "idle_w must be at most tdp_w, 450, not 451"),
        ("tdp_w", "price_usd_per_hour = 0\ntdp_w", "price_usd_per_hour must be from"),
        ("[peak_tflops]\n", "peak_tflops = 400\n[other]\n", "unknown field in mine.toml 'other'"),
    ],
)
def test_a_mistake_is_named(write: Callable[[str], Path], old: str, new: str, message: str) -> None:
    assert old in PLAIN
    with pytest.raises(InputError, match=message) as error:
        read_cluster(write(PLAIN.replace(old, new, 1)))
    assert "mine.toml" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("links", ["links = []", "links = 3", "links = [3]"])
def test_links_must_be_tables(write: Callable[[str], Path], links: str) -> None:
    head, _, tail = PLAIN.partition("[peak_tflops]\nbf16 = 400\n")
    assert tail
    with pytest.raises(InputError, match=r"mine\.toml: links"):
        read_cluster(write(f"{links}\n{head}[peak_tflops]\nbf16 = 400\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks name, memory_gib"),
        (b"name = ", "is not TOML: "),
        (b"just words", "is not TOML: "),
        (b'{"name": "json"}', "is not TOML: "),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "is not text in UTF-8"),
        (b"name = \x00", "is not TOML: "),
        (b"x = " + b"[" * 10_000, "nested too deeply|is not TOML"),
        (b"#" * 16_001, "is larger than 16,000 bytes"),
    ],
)
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_cluster(path)
    assert "bad.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_forgiven(tmp_path: Path) -> None:
    path = tmp_path / "mark.toml"
    path.write_text(PLAIN, encoding="utf-8-sig")
    assert read_cluster(path).name == "mine"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_cluster(tmp_path)
    with pytest.raises(InputError, match=r"there is no file .*nowhere\.toml"):
        read_cluster(tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match=r"there is no file|cannot be read"):
        read_cluster(EXAMPLE / "below.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_cluster("a\x00b.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_cluster("x" * 5000 + ".toml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "pipe.toml"
    os.mkfifo(path)
    with pytest.raises(InputError, match="is not a regular file"):
        read_cluster(path)


def test_an_unknown_field_carries_the_nearest() -> None:
    error = UnknownNameError("field in x.toml", "tpd_w", ["tdp_w", "idle_w"])
    assert error.nearest[0] == "tdp_w"


RATES = st.dictionaries(
    st.sampled_from([dtype.value for dtype in DType]), st.floats(1e-3, 1e6), min_size=1
)
DOMAINS = st.lists(st.integers(1, 10_000_000), min_size=1, max_size=4, unique=True).map(sorted)
NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)


@settings(deadline=None)
@given(
    name=NAMES,
    memory_gib=st.floats(1e-3, 1e6),
    bandwidth=st.floats(1e-3, 1e7),
    tdp_w=st.floats(1, 1e6),
    idle=st.none() | st.floats(0, 1),
    price=st.none() | st.floats(1e-6, 1e6),
    rates=RATES,
    domains=DOMAINS,
    link=st.tuples(st.floats(1e-3, 1e7), st.floats(1e-4, 1e6)),
    cited=st.booleans(),
)
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    memory_gib: float,
    bandwidth: float,
    tdp_w: float,
    idle: float | None,
    price: float | None,
    rates: dict[str, float],
    domains: list[int],
    link: tuple[float, float],
    cited: bool,
) -> None:
    def number(value: float) -> str:
        if not cited:
            return repr(value)
        return f'{{ value = {value!r}, url = "assumed: drawn", date = "2026-11-20", note = "n" }}'

    lines = [f'name = "{name}"', f"memory_gib = {number(memory_gib)}"]
    lines += [f"memory_bandwidth_gb_per_s = {number(bandwidth)}", f"tdp_w = {number(tdp_w)}"]
    lines += [] if idle is None else [f"idle_w = {number(idle)}"]
    lines += [] if price is None else [f"price_usd_per_hour = {number(price)}"]
    lines += ["[peak_tflops]", *(f"{dtype} = {number(rate)}" for dtype, rate in rates.items())]
    for domain in domains:
        lines += ["[[links]]", 'name = "tier"', f"domain_size = {number(domain)}"]
        lines += [f"bandwidth_gb_per_s = {number(link[0])}", f"latency_us = {number(link[1])}"]
    path = tmp_path_factory.getbasetemp() / "drawn.toml"
    path.write_text("\n".join(lines), encoding="utf-8")

    cluster = read_cluster(path)
    chip = cluster.accelerator
    assert chip.name == name
    assert chip.memory_bytes == memory_gib * 2**30
    assert chip.memory_bandwidth_bytes_per_s == bandwidth * 1e9
    assert (chip.tdp_w, chip.idle_w) == (tdp_w, idle)
    assert cluster.usd_per_accelerator_hour == price
    assert {d.value: r for d, r in chip.peak_flops_per_s.items()} == {
        dtype: rate * 1e12 for dtype, rate in rates.items()
    }
    assert [tier.domain_size for tier in cluster.links] == domains
    assert cluster.num_accelerators == domains[-1]
    assert all(tier.bandwidth_bytes_per_s == link[0] * 1e9 for tier in cluster.links)
    assert all(tier.latency_s == link[1] * 1e-6 for tier in cluster.links)
    given_numbers = 3 + (idle is not None) + (price is not None) + len(rates) + 3 * len(domains)
    of_price = int(cluster.price is not None and cluster.price.citation is not None)
    num_sources = len(chip.sources) + len(cluster.sources) + of_price
    assert num_sources == (given_numbers if cited else 0)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError):
        read_cluster(path)


SCRAPS = st.recursive(
    st.none().map(lambda _: "true")
    | st.integers().map(str)
    | st.floats().map(lambda x: str(x) if x == x else "nan")
    | st.sampled_from(['"text"', "[]", "{}", "2026-11-20", "12:00:00", "[[1], {a = 2}]"]),
    lambda inner: inner.map(lambda x: f"{{ value = {x}, url = 'u', date = '2026-11-20' }}"),
    max_leaves=2,
)


@settings(deadline=None)
@given(
    field=st.sampled_from([line.split(" = ")[0] for line in PLAIN.splitlines() if "=" in line]),
    scrap=SCRAPS,
)
def test_any_value_in_any_field_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, field: str, scrap: str
) -> None:
    lines = [
        f"{field} = {scrap}" if line.startswith(f"{field} = ") else line
        for line in PLAIN.splitlines()
    ]
    path = tmp_path_factory.getbasetemp() / "scrap.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    tomllib.loads(path.read_text(encoding="utf-8"))
    with suppress(InputError):
        assert read_cluster(path).reach >= 1
