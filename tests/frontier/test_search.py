"""The search obeys its laws on every model it is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import DoesNotFitError, InputError
from headway.frontier.answer import frontier as by_name
from headway.frontier.answer import frontier_of as frontier
from headway.frontier.pareto import pareto_front, preferred
from headway.frontier.question import Question
from headway.frontier.search import Points, concurrencies, front, search
from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.report.report import Report
from headway.serving.load import Load
from headway.serving.report import estimate
from headway.steptime.deployment import Deployment
from headway.steptime.forward import forward
from headway.steptime.layouts import NoLayoutError, layouts
from headway.steptime.parallelism import Parallelism
from headway.steptime.roofline import EXPECTED, bound_of, time_of
from headway.steptime.speculative import Speculation, mtp_draft
from headway.workload.step import Step


def decoding(
    model: ModelArchitecture, precision: Precision, context: float, **limits: Any
) -> Question:
    """Decoding alone at a fixed context, on the data sheet's hardware."""
    return Question(
        model=model,
        precision=precision,
        prompt_tokens=context,
        output_tokens=1,
        prefilled=True,
        **limits,
    )


BF16, FP8 = Precision.parse("bf16"), Precision.parse("fp8")


def cost_at(points: Points, speed: float) -> float:
    """The least cost at ``speed`` or more."""
    fast = points.tok_per_s_per_user >= speed
    return float(points.usd_per_mtok_output[fast].min()) if fast.any() else np.inf


def never_worse(better: Points, worse: Points) -> bool:
    speeds = np.linspace(1, worse.tok_per_s_per_user.max(), 50)
    return all(cost_at(better, s) <= cost_at(worse, s) * (1 + 1e-9) for s in speeds)


@given(
    st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=1, max_size=60),
)
def test_the_front_is_what_no_point_beats(pairs: list[tuple[float, float]]) -> None:
    speed, cost = np.array(pairs).T
    kept = pareto_front(speed, cost)
    assert np.all(np.diff(speed[kept]) < 0)
    assert np.all(np.diff(cost[kept]) < 0)
    for s, c in pairs:
        assert np.any((speed[kept] >= s) & (cost[kept] <= c))


def test_the_preferred_point_has_the_largest_cubed_speed_per_price() -> None:
    speed, cost = np.array([1.0, 2.0, 4.0]), np.array([1.0, 7.0, 100.0])
    assert preferred(speed, cost) == int(np.argmax(speed**3 / cost))


