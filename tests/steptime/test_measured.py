"""Step times from measured operators: tables made up here, and the real ones where they are."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from headway.errors import InputError
from headway.sim.engine import Engine, kv_blocks
from headway.sim.laws import check
from headway.sim.outcome import simulate_trace
from headway.sim.site import Pool, Site
from headway.sim.times import tabulate
from headway.steptime.deployment import Deployment
from headway.steptime.deployment_name import parse_deployment
from headway.steptime.measured import PCIE_PAIR, OperatorStepTime, padded
from headway.steptime.operator_profile import Grid, Operators
from headway.workload.step import Step
from headway.workload.traces import read_trace

SHARED = Path(__file__).parents[3] / "shared" / "data"


def operator_times(folder: Path, deployment: Deployment) -> OperatorStepTime:
    return OperatorStepTime(deployment, Operators.read(folder, deployment))


def folder(
    tmp_path: Path,
    model: str = "owner/Llama-3.1-8B-Instruct",
    moe: bool = False,
    uneven: dict[int, float] | None = None,
) -> Path:
    """Dense layers of 2 us a token, attention of 3 us and more, head of 100 us.

    ``uneven`` is by how much, of sequences, a relative variance of 1 lengthens attention.
    """
    where = f"H100,{model},1"
    lines = {
        "dense": ["layer,tokens,time_us,hw,model,tp"],
        "per_sequence": ["layer,sequences,time_us,hw,model,tp"],
        "attention": ["prefill_chunk,kv_prefill,n_decode,kv_decode,time_us,hw,model,tp"],
    }
    for tokens in (1, 64, 1024, 2048):
        lines["dense"] += [f"qkv_proj,{tokens},{2 * tokens},{where}"]
        lines["dense"] += [f"layernorm,{tokens},{tokens},{where}"]
    lines["per_sequence"] += [f"lm_head,{n},100,{where}" for n in (1, 64, 256)]
    for chunk, before, n, kv in product((0, 256, 2048), (0, 4096), (0, 8, 64, 256), (0, 4096)):
        if (chunk, n) != (0, 0):
            lines["attention"] += [f"{chunk},{before},{n},{kv},{3 + chunk + n},{where}"]
    if moe:
        lines["moe"] = ["tokens,activated_experts,time_us,hw,model,tp"]
        lines["moe"] += [f"{t},{e},{10 * e},{where}" for t in (1, 2048) for e in (8, 64, 128)]
    if uneven is not None:
        lines["skew"] = ["regime,n,nb,skew,kv_mean,t_mean_us,t_skew_us,hw,model,tp"]
        for n, slope in uneven.items():
            for share, skew in ((0.125, 4.0), (0.25, 2.0), (0.5, 2.0), (0.75, 4.0), (0.5, 16.0)):
                variance = share * (1 - share) * ((skew - 1) / (1 + share * (skew - 1))) ** 2
                row = f"pure,{n},{share * n},{skew},1000,50,{50 * (1 + slope * variance)}"
                lines["skew"] += [f"{row},{where}", f"mixed{row.removeprefix('pure')},{where}"]
            lines["skew"] += [f"pure,{n},{n / 4},2.0,128,50,500,{where}"]  # short: does not count
    for name, rows in lines.items():
        (tmp_path / f"profile_{name}.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_step_is_the_sum_of_its_operators(tmp_path: Path) -> None:
    model = operator_times(folder(tmp_path), parse_deployment("llama-3.1-8b@h100:tp1"))
    decode = float(model.step_time(Step.decode(64, 4096)).expected_s)
    per_layer = 2 * 64 + 2 * 64 + (3 + 64)  # one product, two norms, attention
    assert decode == pytest.approx((32 * per_layer + 100) * 1e-6, rel=0.1)
    mixed = Step.decode(8, 4096).with_group(Step.prefill(1, 256, 0))
    assert float(model.step_time(mixed).expected_s) == pytest.approx(
        (32 * (4 * 264 + 3 + 256 + 8) + 100) * 1e-6, rel=0.02
    )
    several = Step.prefill(2, 256, 0)
    assert model.step_time(Step.decode(0, 1).with_group(several)).expected_s > (
        model.step_time(Step.decode(0, 1).with_group(Step.prefill(1, 256, 0))).expected_s
    )


def test_uneven_contexts_cost_what_their_variance_says(tmp_path: Path) -> None:
    plain = operator_times(folder(tmp_path), parse_deployment("llama-3.1-8b@h100:tp1"))
    assert plain.step_time(Step.decode(64, 4096)).spread_s is None

    files = folder(tmp_path, uneven={8: 0.0, 64: 0.5})
    model = operator_times(files, parse_deployment("llama-3.1-8b@h100:tp1"))
    alone, full = (model.step_time(Step.decode(n, 4096)) for n in (8, 64))
    assert alone.spread_s == 0
    assert full.spread_s == pytest.approx(0.5 * 32 * (3 + 64) * 1e-6)
    assert full.expected_s == plain.step_time(Step.decode(64, 4096)).expected_s
    mixed = Step.decode(8, 4096).with_group(Step.prefill(1, 256, 0))
    assert model.step_time(mixed).spread_s is None

    # In the table of steps: by the variance, as far as it was measured.
    engine = Engine(max_num_seqs=64, num_kv_blocks=40_000)
    times = tabulate(model, engine)
    caches = np.array([1000] * 32 + [3000] * 32)
    for factor, variance in ((1, 0.25), (0, 0.0)):
        spread = np.where(caches > 2000, 2000 + 1000 * factor, 2000 - 1000 * factor)
        squares, total = int((spread**2).sum()), int(spread.sum())
        even = times.decode_step_ns(64, total)
        assert times.decode_step_ns(64, total, squares) - even == pytest.approx(
            variance * 0.5 * 32 * (3 + 64) * 1e3, rel=0.02
        )
    one = np.array([1] * 63 + [100_000])
    extra = times.decode_step_ns(64, int(one.sum()), int((one**2).sum()))
    extra -= times.decode_step_ns(64, int(one.sum()))
    assert extra == pytest.approx(0.5 * 0.5 * 32 * (3 + 64) * 1e3, rel=0.02)


def test_ranks_with_attention_of_their_own_step_together(tmp_path: Path) -> None:
    """Two ranks with half of the sequences each: half the experts, exchanges."""
    files = folder(tmp_path, "Qwen/Qwen3-30B-A3B", moe=True)
    one = operator_times(files, parse_deployment("qwen3-30b-a3b@h100:tp1"))
    two = operator_times(files, parse_deployment("qwen3-30b-a3b@h100:dp2,ep2"))
    alone = float(one.step_time(Step.decode(64, 1024)).expected_s)
    both = float(two.step_time(Step.decode(128, 1024)).expected_s)
    experts = 48 * (10 * 128 - 10 * 64) * 1e-6
    bytes_ = 128 * 2048 * 2
    exchange = 48 * (PCIE_PAIR.fixed_s + PCIE_PAIR.byte_s * bytes_)
    # Of 64 tokens not quite all of 128 experts are chosen.
    assert both - alone == pytest.approx(exchange - experts, rel=0.05)
    # A prompt stands on one rank and slows both; two prompts stand on one each.
    prompt = Step.decode(0, 1).with_group(Step.prefill(1, 256, 0))
    prompts = Step.decode(0, 1).with_group(Step.prefill(2, 256, 0))
    once, twice = (float(two.step_time(step).expected_s) for step in (prompt, prompts))
    assert once < twice < 1.2 * once


def test_what_was_not_measured_is_refused_by_name(tmp_path: Path) -> None:
    files = folder(tmp_path)
    with pytest.raises(InputError, match=r"nothing for qwen3-8b .* it has owner/Llama-3.1-8B"):
        operator_times(files, parse_deployment("qwen3-8b@h100:tp1"))
    with pytest.raises(InputError, match="tp2"):
        operator_times(files, parse_deployment("llama-3.1-8b@h100:tp2"))
    with pytest.raises(InputError, match="must hold one table"):
        operator_times(tmp_path / "nowhere", parse_deployment("llama-3.1-8b@h100:tp1"))
    with pytest.raises(InputError, match="two ranks"):
        operator_times(files, parse_deployment("llama-3.1-8b@h100:pp2"))


def test_a_grid_of_a_product_is_that_product_between_its_points() -> None:
    """Attention grows with sequences times context: no bend between points an octave apart."""
    sequences, contexts = (a.ravel() for a in np.meshgrid([1.0, 32, 64], [16.0, 1024, 2048]))
    grid = Grid.of([sequences, contexts], sequences * contexts)
    for n, context in product((1.0, 20.0, 45.0, 64.0), (16.0, 700.0, 1500.0)):
        assert grid.at(np.array(n), np.array(context)) == pytest.approx(n * context)


def test_grids_are_exact_where_measured_and_filled_where_not() -> None:
    points = [np.array([1.0, 1.0, 7.0]), np.array([1.0, 3.0, 1.0])]
    grid = Grid.of(points, np.array([5.0, 6.0, 9.0]))
    assert grid.at(*points).tolist() == pytest.approx([5, 6, 9])
    assert np.isfinite(grid.at(np.array([7.0]), np.array([3.0]))).all()
    assert padded(np.array([1.0, 3.0, 9.0, 64.0])).tolist() == [1, 4, 16, 64]


@pytest.mark.parametrize(
    ("run", "deployment", "slots", "blocks", "bar"),
    [
        ("RTX4090_Llama-3.1-8B", "llama-3.1-8b@rtx-4090:tp1", 256, 2588, 0.02),
        ("RTXPRO6000_Qwen3-32B", "qwen3-32b@rtx-pro-6000:tp2", 128, None, 0.03),
    ],
)
def test_real_runs_come_out_as_they_were(
    run: str, deployment: str, slots: int, blocks: int | None, bar: float
) -> None:
    """Nothing fitted: means of TPOT and e2e within ``bar``, of TTFT within 5%, P99 within 10%."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs headway[parquet]")
    file = SHARED / "engine_runs" / f"vllm_groundtruth_{run}.parquet"
    if not file.exists():
        pytest.skip("the measured runs are not here: LLMServingSim publishes them")
    built = parse_deployment(deployment)
    engine = Engine(
        max_num_seqs=slots,
        num_kv_blocks=blocks or kv_blocks(built),
        prefix_cache=True,
        asynchronous=True,
    )
    times = tabulate(operator_times(SHARED / "operators", built), engine)
    outcome = simulate_trace(read_trace(file), Site((Pool(engine, times),)))
    check(outcome)
    table = parquet.read_table(file)
    start, first, last = (
        table[name].to_numpy() for name in ("arrival_measured_s", "first_token_s", "last_token_s")
    )
    gaps = table["output_tokens"].to_numpy() - 1
    ours = outcome.records
    for mine, theirs, own_bar in (
        (ours.ttft_s, first - start, 0.05),
        (ours.tpot_s, (last - first) / gaps, bar),
        (ours.e2e_s, last - start, bar),
    ):
        assert mine.mean() == pytest.approx(theirs.mean(), rel=own_bar)
        assert np.percentile(mine, 99) == pytest.approx(np.percentile(theirs, 99), rel=0.10)
