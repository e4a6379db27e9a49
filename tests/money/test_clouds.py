"""Prices of clouds: gpuhunt's own offers and files become quotes, and nothing is guessed."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headway.cli.main import headway, main
from headway.errors import InputError, MissingError
from headway.hardware.catalogue import find_cluster
from headway.hardware.price import ON_DEMAND, SPOT, read_prices
from headway.money.clouds import accelerator_of, book_of, cloud_offers, price_file

gpuhunt: Any = pytest.importorskip("gpuhunt", reason="pip install 'headway[clouds]'")


def offer(name: str, gpu: str, gib: float, count: int = 8, usd: float = 20.0, **more: Any) -> Any:
    words = {"provider": "nebius", "location": "eu-north1", "spot": False, **more}
    return gpuhunt.CatalogItem(
        instance_name=name,
        price=usd,
        cpu=128,
        memory=1600.0,
        gpu_count=count,
        gpu_name=gpu,
        gpu_memory=gib,
        disk_size=None,
        gpu_vendor=gpuhunt.AcceleratorVendor.NVIDIA,
        **words,
    )


OFFERS = (
    offer("gpu-h100-sxm 8gpu", "H100", 80, usd=23.6),
    offer("gpu-h100-sxm 1gpu", "H100", 80, count=1, usd=3.1),
    offer("gpu-h100-sxm 8gpu", "H100", 80, usd=10.0, spot=True),
    offer("8H100.80S.176V", "H100", 80, usd=18.32, provider="verda", location="FIN-01"),
    offer("BM.GPU.MI300X.8", "MI300X", 192, usd=48.0, provider="oci", location="us"),
)


@pytest.mark.parametrize(
    ("name", "gpu", "gib", "count", "accelerator"),
    [
        ("p5.48xlarge", "H100", 80, 8, "h100"),
        ("gpu_1x_h100_pcie", "H100", 80, 1, "h100-pcie"),
        ("gpu_1x_h100_sxm5", "H100", 80, 1, "h100"),
        ("BM.GPU.H100.8", "H100", 80, 8, "h100"),
        ("1H100.80S.30V", "H100", 80, 1, None),  # SXM or PCIe is not said
        ("NVIDIA A100 80GB PCIe", "A100", 80, 1, "a100-pcie"),
        ("Standard_NC40ads_H100_v5", "H100NVL", 94, 1, "h100-nvl"),
        ("gpu_8x_a100", "A100", 40, 8, "a100-40g"),
        ("gpu_8x_a100_80gb_sxm4", "A100", 80, 8, "a100"),
        ("rtxpro", "RTXPRO6000", 96, 1, "rtx-pro-6000"),
        ("rtx49", "RTX4090", 24, 1, "rtx-4090"),
        ("a4x", "GB200", 186, 4, "gb200-nvl72"),
        ("gpu_8x_v100", "V100", 32, 8, "v100-32g"),
        ("gpu_8x_v100", "V100", 24, 8, None),  # no card has so much
        ("x", "P100", 16, 1, None),
    ],
)
def test_what_an_offer_rents_is_named_or_left_out(
    name: str, gpu: str, gib: float, count: int, accelerator: str | None
) -> None:
    assert accelerator_of(offer(name, gpu, gib, count)) == accelerator


def test_the_lowest_price_of_a_provider_and_kind_is_kept() -> None:
    book = book_of(OFFERS, "2026-11-29")
    assert [(p.provider, p.kind, p.usd_per_accelerator_hour) for p in book.prices_of("h100")] == [
        ("nebius", SPOT, 1.25),
        ("verda", ON_DEMAND, 2.29),
        ("nebius", ON_DEMAND, 2.95),
    ]
    usual = book.usual("h100")
    assert usual is not None
    assert usual.terms == "on demand, verda, FIN-01, 2026-11-29"
    assert book.prices_of("mi300x")[0].usd_per_accelerator_hour == 6.0


def test_a_file_of_prices_is_read_as_it_was_written(tmp_path: Path) -> None:
    book = book_of(OFFERS, "2026-11-29")
    path = tmp_path / "prices.toml"
    path.write_text(price_file(book), encoding="utf-8")
    assert read_prices(path).quotes == book.quotes


def test_offers_of_nothing_that_is_known_are_refused() -> None:
    with pytest.raises(InputError, match="none of the clouds' offers"):
        book_of([replace(OFFERS[0], gpu_name="P100")], "2026-11-29")


# gpuhunt leaves the files of its folder to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_update_reads_the_packages_own_catalogues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = import_module("gpuhunt._internal.storage")
    for provider in import_module("gpuhunt._internal.catalog").OFFLINE_PROVIDERS:
        own = [item for item in OFFERS if item.provider == provider]
        storage.dump(own, str(tmp_path / f"{provider}.csv"))
    monkeypatch.setenv("GPUHUNT_CATALOG_DIR", str(tmp_path))

    path = tmp_path / "prices.toml"
    result = CliRunner().invoke(headway, ["prices", "update", "-o", str(path)])
    assert result.exit_code == 0, result.output
    assert "verda" in result.stdout
    price = find_cluster("h100", prices=read_prices(path)).price
    assert price is not None
    assert price.usd_per_accelerator_hour == 2.29


def test_without_a_network_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GPUHUNT_CATALOG_DIR", raising=False)
    monkeypatch.setenv("GPUHUNT_CATALOG_URL", "http://127.0.0.1:9/nothing")
    with pytest.raises(MissingError, match="dated prices that ship"):
        cloud_offers()
    with pytest.raises(SystemExit) as gone:
        main(["prices", "update"])
    assert gone.value.code == 3
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
