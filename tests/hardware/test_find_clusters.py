"""Every way to write accelerators on the command line and in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from headway.errors import InputError, UnknownNameError
from headway.hardware.catalogue import find_cluster, find_clusters, instances, names


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("8xH100", "h100", 8),
        ("8 x h100-sxm", "h100", 8),
        (" 72xGB200", "gb200-nvl72", 72),
        ("1xrtx4090", "rtx-4090", 1),
        ("4090", "rtx-4090", None),
        ("p5.48xlarge", "h100", 8),
        ("P5.48xLarge", "h100", 8),
        ("a3-highgpu-8g", "h100", 8),
        ("standard_nd96isr_h100_v5", "h100", 8),
        ("Standard_ND96isr_MI300X_v5", "mi300x", 8),
        ("BM.GPU.H200.8", "h200", 8),
        ("p4d.24xlarge", "a100-40g", 8),
        ("ct6e-standard-4t", "tpu-v6e", 4),
        ("TPU v5e-8", "tpu-v5e", 8),
        ("v4-32", "tpu-v4", 16),
        ("inf2.48xlarge", "inferentia2", 12),
        ("4xp5.48xlarge", "h100", 32),
    ],
)
def test_counts_and_instances(text: str, name: str, count: int | None) -> None:
    cluster, whole = find_cluster(text), find_cluster(name)
    assert cluster.name == name
    assert cluster.num_accelerators == (count or whole.num_accelerators)
    assert cluster.of(whole.num_accelerators) == whole


def test_a_file_may_be_counted_too() -> None:
    example = Path(__file__).parents[2] / "examples/my_chip.toml"
    assert find_cluster(f"4x {example}").num_accelerators == 4


@pytest.mark.parametrize("text", ["0xh100", "100000xrtx-4090"])
def test_more_than_the_links_connect_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"asks for .* and the links of .* connect 1 to"):
        find_cluster(text)


def test_an_unknown_instance_is_met_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*p5\.48xlarge"):
        find_cluster("p5.49xlarge")


def test_every_instance_holds_accelerators_of_the_catalogue_within_a_node() -> None:
    assert len(instances()) > 50
    for key, instance in instances().items():
        cluster = find_cluster(instance.name)
        assert cluster == find_cluster(instance.contents)
        assert key not in names()
        assert cluster.num_accelerators <= max(8, cluster.links[0].domain_size)
        assert instance.source.url.startswith("https://")


def test_lists_and_all() -> None:
    assert [c.name for c in find_clusters("h100, 8xh200 ,h100")] == ["h100", "h200"]
    assert [c.name for c in find_clusters("all")] == list(names())
    assert [c.name for c in find_clusters("ALL,h100")] == list(names())
    for text in ("", " , "):
        with pytest.raises(InputError, match="give at least one accelerator, such as"):
            find_clusters(text)


def test_a_price_replaces_the_catalogues() -> None:
    assert find_cluster("h100", usd_per_hour=2.5).usd_per_accelerator_hour == 2.5
    prices = {c.usd_per_accelerator_hour for c in find_clusters("all", usd_per_hour=3)}
    assert prices == {3}
    with pytest.raises(InputError, match="above 0"):
        find_cluster("h100", usd_per_hour=0)
