"""Every entry of the hardware catalogue: it loads, it cites, and its numbers keep the laws."""

import copy
import csv
import pickle
import tomllib
from collections import Counter
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.dtypes import DType
from headway.errors import UnknownNameError, UnsupportedError
from headway.hardware.catalogue import (
    Entry,
    Form,
    entries,
    find_cluster,
    find_clusters,
    find_entry,
    instances,
    names,
)
from headway.units import GIB

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared/data/measured/reference_hardware_aiconfigurator.csv"

BY_VENDOR = {
    "amd": 33,
    "amd-cpu": 4,
    "apple": 35,
    "arm-cpu": 1,
    "aws": 4,
    "google": 7,
    "groq": 1,
    "huawei": 2,
    "intel": 13,
    "intel-cpu": 2,
    "nvidia": 114,
    "sambanova": 1,
}
CLUSTERS = {cluster.name: cluster for cluster in find_clusters("all")}
CHIPS = {name: cluster.accelerator for name, cluster in CLUSTERS.items()}

# Dense bf16 TFLOPS as other projects use them, read independently of the catalogue:
# pytorch/torchtitan torchtitan/tools/utils.py (a100 to mi325x), stas00/ml-engineering
# compute/accelerator/README.md (b300 to tpu-v6e), feifeibear/LLMRoofline (h800, h20),
# NVIDIA's Ada white paper (rtx-4090) and half of the L4 data sheet's sparse rate (l4).
DENSE_BF16_TFLOPS = {
    "a100": 312,
    "a100-40g": 312,
    "h100": 989,
    "h200": 989,
    "b200": 2250,
    "l40s": 362,
    "mi300x": 1300,
    "mi325x": 1300,
    "b300": 2250,
    "gb200-nvl72": 2500,
    "gb300-nvl72": 2500,
    "mi355x": 2500,
    "tpu-v4": 275,
    "tpu-v5e": 197,
    "tpu-v5p": 459,
    "tpu-v6e": 918,
    "h800": 989.5,
    "h20": 148,
    "rtx-4090": 165,
    "l4": 121,
    "h100-pcie": 756,
    "gh200": 989,
    "mi250x": 383 / 2,
    "gaudi2": 432,
    "trainium2": 667,
    "tpu-v7x": 2307,
    # As data sheets and white papers round what stands there derived from units and clocks.
    "rtx-3070": 40.6,
    "rtx-3080": 59.5,
    "rtx-3090-ti": 80,
    "rtx-4080": 97.5,
    "rtx-5070": 61.7,
    "rtx-5070-ti": 87.9,
    "rtx-5080": 112.6,
    "rtx-a4000": 76.7,
    "rtx-a5000": 111.1,
    "rtx-a6000": 154.8,
    "a40": 149.7,
    "rtx-6000-ada": 364.2,
    "rx-7900-xtx": 122.8,
    "rx-9070-xt": 195,
}

REFERENCE_NAMES = {
    "a100_sxm": "a100",
    "h100_sxm": "h100",
    "h100_pcie": "h100-pcie",
    "h200_sxm": "h200",
    "b200_sxm": "b200",
    "b300_sxm": "b300",
    "gb200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
    "l4": "l4",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx-pro-6000",
}
# Where the catalogue knowingly differs from the reference.
DIFFERS = {
    ("l4", "memory"): "the reference has the board's 24 GiB, the driver shows 22.5 after ECC",
    ("rtx-pro-6000", "bandwidth"): "the reference has the workstation card's 1792 GB/s",
}


def table_of(name: str) -> dict[str, Any]:
    path = files("headway.hardware") / "catalogue" / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def numbers_of(table: dict[str, Any]) -> dict[str, Any]:
    """Every field that is a number or ought to be one, by a readable path."""
    words = {"name", "title", "vendor", "family", "exchanges", "aliases", "unified_gb"}
    words |= {"peak_tflops", "links"}
    numbers = {key: value for key, value in table.items() if key not in words}
    numbers |= {f"peak_tflops.{key}": value for key, value in table["peak_tflops"].items()}
    for link in table["links"]:
        numbers |= {f"{link['name']}.{key}": value for key, value in link.items() if key != "name"}
    return numbers