def test_every_layout_is_valid_whole_and_listed_once(
    deepseek: ModelArchitecture, llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    for model in (deepseek, llama_70b):
        found = layouts(model, h100, 256)
        assert found.valid(model, h100).all()
        degrees = np.stack([d.ravel() for d in (found.tp, found.pp, found.dp, found.ep)])
        assert np.all(np.log2(degrees) == np.round(np.log2(degrees)))
        with_rows = np.vstack([degrees, found.rows.ravel()])
        assert np.unique(with_rows, axis=1).shape == with_rows.shape
        assert found.num_accelerators.max() <= 256


def test_layouts_of_an_exact_number_use_all_of_it(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    for count in (1, 6, 8, 12, 80):
        assert np.all(layouts(llama_70b, h100, num_accelerators=count).num_accelerators == count)
    with pytest.raises(NoLayoutError):
        layouts(llama_70b, h100, num_accelerators=7 * 81)


def test_concurrencies_are_whole_and_dense() -> None:
    sizes = concurrencies(1000)
    assert sizes[0] == 1
    assert sizes[-1] <= 1000
    assert np.all(sizes == np.round(sizes))
    assert np.all(sizes[1:] / sizes[:-1] <= 2)


def test_every_point_fits_into_memory_with_its_whole_batch(
    deepseek: ModelArchitecture, h100: Cluster
) -> None:
    question = decoding(deepseek, FP8, 8000)
    points = search(question, h100)
    deployment = Deployment(deepseek, h100, parallelism=points.parallelism, precision=FP8)
    assert np.all(deployment.fits(points.concurrency, 8000))
    assert points.concurrency.max() > 1000


def test_a_point_is_what_the_step_model_says(llama_70b: ModelArchitecture, h100: Cluster) -> None:
    points = search(decoding(llama_70b, BF16, 1000), h100)
    chosen = points.take(np.arange(0, points.concurrency.size, 97))
    work = forward(llama_70b, BF16, chosen.parallelism, Step.decode(chosen.concurrency, 1000))
    seconds = time_of(work, h100, EXPECTED).total_s
    assert np.allclose(1 / seconds, chosen.tok_per_s_per_user, rtol=1e-12)
    assert np.all(seconds >= bound_of(work, h100).total_s)
    usd = chosen.num_accelerators * 2.0 / 3600 * seconds / chosen.concurrency * 1e6
    assert np.allclose(usd, chosen.usd_per_mtok_output, rtol=1e-12)


@pytest.mark.parametrize("factor", [1.5, 4.0])
def test_better_hardware_never_makes_the_front_worse(
    llama_70b: ModelArchitecture, h100: Cluster, factor: float
) -> None:
    question = decoding(llama_70b, BF16, 4000)
    before = front(search(question, h100))
    chip = h100.accelerator
    changed = [
        replace(chip, memory_bandwidth_bytes_per_s=chip.memory_bandwidth_bytes_per_s * factor),
        replace(chip, memory_bytes=chip.memory_bytes * factor),
        replace(chip, peak_flops_per_s={d: r * factor for d, r in chip.peak_flops_per_s.items()}),
    ]
    for better in changed:
        assert never_worse(search(question, replace(h100, accelerator=better)), before)
    assert never_worse(search(question, h100.at_price(2.0 / factor)), before)


def test_more_accelerators_allowed_never_make_the_front_worse(
    deepseek: ModelArchitecture, h100: Cluster
) -> None:
    small = search(decoding(deepseek, FP8, 1000, max_accelerators=64), h100)
    large = search(decoding(deepseek, FP8, 1000, max_accelerators=512), h100)
    assert never_worse(large, small)


def test_drafting_never_makes_the_front_worse_and_acceptance_helps(
    llama_70b: ModelArchitecture, llama_8b: ModelArchitecture, h100: Cluster
) -> None:
    plain = search(decoding(llama_70b, BF16, 1000), h100)
    before = plain
    for acceptance in (0.0, 0.5, 0.9, 1.0):
        speculation = Speculation(llama_8b, acceptance)
        drafted = search(decoding(llama_70b, BF16, 1000, speculation=speculation), h100)
        assert never_worse(drafted, before)
        before = drafted
    bonus = search(decoding(llama_70b, BF16, 1000, speculation=Speculation(llama_8b, 0.8)), h100)
    no_bonus = Speculation(llama_8b, 0.8, bonus_token=False)
    without = search(decoding(llama_70b, BF16, 1000, speculation=no_bonus), h100)
    assert never_worse(bonus, without)
    assert never_worse(without, plain)


def test_expected_tokens_per_pass() -> None:
    draft = ModelArchitecture.__new__(ModelArchitecture)  # never looked at
    with_bonus = Speculation(draft, 0.8)
    without = Speculation(draft, 0.8, bonus_token=False)
    # facts of the published notebook: V(0.8, 2..5) = 1.8, 2.44, 2.952, 3.3616
    drafted = np.array([2, 3, 4, 5])
    assert np.allclose(without.tokens_per_pass(drafted), [1.8, 2.44, 2.952, 3.3616])
    assert np.allclose(with_bonus.tokens_per_pass(drafted), without.tokens_per_pass(drafted + 1))
    assert float(Speculation(draft, 1.0).tokens_per_pass(4)) == 5
    assert float(Speculation(draft, 0.0).tokens_per_pass(4)) == 1
    simulated = np.random.default_rng(7).random((200_000, 4)) < 0.8
    mean = 1 + np.cumprod(simulated, axis=1).sum(axis=1).mean()
    assert float(with_bonus.tokens_per_pass(4)) == pytest.approx(mean, rel=5e-3)


def test_heads_of_the_model_itself_take_no_tables_and_speed_it_up(
    deepseek: ModelArchitecture, h100: Cluster
) -> None:
    speculation = Speculation(mtp_draft(deepseek), 0.8, shares_weights=True)
    plain = search(decoding(deepseek, FP8, 1000), h100)
    drafted = search(decoding(deepseek, FP8, 1000, speculation=speculation), h100)
    assert never_worse(drafted, plain)
    assert drafted.tok_per_s_per_user.max() > 1.5 * plain.tok_per_s_per_user.max()


def test_a_draft_on_its_own_accelerators_is_paid_for(
    llama_70b: ModelArchitecture, llama_8b: ModelArchitecture, h100: Cluster
) -> None:
    speculation = Speculation(llama_8b, 0.8)
    question = decoding(llama_70b, BF16, 1000, speculation=speculation, concurrency=16)
    points = search(question, h100)
    apart = points.take(points.draft_apart > 0)
    engine = apart.tp * apart.pp * apart.dp
    assert np.all(apart.num_accelerators == engine + apart.draft_tp)
    usd = apart.num_accelerators * 2.0 / 3600 / (16 * apart.tok_per_s_per_user) * 1e6
    assert np.allclose(usd, apart.usd_per_mtok_output)


def test_demand_caps_what_one_engine_makes(llama_70b: ModelArchitecture, h100: Cluster) -> None:
    points = search(decoding(llama_70b, BF16, 1000, demand_tok_per_s=5000), h100)
    assert np.all(points.concurrency * points.tok_per_s_per_user <= 5000)
    with pytest.raises(InputError, match="more than the demand"):
        search(decoding(llama_70b, BF16, 1000, demand_tok_per_s=1), h100)


def test_what_does_not_fit_says_by_how_much(deepseek: ModelArchitecture, h100: Cluster) -> None:
    with pytest.raises(DoesNotFitError, match=r"lacks [\d.]+ GB in all") as error:
        search(decoding(deepseek, FP8, 1000, max_accelerators=8), h100)
    held = 0.9 * 80e9 * 8
    assert error.value.missing_bytes == pytest.approx(deepseek.total_params - held, rel=0.15)


@pytest.mark.parametrize("engine", [None, "vllm"])
@pytest.mark.parametrize("name", ["llama-3.1-8b", "gpt-oss-20b"])
def test_an_estimate_agrees_with_every_point_of_the_frontier(name: str, engine: str | None) -> None:
    """One question, one answer: to the last digit, whichever command was asked."""
    model, cluster = find_model(name), find_cluster("h100")
    question = Question(model=model, engine=engine, prompt_tokens=1500, output_tokens=300)
    points = front(search(replace(question, max_accelerators=8), cluster))
    rows = frontier([replace(question, max_accelerators=8)], [cluster]).rows
    for place, row in enumerate(rows):
        layout = Parallelism(
            *(float(getattr(points, degree)[place]) for degree in ("tp", "pp", "dp", "ep", "rows"))
        )
        deployment = Deployment(model, cluster, parallelism=layout, engine=engine)
        load = Load(prompt=1500, output=300, concurrency=row.concurrency)
        alone = estimate(deployment, load).rows[0]
        assert alone == replace(row, on_front=None)


def test_prompts_are_billed(llama_8b: ModelArchitecture, h100: Cluster) -> None:
    answers = [
        search(
            Question(
                model=llama_8b, precision=BF16, prompt_tokens=4000, output_tokens=400, prefilled=p
            ),
            h100,
        )
        for p in (True, False)
    ]
    cheapest = [float(points.usd_per_mtok_output.min()) for points in answers]
    assert cheapest[1] > 1.5 * cheapest[0]


def test_an_engine_is_meant_by_default_where_it_was_measured_and_runs_where_it_is_named() -> None:
    def engines(engine: str | None) -> dict[str, tuple[str | None, str]]:
        report = by_name("llama-3.1-8b", on=["h100", "tpu-v5p"], engine=engine, max_accelerators=8)
        return {row.accelerator: (row.engine, row.basis) for row in report.rows}

    assert engines(None) == {"h100": ("vllm", "fitted"), "tpu-v5p": (None, "assumed")}
    assert engines("vllm") == {"h100": ("vllm", "fitted"), "tpu-v5p": ("vllm", "analytic")}
    assert engines("none") == {"h100": (None, "assumed"), "tpu-v5p": (None, "assumed")}


def test_a_frontier_report_marks_and_survives_a_round_trip(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    cheap = replace(
        h100.at_price(0.5), accelerator=replace(h100.accelerator, name="half", memory_bytes=2e11)
    )
    report = frontier([decoding(llama_70b, BF16, 4000)] * 2, [h100, cheap])
    speed = [row.tok_per_s_per_user.expected for row in report.rows]
    usd = [row.usd_per_mtok_output.expected for row in report.rows if row.usd_per_mtok_output]
    assert usd[report.marks["cheapest"]] == min(usd)
    assert speed[report.marks["fastest"]] == max(speed)
    scores = [s**3 / c for s, c in zip(speed, usd, strict=True)]
    assert scores[report.marks["preferred"]] == pytest.approx(max(scores))
    assert report.rows[report.marks["preferred:test-h100"]].accelerator == "test-h100"
    assert Report.from_json(report.to_json()).to_json() == report.to_json()


def test_a_cluster_too_small_is_left_out_and_named(
    llama_70b: ModelArchitecture, h100: Cluster
) -> None:
    tiny = replace(h100.of(1), accelerator=replace(h100.accelerator, name="tiny"))
    report = frontier([decoding(llama_70b, BF16, 4000)] * 2, [tiny, h100])
    assert {row.accelerator for row in report.rows} == {"test-h100"}
    assert any("tiny" in note and "lacks" in note for note in report.notes)
    with pytest.raises(DoesNotFitError):
        frontier([decoding(llama_70b, BF16, 4000)], [tiny])


@pytest.mark.parametrize("context", [-1.0, float("nan"), float("inf"), 1e12])
def test_absurd_contexts_are_refused(llama_70b: ModelArchitecture, context: float) -> None:
    with pytest.raises(InputError, match="prompt_tokens"):
        decoding(llama_70b, BF16, context)


@pytest.mark.parametrize(
    ("name", "degrees"),
    [("phi-4", {1, 2, 5, 10}), ("llama-3.1-70b", {1, 2, 4, 8, 16})],
)
def test_tensor_degrees_divide_the_heads_where_powers_of_two_do_not(
    name: str, degrees: set[int]
) -> None:
    """Four ranks cannot share the 40 and 10 heads of phi-4, five can."""
    found = layouts(find_model(name), find_cluster("h100"), 16)
    assert set(found.tp[found.rows == 1].tolist()) == degrees
