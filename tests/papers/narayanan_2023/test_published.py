"""The published method: exact figures, then the laws it keeps and the one it breaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headway.errors import InputError
from headway.ideal.request_profile import RequestProfile
from headway.papers.narayanan_2023.published import (
    Estimator,
    PublishedTable,
    fit_denoised,
    fit_published,
    with_overhead_apart,
)

Profiles = dict[str, RequestProfile]
Tables = dict[str, PublishedTable]
Cases = dict[int, dict[str, Any]]

# openai/davinci on 8 A100s as published (HELM, inference_idealized_runtimes.json, Apache-2.0).
DAVINCI = PublishedTable(
    0.081, {1: 0.084, 512: 0.178, 1024: 0.323, 1280: 0.403, 1536: 0.476, 1920: 0.597}
)


def test_a_prompt_between_two_sizes_has_the_throughput_of_the_larger() -> None:
    assert DAVINCI.runtime_s(1244, 1) == pytest.approx(0.391666, abs=1e-6)
    assert DAVINCI.runtime_s(3840, 1) == pytest.approx(2 * 0.597)


def test_every_further_token_adds_beta_and_no_token_costs_the_prompt() -> None:
    assert DAVINCI.runtime_s(512, 3) == pytest.approx(0.178 + 2 * 0.081)
    assert DAVINCI.runtime_s(512, 0) == DAVINCI.runtime_s(512, 1)


def test_the_published_rule_is_a_sawtooth() -> None:
    # Two tokens "take" an eighth of one: kept as published, not used by the default estimator.
    fine = PublishedTable(0.081, {1: 0.084, 16: 0.087})
    assert fine.alpha_s(2) == pytest.approx(0.010875, abs=1e-6)
    assert fine.alpha_s(2) < fine.alpha_s(1)


def test_overhead_is_taken_off_every_prompt_so_that_alpha_starts_at_beta() -> None:
    table = with_overhead_apart(PublishedTable(0.042, {1: 0.3, 512: 0.525}))
    assert table.overhead_s == pytest.approx(0.258)
    assert table.prompt_s[1] == table.beta_s
    assert table.runtime_s(512, 1) == pytest.approx(0.525)


def test_a_denoised_table_takes_the_minimum_of_the_trials_that_answered_in_full() -> None:
    prompts, asked = [1, 1, 1, 1, 1, 1], [1, 1, 1, 4, 4, 4]
    got, seconds = [1, 1, 1, 4, 3, 4], [0.5, 0.3, 0.9, 0.6, 0.1, 0.8]
    table = fit_denoised(prompts, asked, got, seconds, Estimator.E2)
    assert table.beta_s == pytest.approx(0.1)
    assert table.overhead_s == pytest.approx(0.2)


def test_both_estimators_are_exact_on_a_profile_of_their_own_model() -> None:
    p, o = (grid.ravel() for grid in np.meshgrid([1.0, 64.0, 512.0], [1.0, 2.0, 16.0, 64.0]))
    profile = RequestProfile(p, o, 0.05 + 0.001 * p + 0.02 * (o - 1))
    for estimator in Estimator:
        table, quality = fit_published(profile, estimator)
        assert table.beta_s == 0.02
        assert dict(table.prompt_s) == {1: 0.051, 64: 0.114, 512: 0.562}
        assert quality.r2 == pytest.approx(1)


def test_a_point_measured_twice_counts_once_with_its_last_runtime() -> None:
    points = [(1, 1, 0.1), (1, 3, 0.3), (64, 1, 0.2), (64, 3, 0.4)]
    again = [(1, 1, 0.9), (64, 3, 0.7), *points]
    for estimator in Estimator:
        once = fit_published(RequestProfile.of(points), estimator)
        assert fit_published(RequestProfile.of(again), estimator) == once


def test_a_prompt_size_with_one_output_length_has_a_flat_line() -> None:
    points = [(1, 1, 0.1), (1, 3, 0.3), (64, 2, 0.25)]
    table, _ = fit_published(RequestProfile.of(points), Estimator.E1)
    assert dict(table.prompt_s) == {1: 0.1, 64: 0.25}


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="two output lengths"):
        fit_published(RequestProfile.of([(1, 1, 0.1), (2, 1, 0.2)]))
    with pytest.raises(InputError, match="one output token"):
        fit_published(RequestProfile.of([(1, 2, 0.1), (1, 3, 0.2)]), Estimator.E2)
    with pytest.raises(InputError, match="output length that it asked for"):
        fit_denoised([1], [4], [3], [0.1])
    with pytest.raises(InputError, match="cannot be read"):
        PublishedTable.read({"runtime_per_output_token": 0.1}, "x")


def test_every_shipped_table_is_refitted_without_a_mismatch(
    a100: Profiles, shipped: Tables
) -> None:
    assert len(shipped) == 12
    for model, table in shipped.items():
        fitted, _ = fit_published(a100[model])
        assert fitted.beta_s == table.beta_s, model
        assert dict(fitted.prompt_s) == dict(table.prompt_s), model


@pytest.mark.parametrize(
    ("case", "model"), [(1, "openai_davinci"), (2, "mt_nlg"), (3, "gpt_neox_20b"),
                        (5, "openai_davinci")]
)  # fmt: skip
def test_published_fits(case: int, model: str, a100: Profiles, cases: Cases) -> None:
    expected = cases[case]["expected"]
    estimator = Estimator.E2 if case == 5 else Estimator.E1
    table, quality = fit_published(a100[model], estimator)
    assert table.beta_s == expected["beta"]
    for size, seconds in expected["alpha"].items():
        assert table.prompt_s[int(size)] == seconds
    if case == 5:
        assert round(quality.r2, 3) == expected["r2_3dp"]
        assert round(quality.mean_squared_error_s2, 4) == expected["mse_4dp"]
        assert round(quality.max_squared_error_s2, 4) == expected["max_se_4dp"]


@pytest.mark.parametrize(
    ("case", "model"),
    [(8, "ai21_j1_large"), (10, "ai21_j1_jumbo"), (12, "ai21_j1_jumbo"), (13, "ai21_j1_large")],
)
def test_runtimes_from_the_notebooks_tables(
    case: int, model: str, a100: Profiles, cases: Cases
) -> None:
    table, _ = fit_published(a100[model], Estimator.E2)
    asked = cases[case]["input"]
    assert table.runtime_s(asked["p"], asked["o"]) == pytest.approx(
        cases[case]["expected"], abs=cases[case]["tolerance"]
    )


@pytest.mark.parametrize("case", [14, 16])
def test_runtimes_from_the_shipped_tables(case: int, shipped: Tables, cases: Cases) -> None:
    asked = cases[case]["input"]
    assert shipped["openai_davinci"].runtime_s(asked["p"], asked["o"]) == pytest.approx(
        cases[case]["expected"], abs=cases[case]["tolerance"]
    )


def test_denoised_runtime_with_overhead(denoised: Tables, cases: Cases) -> None:
    asked = cases[19]["input"]
    table = denoised[asked["model"]]
    assert table.runtime_s(asked["p"], asked["o"]) == pytest.approx(
        cases[19]["expected"], abs=cases[19]["tolerance"]
    )
    assert all(t.prompt_s[1] == pytest.approx(t.beta_s) for t in denoised.values())