def test_the_catalogue_holds_what_it_promises() -> None:
    assert Counter(entry.vendor for entry in entries()) == BY_VENDOR
    assert list(CLUSTERS) == list(names())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{len(names())} accelerators" in " ".join(readme.split())


def test_an_entry_loads_under_its_own_name() -> None:
    for name in names():
        cluster = find_cluster(name)
        assert cluster.name == name
        assert cluster.num_accelerators == cluster.links[-1].domain_size == cluster.reach


def test_every_number_has_a_page_and_a_day() -> None:
    for name in names():
        for path, number in numbers_of(table_of(name)).items():
            assert isinstance(number, dict), path
            assert number["url"].startswith(("https://", "http://", "assumed: ")), path
            assert date(2017, 1, 1) <= date.fromisoformat(number["date"]) <= date.today(), path


def test_every_number_is_cited_in_what_was_loaded() -> None:
    for name in names():
        cluster = find_cluster(name)
        cited = len(cluster.sources) + len(cluster.accelerator.sources)
        assert cited == len(numbers_of(table_of(name)))


def test_the_first_lines_say_what_the_whole_file_says() -> None:
    for name in names():
        table, entry = table_of(name), find_entry(name)
        assert (entry.name, entry.title, entry.vendor) == (name, table["title"], table["vendor"])
        assert list(entry.aliases) == table["aliases"]
        assert entry.vendor == find_cluster(name).accelerator.vendor


def test_no_form_stands_for_two_entries() -> None:
    of_form: dict[Form, str] = {}
    for entry in entries():
        for name in (*entry.aliases, entry.name):
            assert name == name.lower()
            assert of_form.setdefault(Form.of(name), entry.name) == entry.name, name
    forms = {Form.of(name) for name in instances()}
    assert len(forms) == len(instances())
    assert not forms & set(of_form)


MAKERS = ("NVIDIA ", "AMD Instinct ", "NVIDIA GeForce ", "Apple ", "Google ", "Tesla ", "", " ")
MARKS = st.sampled_from(["-", " ", "_", "  ", "\u2011"])


