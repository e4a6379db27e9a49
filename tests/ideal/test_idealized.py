"""The idealized runtime from a configuration: laws of the sum over passes and of the layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.dtypes import DType
from headway.errors import DoesNotFitError, InputError
from headway.hardware.cluster import Cluster
from headway.ideal.reference import Reference, idealize
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.serving.load import Load
from headway.steptime.analytic import AnalyticStepTime
from headway.steptime.time_estimate import Basis
from headway.workload.step import Step

BF16 = Precision(DType.BF16, DType.BF16, DType.BF16)


def reference(
    model: ModelArchitecture,
    precision: Precision,
    cluster: Cluster,
    num_accelerators: int | None = None,
    engine: str = "none",
) -> Reference:
    return idealize(
        model, cluster, engine=engine, precision=precision, num_accelerators=num_accelerators
    )


def test_a_request_is_its_prefill_and_its_decode_passes(
    llama_8b: ModelArchitecture, h100: Cluster
) -> None:
    own = reference(llama_8b, BF16, h100)
    steps = AnalyticStepTime(own.deployment)
    whole = float(steps.step_time(Step.prefill(1, 700)).expected_s)
    whole += float(steps.step_time(Step.decode(1, 700 + np.arange(99))).expected_s.sum())
    assert float(own.runtime.predict(700, 100)) == pytest.approx(whole, rel=1e-6)
    assert own.runtime.predict(700, 0) == own.runtime.predict(700, 1)


@settings(max_examples=30)
@given(
    prompt=st.integers(1, 20_000),
    output=st.integers(1, 5_000),
    more_prompt=st.integers(0, 3_000),
    more_output=st.integers(0, 500),
)
def test_more_tokens_never_take_less_time(
    llama_8b: ModelArchitecture,
    h100: Cluster,
    prompt: int,
    output: int,
    more_prompt: int,
    more_output: int,
) -> None:
    runtime = reference(llama_8b, BF16, h100).runtime
    assert runtime.predict(prompt + more_prompt, output + more_output) >= runtime.predict(
        prompt, output
    )
    low, high = runtime.interval(prompt, output)
    assert low <= runtime.predict(prompt, output) <= high


def test_arrays_are_what_their_elements_are(llama_8b: ModelArchitecture, h100: Cluster) -> None:
    runtime = reference(llama_8b, BF16, h100).runtime
    prompts, outputs = np.asarray([[1.0, 500.0], [8000.0, 3.0]]), np.asarray([1.0, 64.0])
    found = runtime.predict(prompts, outputs)
    assert found.shape == (2, 2)
    assert found[1, 1] == pytest.approx(float(runtime.predict(3, 64)), rel=1e-6)


def test_as_few_accelerators_as_hold_the_model(llama_70b: ModelArchitecture, h100: Cluster) -> None:
    own = reference(llama_70b, BF16, h100)
    assert own.num_accelerators == 2
    with pytest.raises(DoesNotFitError, match="lacks"):
        reference(llama_70b, BF16, h100, 1)
    with pytest.raises(InputError, match="no layout of"):
        reference(llama_70b, BF16, h100, 97)


def test_more_accelerators_are_faster_and_not_cheaper(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    own = [reference(llama_70b, BF16, h100, count) for count in (2, 4, 8)]
    seconds = [m.runtime.predict(512, 64) for m in own]
    assert seconds[0] > seconds[1] > seconds[2]
    dollars = [float(m.usd(s)) for m, s in zip(own, seconds, strict=True)]
    assert dollars[0] < dollars[2]
    assert dollars[0] == pytest.approx(float(seconds[0]) * 2 * 2.0 / 3600)


@pytest.mark.parametrize("engine", ["none", "vllm", "sglang"])
def test_joules_lie_between_idle_and_tdp(
    llama_70b: ModelArchitecture, h100: Cluster, engine: str
) -> None:
    own = reference(llama_70b, BF16, h100, 2, engine=engine)
    prompts, outputs = np.asarray([64.0, 4000.0]), np.asarray([200.0, 2.0])
    found, seconds = own.mean_joules(prompts, outputs), own.runtime.predict(prompts, outputs)
    assert found is not None
    assert 0.1 * 2 * 700 * seconds.mean() < found.expected <= 2 * 700 * seconds.mean()
    assert found.lower < found.expected < found.upper
    assert found.upper <= 2 * 700 * own.runtime.interval(prompts, outputs)[1].mean()
    # Arithmetic draws more than waiting for memory.
    passes = replace(own.runtime, with_overhead=False)
    joules = passes.joules(prompts, outputs)
    assert joules is not None
    watts = joules / passes.predict(prompts, outputs)
    assert watts[1] > watts[0]


def test_without_a_tdp_there_are_no_joules(llama_8b: ModelArchitecture, h100: Cluster) -> None:
    unknown = replace(h100, accelerator=replace(h100.accelerator, tdp_w=None))
    own = reference(llama_8b, BF16, unknown)
    assert own.mean_joules(np.asarray([5.0]), np.asarray([5.0])) is None


@pytest.mark.parametrize("engine", ["none", "vllm", "sglang"])
@pytest.mark.parametrize(("prompt", "output"), [(512, 64), (4000, 1), (2000, 400)])
def test_a_request_alone_takes_what_one_user_of_the_deployment_waits(
    llama_8b: ModelArchitecture, h100: Cluster, engine: str, prompt: int, output: int
) -> None:
    alone = reference(llama_8b, BF16, h100, engine=engine)
    served = alone.deployment.serve(Load(prompt=prompt, output=output, concurrency=1))
    # Passes are summed at each context here, and taken at their mean context there.
    assert float(alone.runtime.predict(prompt, output)) == pytest.approx(
        float(served.e2e_s.expected), rel=2e-5
    )


def test_what_an_engine_adds_to_a_request_can_be_left_out(
    llama_8b: ModelArchitecture, h100: Cluster
) -> None:
    whole = reference(llama_8b, BF16, h100, engine="vllm").runtime
    passes = replace(whole, with_overhead=False)
    added_s = whole.predict(512, 64) - passes.predict(512, 64)
    overhead = whole.steps.request_overhead
    step_s = float(whole.steps.step_time(Step.decode(1, 512 + 63 / 2)).expected_s)
    assert float(added_s) == pytest.approx(float(overhead.seconds(512, step_s)), rel=1e-4)
    joules, pass_joules = whole.joules(512, 64), passes.joules(512, 64)
    assert joules is not None
    assert pass_joules is not None
    assert joules > pass_joules


def test_a_measured_engine_takes_longer_than_the_machine_allows(
    llama_8b: ModelArchitecture, h100: Cluster
) -> None:
    own = reference(llama_8b, BF16, h100, engine="vllm")
    bound, _ = reference(llama_8b, BF16, h100).runtime.interval(512, 64)
    assert own.basis is Basis.FITTED
    assert float(own.runtime.predict(512, 64)) > float(bound)
    low, high = own.runtime.interval(512, 64, 0.5)
    wide_low, wide_high = own.runtime.interval(512, 64, 0.99)
    assert wide_low < low < own.runtime.predict(512, 64) < high < wide_high
    with pytest.raises(InputError, match="unknown engine"):
        reference(llama_8b, BF16, h100, engine="no-such-engine")


def test_a_mixture_of_experts_has_a_runtime_too(deepseek: ModelArchitecture, h100: Cluster) -> None:
    own = reference(deepseek, Precision(DType.FP8, DType.FP8, DType.BF16), h100)
    assert own.num_accelerators == 16
    assert 0 < float(own.runtime.predict(512, 64)) < 10


def test_impossible_requests_are_refused(llama_8b: ModelArchitecture, h100: Cluster) -> None:
    runtime = reference(llama_8b, BF16, h100).runtime
    for prompt, output in ((0, 1), (1, -1), (1e9, 1)):
        with pytest.raises(InputError, match="1 prompt token"):
            runtime.predict(prompt, output)


@pytest.mark.parametrize("engine", ["none", "vllm"])
def test_cached_prompt_tokens_are_not_computed_but_stay_in_the_context(engine: str) -> None:
    own = idealize("llama-3.1-8b", "h100", engine=engine, context_tokens=110_000).runtime
    cached = replace(own, cached_tokens=100_000.0)
    fresh = replace(own, cached_tokens=0.0)

    # Cheaper than to compute all of it, dearer than if it had never been there.
    assert cached.predict(100_500, 200) < fresh.predict(100_500, 200)
    assert cached.predict(100_500, 200) > 1.1 * fresh.predict(500, 200)

    # Decoding reads the same context, cached or computed; only the prompt's pass is saved.
    steps = own.steps
    saved_s = (
        steps.step_time(Step.prefill(1, 100_500)).expected_s
        - steps.step_time(Step.prefill(1, 100_500, 100_000)).expected_s
    )
    overhead = steps.request_overhead
    saved_s = saved_s + overhead.seconds(100_500.0, 0.0) - overhead.seconds(500.0, 0.0)
    assert fresh.predict(100_500, 200) - cached.predict(100_500, 200) == pytest.approx(
        float(saved_s[0] if np.ndim(saved_s) else saved_s), rel=1e-6
    )


def test_a_prompt_that_is_cached_whole_computes_its_last_token() -> None:
    own = idealize("llama-3.1-8b", "h100").runtime
    whole = replace(own, cached_tokens=512.0)
    assert whole.predict(512, 1) == replace(own, cached_tokens=511.0).predict(512, 1)


def test_of_an_engine_that_nobody_measured_the_data_sheet_is_the_reference() -> None:
    own = idealize("llama-3.1-8b", "apple-m4-max", engine="mlc", precision="int4")
    sheet = idealize("llama-3.1-8b", "apple-m4-max", engine="none", precision="int4")
    assert own.engine == "mlc"
    assert own.runtime.confidence is None
    assert float(own.runtime.predict(500, 100)) == float(sheet.runtime.predict(500, 100))
