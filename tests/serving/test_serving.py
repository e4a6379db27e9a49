"""A load on a deployment: seats, queues, prompts, drafts."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from headway.dtypes import DType
from headway.errors import InputError
from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import serve
from headway.serving.load import Load
from headway.serving.load_steps import seats
from headway.serving.tabulated import serving_times, tabulate_serving
from headway.steptime.deployment import Deployment, as_run
from headway.steptime.kernel_coefficients import NAMES, Coefficients
from headway.steptime.parallelism import Parallelism
from headway.steptime.placed_model import Drafting
from headway.steptime.speculative import Speculation, mtp_draft
from headway.steptime.worktable import price, stack, tabulate
from headway.workload.step import Step

BF16 = Precision(DType.BF16, DType.BF16, DType.BF16)
THETA = Coefficients().vector()


@pytest.fixture
def llama(h100: Cluster, llama_8b: ModelArchitecture) -> Deployment:
    return Deployment(llama_8b, h100, tp=1, precision=BF16)


def test_users_beyond_the_cache_queue_and_the_others_do_not(llama: Deployment) -> None:
    load = ClosedLoop(4000, 1000, np.array([4, 16, 512]))
    running = seats(llama, load)
    assert list(running[:2]) == [4, 16]
    one = 2 * 32 * 8 * 128 * 2 * 4500  # keys and values, layers, heads, width, bytes, context
    assert running[2] == np.floor((80e9 * 0.9 - float(llama.weight_bytes)) / one)
    times = serving_times(tabulate_serving(llama, load), THETA)
    assert times.queue_s[0] == pytest.approx(0, abs=1e-9)
    assert times.queue_s[2] > 10 * times.tpot_s[2]
    assert np.all(times.requests_per_s * times.e2e_s == pytest.approx([4, 16, 512]))


def test_more_users_take_longer_and_give_more(llama: Deployment) -> None:
    load = ClosedLoop(1000, 1000, 2.0 ** np.arange(9))
    times = serving_times(tabulate_serving(llama, load), THETA)
    assert np.all(np.diff(times.tpot_s) > 0)
    assert np.all(np.diff(times.requests_per_s) > 0)


def test_the_burst_lifts_the_mean_time_to_first_token_only(llama: Deployment) -> None:
    one = serving_times(tabulate_serving(llama, ClosedLoop(1000, 1000, 1)), THETA)
    many = serving_times(tabulate_serving(llama, ClosedLoop(1000, 1000, 64)), THETA)
    assert float(one.mean_ttft_s) == pytest.approx(float(one.ttft_s))
    assert float(many.mean_ttft_s) > 1.5 * float(many.ttft_s)


def test_a_cached_prefix_shortens_the_first_token(llama: Deployment) -> None:
    cold = serving_times(tabulate_serving(llama, ClosedLoop(8000, 100, 8)), THETA)
    warm = serving_times(tabulate_serving(llama, ClosedLoop(8000, 100, 8, 0.9)), THETA)
    assert float(warm.ttft_s) < 0.5 * float(cold.ttft_s)
    assert float(warm.tpot_s) < float(cold.tpot_s)


def test_a_static_batch_is_its_prompts_and_then_its_steps(llama: Deployment) -> None:
    load = ClosedLoop(1000, 201, 16, static=True)
    table = tabulate_serving(llama, load)
    times = serving_times(table, THETA)
    assert float(table.shape.prompts_per_step) == 8  # 8192 tokens hold eight whole prompts
    prompts_s = 2 * float(times.mixed_step_s)
    assert float(times.tpot_s) * 200 == pytest.approx(prompts_s + 200 * float(times.decode_step_s))


def test_one_request_alone_is_a_batch_of_one(llama: Deployment) -> None:
    alone = serving_times(tabulate_serving(llama, ClosedLoop(1000, 201, 1)), THETA)
    batch = ClosedLoop(1000, 201, 1, static=True)
    together = serving_times(tabulate_serving(llama, batch), THETA)
    assert float(together.decode_step_s) == pytest.approx(float(alone.decode_step_s))
    assert float(together.ttft_s) == pytest.approx(float(alone.ttft_s))


def test_waiting_for_prompts_costs_more_than_mixing_them_in(llama: Deployment) -> None:
    load = ClosedLoop(2000, 200, 32)
    mixed = serving_times(tabulate_serving(llama, load), THETA)
    apart = serving_times(tabulate_serving(llama, load, mixes=False), THETA)
    assert float(mixed.tpot_s) < float(apart.tpot_s)
    assert 0 < float(mixed.mixed_share) < 1


def test_accepted_drafts_shorten_the_time_per_token(
    h100: Cluster, deepseek: ModelArchitecture
) -> None:
    d = Deployment(deepseek, h100, tp=16, precision=Precision(DType.FP8, DType.FP8, DType.BF16))
    load = ClosedLoop(1000, 1000, 4)
    drafts = Drafting(Speculation(mtp_draft(deepseek), 0.8), tokens=2)
    plain = serving_times(tabulate_serving(d, load), THETA)
    drafted = serving_times(tabulate_serving(d.with_drafting(drafts), load), THETA)
    assert float(drafted.decode_step_s) > float(plain.decode_step_s)
    assert float(drafted.tpot_s) < float(plain.tpot_s)


def test_perfect_coefficients_reach_the_data_sheet(llama: Deployment) -> None:
    perfect = np.array([1e-12 if n.endswith("_s") or n == "tile_rows" else 1.0 for n in NAMES])
    perfect[NAMES.index("unhidden")] = 1e-12
    perfect[NAMES.index("activation_bandwidth")] = 1e12
    table = tabulate(llama, Step.decode(1, 1000))
    assert float(price(table, perfect).total_s) == pytest.approx(
        float(table.bound.total_s), rel=1e-6
    )


def test_a_short_prompt_takes_as_long_as_the_host_launches_it(llama: Deployment) -> None:
    slow_host, fast_host = (
        Coefficients(prompt_kernel_s=seconds).vector() for seconds in (1e-4, 1e-12)
    )
    short, long = (tabulate(llama, Step.prefill(1, tokens)) for tokens in (16, 30_000))
    launch_s = 1e-4 * float(short.kernels.sum())
    assert float(price(short, slow_host).total_s) >= launch_s
    assert (
        float(price(long, slow_host).total_s) < float(price(long, fast_host).total_s) + launch_s / 4
    )
    decode = tabulate(llama, Step.decode(8, 500))  # its kernels are launched together
    assert float(price(decode, slow_host).total_s) == float(price(decode, fast_host).total_s)


def test_coefficients_of_before_launches_of_prompts_were_told_apart_are_read() -> None:
    values: dict[str, object] = {**asdict(Coefficients())}
    del values["prompt_kernel_s"]
    assert Coefficients.from_mapping(values).prompt_kernel_s < 1e-9


def test_stacked_tables_price_as_they_do_alone(
    llama: Deployment, h100: Cluster, deepseek: ModelArchitecture
) -> None:
    fp8 = Precision(DType.FP8, DType.FP8, DType.BF16)
    other = Deployment(deepseek, h100, tp=8, precision=fp8)
    tables = [tabulate(d, Step.decode(8, 500)) for d in (llama, other)]
    together = price(stack(tables), np.tile(THETA, (2, 1))).total_s
    assert together == pytest.approx([float(price(t, THETA).total_s) for t in tables])


def test_mxfp4_runs_with_8_bit_activations_where_both_are_native() -> None:
    published = Precision.parse("mxfp4+bf16/bf16/bf16")
    assert as_run(published, find_cluster("b200").accelerator).activations is DType.FP8
    assert as_run(published, find_cluster("h100").accelerator) == published


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt_tokens": 0}, "prompt_tokens"),
        ({"concurrency": 0.5}, "concurrency"),
        ({"cached_fraction": 1.0}, "cached_fraction"),
        ({"output_tokens": np.inf}, "output_tokens"),
        ({"requests_per_user": 0.0}, "requests_per_user"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(given: dict[str, float], said: str) -> None:
    whole: dict[str, Any] = {"prompt_tokens": 10, "output_tokens": 10, "concurrency": 1} | given
    with pytest.raises(InputError, match=said):
        ClosedLoop(**whole)


def test_coefficients_must_be_positive() -> None:
    with pytest.raises(InputError, match="link"):
        replace(Coefficients(), link=0.0)


def test_stages_of_a_pipeline_compute_prompts_at_the_same_time(llama: Deployment) -> None:
    load = ClosedLoop(4096, 16, 256)
    alone = serve(llama, load)
    piped = serve(replace(llama, parallelism=Parallelism(1, pp=4)), load)
    assert 1.9 < alone.shape.prompts_per_step < 2
    assert piped.shape.prompts_per_step == pytest.approx(4 * alone.shape.prompts_per_step, rel=0.05)
    per_accelerator = float(piped.total_tok_per_s / 4)
    assert per_accelerator == pytest.approx(float(alone.total_tok_per_s), rel=0.15)


def test_a_prompt_alone_takes_every_stage_in_turn_and_its_chunks_follow_each_other(
    llama: Deployment,
) -> None:
    one = serve(replace(llama, parallelism=Parallelism(1, pp=4)), ClosedLoop(4096, 1, 1))
    assert one.shape.prompt_steps == one.shape.prompt_passes == 1

    # Of eight chunks the last enters when the one before it leaves a stage: 11 quarters of a pass.
    long = serve(replace(llama, parallelism=Parallelism(1, pp=4)), ClosedLoop(65_536, 1, 1))
    assert long.shape.prompt_steps == pytest.approx(8, abs=0.01)
    assert long.shape.prompt_passes == pytest.approx((8 + 3) / 4, abs=0.01)
    assert long.times.ttft_s < 0.5 * serve(llama, ClosedLoop(65_536, 1, 1)).times.ttft_s


def test_several_loads_are_explained_as_each_is_alone() -> None:
    deployment = Deployment(find_model("llama-3.1-8b"), find_cluster("h100"), engine="vllm")
    both = deployment.serve(Load(prompt=2000, output=400, concurrency=[1, 64])).explain()
    for concurrency in (1, 64):
        alone = deployment.serve(Load(prompt=2000, output=400, concurrency=concurrency)).explain()
        ours = [row for row in both.rows if row.concurrency == concurrency]
        assert [replace(row, concurrency=None) for row in ours] == list(alone.rows)
    assert len(both.notes) == 4