@given(
    entry=st.sampled_from(entries()),
    data=st.data(),
    maker=st.sampled_from(MAKERS),
    end=st.sampled_from(["", " GPU", " OAM", " Accelerator", " (HBM3)"]),
    mark=MARKS,
    upper=st.booleans(),
)
def test_every_way_of_writing_a_name_leads_home(
    entry: Entry, data: st.DataObject, maker: str, end: str, mark: str, upper: bool
) -> None:
    name = data.draw(st.sampled_from([entry.name, *entry.aliases])).replace("-", mark)
    text = f"{maker}{name.upper() if upper else name}{end}"
    assert find_entry(text).name == entry.name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("H100", "h100"),
        ("H100 SXM", "h100"),
        ("H100-SXM5-80GB", "h100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("H100 PCIe 80GB", "h100-pcie"),
        ("a100_80g", "a100"),
        ("A100 80GB PCIe", "a100-pcie"),
        ("A100 PCIe 40GB", "a100-pcie-40g"),
        ("NVIDIA A100-SXM4-40GB", "a100-40g"),
        ("B200 192GB", "b200"),
        ("Tesla V100-SXM2-32GB", "v100-32g"),
        ("Tesla T4", "t4"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("RTX 4090 24GB", "rtx-4090"),
        ("RTX 4060 Ti 16GB", "rtx-4060-ti-16g"),
        ("3080 10GB", "rtx-3080"),
        ("3080 12GB", "rtx-3080-12g"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx-pro-6000-workstation"),
        ("GH200 480GB", "gh200"),
        ("GH200 144G HBM3e", "gh200-144g"),
        ("Jetson AGX Orin Developer Kit", "jetson-agx-orin"),
        ("DGX Spark", "gb10"),
        ("GB300", "gb300-nvl72"),
        ("AMD Instinct MI300X OAM", "mi300x"),
        ("AMD Radeon RX 7900 XTX", "rx-7900-xtx"),
        ("Intel Max 1550", "max-1550"),
        ("Trillium", "tpu-v6e"),
        ("Apple M2 Ultra 60-core GPU", "apple-m2-ultra-60"),
        ("M1 7\u2011Core GPU 8GB", "apple-m1-7"),
        ("M3 Max (40-core GPU)", "apple-m3-max"),
        ("MacBook Pro M4 Pro", "apple-m4-pro"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "rtx-4090-laptop"),
    ],
)
def test_names_as_people_and_drivers_write_them(text: str, name: str) -> None:
    assert find_entry(text).name == name


def test_a_size_that_a_card_does_not_have_is_another_card() -> None:
    for text in ("h100 8gb", "rtx 4090 48gb", "mi50 16gb", "apple m1 64gb"):
        with pytest.raises(UnknownNameError):
            find_entry(text)


def test_a_smaller_machine_leaves_less_memory() -> None:
    whole, half = find_cluster("Apple M1 Max"), find_cluster("Apple M1 Max 32 GB")
    assert half.accelerator.memory_bytes == whole.accelerator.memory_bytes / 2
    assert half.links == whole.links
    assert find_cluster("Apple M1 Max 64GB") == whole


@pytest.mark.parametrize(("text", "near"), [("h10", "h100"), ("b20", "b200"), ("mi300", "mi300x")])
def test_an_unknown_name_is_met_with_near_ones(text: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        find_cluster(text)
    assert near in error.value.nearest
    assert near in str(error.value)


@pytest.mark.parametrize("text", ["", "   ", "..", "x" * 10_000, "h100\x00", "日本"])
def test_a_senseless_name_is_an_unknown_one(text: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown hardware"):
        find_cluster(text)


def test_narrower_formats_are_no_slower() -> None:
    for name in names():
        rates = CHIPS[name].peak_flops_per_s
        widest_first = (DType.FP32, DType.FP16, DType.FP8, DType.MXFP4)
        in_order = [rates[dtype] for dtype in widest_first if dtype in rates]
        assert in_order == sorted(in_order), name
        if DType.BF16 in rates:
            # The first of AMD's matrix units took bf16 at half the rate.
            share = 0.5 if name == "mi100" else 1
            assert rates[DType.BF16] == share * rates.get(DType.FP16, rates[DType.BF16]), name
        if DType.NVFP4 in rates:
            assert rates[DType.NVFP4] == rates[DType.MXFP4]


def test_integers_are_no_slower_except_where_the_units_were_cut_back() -> None:
    slow = set()
    for name in names():
        rates = CHIPS[name].peak_flops_per_s
        wide = rates.get(DType.BF16, rates.get(DType.FP16, 0.0))
        if rates.get(DType.INT8, wide) < wide:
            slow.add(name)
    assert slow == {"b300", "gb300-nvl72"}


@pytest.mark.parametrize("name", DENSE_BF16_TFLOPS)
def test_rates_are_dense(name: str) -> None:
    rate = find_cluster(name).accelerator.flops_per_s(DType.BF16)
    # A sparse rate would be off by a factor of two.
    assert rate / 1e12 == pytest.approx(DENSE_BF16_TFLOPS[name], rel=0.02)


def test_halving_the_bits_doubles_the_rate_and_no_more() -> None:
    for name in names():
        rates = CHIPS[name].peak_flops_per_s
        # A sparse rate in one format alone would show as a factor of four, or of one.
        if DType.FP8 in rates:
            # Gaudi 3 takes both formats at one rate; Trainium3 grew for 8 bits alone.
            factor = {"gaudi3": 1, "trainium3": 3.75}.get(name, 2)
            assert rates[DType.FP8] / rates[DType.BF16] == pytest.approx(factor, rel=0.03), name
        if DType.MXFP4 in rates:
            # B300 and GB300 gave up integer units for three times the rate of fp8 in 4 bits; a
            # GeForce halves the rate of fp8 with wide accumulation, but not that of 4 bits.
            factor = {"b300": 3, "gb300-nvl72": 3, "trainium3": 1}.get(name, 2)
            factor = 4 if name.startswith("rtx-50") else factor
            assert rates[DType.MXFP4] / rates[DType.FP8] == pytest.approx(factor, rel=0.03), name


def test_formats_are_native_ones_only() -> None:
    def formats(name: str) -> set[DType]:
        return set(CHIPS[name].peak_flops_per_s)

    def families(dtype: DType) -> set[str]:
        return {CHIPS[name].family for name in names() if dtype in formats(name)}

    blackwell = {"blackwell", "blackwell-rtx"}
    assert families(DType.NVFP4) == blackwell
    assert families(DType.MXFP4) == blackwell | {"cdna4", "trainium3"}
    for name in names():
        if CHIPS[name].family in {"turing", "volta", "pascal", "gcn5", "rdna2"}:
            assert DType.BF16 not in formats(name), name
    with pytest.raises(UnsupportedError, match="v100 has no native bf16"):
        find_cluster("v100").accelerator.flops_per_s(DType.BF16)
    for name in ("v100", "t4", "a10", "a100", "a100-40g", "mi250x", "tpu-v4", "tpu-v5e"):
        assert DType.FP8 not in formats(name)


def test_links_get_wider_and_slower_from_the_inside_out() -> None:
    for name in names():
        links = find_cluster(name).links
        assert [link.domain_size for link in links] == sorted({link.domain_size for link in links})
        bandwidths = [link.bandwidth_bytes_per_s for link in links]
        latencies = [link.latency_s for link in links]
        assert bandwidths == sorted(bandwidths, reverse=True)
        assert latencies == sorted(latencies)


def test_no_link_is_as_fast_as_the_memory() -> None:
    for name in names():
        cluster = find_cluster(name)
        memory = cluster.accelerator.memory_bandwidth_bytes_per_s
        assert cluster.links[0].bandwidth_bytes_per_s < memory


def test_scale_up_bandwidth_is_of_one_direction() -> None:
    # Twice these is what data sheets call the (bidirectional) bandwidth of the link.
    both_directions_gb_per_s = {
        "v100": 300,
        "a100": 600,
        "h800": 400,
        "h100": 900,
        "b200": 1800,
        "gb300-nvl72": 1800,
        "mi300x": 896,
        "tpu-v5p": 1200,
        "tpu-v6e": 800,
    }
    for name, both in both_directions_gb_per_s.items():
        assert 2 * find_cluster(name).links[0].bandwidth_bytes_per_s == pytest.approx(both * 1e9)


def test_idle_power_and_price_are_sane() -> None:
    for name in names():
        cluster = find_cluster(name)
        idle_w, tdp_w = cluster.accelerator.idle_w, cluster.accelerator.tdp_w
        assert idle_w is None or (tdp_w is not None and 0 < idle_w < 0.5 * tdp_w)
        price = cluster.usd_per_accelerator_hour
        assert price is None or 0.1 < price < 10


def test_memory_is_what_the_driver_shows() -> None:
    # Total MiB in nvidia-smi, as cited in the entries.
    shown_mib = {"rtx-4090": 24_564, "b200": 183_359, "l4": 23_034, "l40s": 46_068}
    for name, mib in shown_mib.items():
        memory_gib = find_cluster(name).accelerator.memory_bytes / GIB
        assert memory_gib == pytest.approx(mib / 1024, rel=0.01)
    assert find_cluster("groq-lpu").accelerator.memory_bytes == pytest.approx(230e6, rel=1e-3)


@pytest.mark.parametrize("system", REFERENCE_NAMES)
@pytest.mark.parametrize("quantity", ["memory", "bandwidth", "power", "bf16"])
def test_the_catalogue_agrees_with_aiconfigurator(system: str, quantity: str) -> None:
    if not REFERENCE.exists():
        pytest.skip("the reference table lies outside the repository and is not here")
    with REFERENCE.open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["system"] == system)
    accelerator = find_cluster(REFERENCE_NAMES[system]).accelerator
    ours, theirs = {
        "memory": (accelerator.memory_bytes, row["gpu_mem_capacity"]),
        "bandwidth": (accelerator.memory_bandwidth_bytes_per_s, row["gpu_mem_bw"]),
        "power": (accelerator.tdp_w, row["gpu_power"]),
        "bf16": (accelerator.flops_per_s(DType.BF16), row["gpu_bfloat16_tc_flops"]),
    }[quantity]
    agree = ours == pytest.approx(float(theirs), rel=0.06)
    assert agree != ((REFERENCE_NAMES[system], quantity) in DIFFERS)


def test_a_cluster_survives_the_way_to_another_process() -> None:
    for name in names():
        cluster = find_cluster(name)
        for twin in (pickle.loads(pickle.dumps(cluster)), copy.deepcopy(cluster)):
            assert twin == cluster
            assert twin.sources == cluster.sources
            assert twin.accelerator.sources == cluster.accelerator.sources
