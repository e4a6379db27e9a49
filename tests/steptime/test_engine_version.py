"""An engine's version is a factor on its time, by the pace that was measured."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import headway as hw
from headway.errors import InputError, UnsupportedError
from headway.hardware.stacks import Engine
from headway.steptime.calibration import shipped
from headway.steptime.engine_version import at_version, log_time_of


def tpot_s(engine: str) -> float:
    deployment = hw.deployment("llama-3.3-70b@8xh100:tp8", precision="fp8", engine=engine)
    return float(deployment.step_time(16, 2000).expected_s)


@pytest.mark.parametrize(
    "versions",
    [
        ("vllm@0.6", "vllm@0.8.5", "vllm@0.11.2", "vllm@0.19", "vllm@0.32"),
        ("sglang@0.4", "sglang@0.5.6.post2", "sglang@0.5.10"),
        ("tensorrt-llm@0.20", "tensorrt-llm@1.1.0rc2", "tensorrt-llm@1.3"),
    ],
)
def test_a_newer_version_takes_no_longer(versions: tuple[str, ...]) -> None:
    times = [tpot_s(version) for version in versions]
    assert all(newer <= older for older, newer in itertools.pairwise(times))
    assert times[-1] < times[0]


def test_without_a_version_nothing_changes() -> None:
    assert at_version(shipped(), Engine("vllm")) is shipped()
    assert log_time_of(Engine("vllm", "0.15")) == 0.0  # of the month around which the runs lie
    assert tpot_s("vllm@0.15.1") == tpot_s("vllm")


def test_the_pace_is_that_of_the_pairs_compared() -> None:
    assert log_time_of(Engine("vllm", "0.19")) == pytest.approx(-0.019 * 2)
    assert log_time_of(Engine("vllm", "0.11.2")) == pytest.approx(0.019 * 4)
    # Beyond what was compared, nothing is gained or lost.
    assert log_time_of(Engine("vllm", "0.32")) == log_time_of(Engine("vllm", "0.23"))
    assert log_time_of(Engine("vllm", "0.1")) == log_time_of(Engine("vllm", "0.6"))


def test_all_of_a_step_grows_with_its_time() -> None:
    ratio = tpot_s("vllm@0.11") / tpot_s("vllm")
    assert np.log(ratio) == pytest.approx(0.019 * 4, rel=0.1)


def test_versions_that_nobody_compared_or_that_lack_the_format_are_refused() -> None:
    with pytest.raises(InputError, match="versions of atom were never compared"):
        log_time_of(Engine("atom", "0.2"))
    with pytest.raises(UnsupportedError, match=r"vllm@0.4 does not run fp8"):
        hw.deployment("llama-3.1-8b@h100:tp1", precision="fp8", engine="vllm@0.4")


def test_a_version_may_stand_apart_and_is_printed() -> None:
    own = hw.deployment("llama-3.1-8b@h100:tp1", engine="vllm@0.19")
    assert (own.engine, own.engine_version) == ("vllm", "0.19")
    assert str(own).endswith("with vllm@0.19")
    again = own.with_limits(own.limits)
    assert (again.engine, again.engine_version) == ("vllm", "0.19")


def test_no_step_takes_less_than_the_shortest_that_was_measured() -> None:
    for engine, least_ms in (("vllm", 2.95), ("tensorrt-llm", 2.28)):
        small = hw.deployment("qwen2.5-0.5b@b200:tp1", engine=engine)
        alone = small.step_time(1, 100)
        assert float(alone.expected_s) == pytest.approx(least_ms * 1e-3)
        assert alone.lower_s <= alone.expected_s <= alone.upper_s

    # A large model's steps are longer, and its data sheet alone knows no host.
    large = hw.deployment("llama-3.1-70b@h100:tp4", engine="vllm")
    assert float(large.step_time(1, 100).expected_s) > 5e-3
    sheet = hw.deployment("qwen2.5-0.5b@b200:tp1", engine="none")
    assert float(sheet.step_time(1, 100).expected_s) < 2e-3


def test_what_is_missing_to_the_shortest_step_is_the_engine_s() -> None:
    small = hw.deployment("qwen2.5-0.5b@b200:tp1", engine="vllm")
    parts = small.serve(hw.Load(prompt=100, output=50, concurrency=1)).served.decode.components
    assert parts is not None
    assert parts.binds == "latency"
