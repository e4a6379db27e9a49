"""Every chip of the catalogue answers, no faster than it can read the weights."""

from __future__ import annotations

from headway.hardware.catalogue import find_cluster, find_clusters
from headway.model.catalogue import find_model
from headway.steptime.calibration import engine_named
from headway.steptime.deployment import Deployment
from headway.steptime.time_estimate import Basis

MODEL = find_model("llama-3.1-8b")


def test_one_user_waits_for_the_weights_and_not_much_longer() -> None:
    for cluster in find_clusters("all"):
        chip = cluster.accelerator
        if chip.name == "groq-lpu":  # hundreds of chips hold one model
            continue
        deployment = Deployment(MODEL, cluster, precision="int4", engine=engine_named(None, chip))
        time = deployment.step_time(1, 500)

        # The table of embeddings is not read, and layers beside the matrices are not quantized.
        weight_s = 7.5e9 * 0.5 / chip.memory_bandwidth_bytes_per_s
        assert weight_s <= time.lower_s <= time.expected_s <= time.upper_s, chip.name
        assert time.expected_s < 8 * weight_s, chip.name
        assert time.upper_s / time.lower_s > 1.4, chip.name
        assert time.basis is not Basis.MEASURED, chip.name


def test_a_chip_without_16_bit_arithmetic_stores_16_bits_and_computes_in_32() -> None:
    deployment = Deployment(MODEL, find_cluster("p40"), precision="bf16")
    assert str(deployment.precision) == "fp16/fp32/fp16"
