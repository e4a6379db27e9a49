from __future__ import annotations

from typing import Any

import pytest

from headway.errors import InputError
from headway.ideal.request_profile import RequestProfile
from headway.papers.narayanan_2023.costs import (
    A100_USD_PER_HOUR,
    api_profiling_usd,
    idealized_usd,
    local_profiling_usd,
    profiling_hours,
    published_flops,
    saving,
    training,
)

Profiles = dict[str, RequestProfile]
Cases = dict[int, dict[str, Any]]


def test_dollars_of_a_request_of_the_paper() -> None:
    # BoolQ on davinci, digitised from the published figure (cents).
    assert 100 * idealized_usd(0.40201, 8, A100_USD_PER_HOUR) == pytest.approx(0.36592, abs=2e-5)


def test_flops_as_the_figures_count_them() -> None:
    assert published_flops(12288, 96, 1279.1, 1) == pytest.approx(4.44988e14, abs=1e11)


def test_training_energy_is_in_mwh_and_emissions_are_in_tons() -> None:
    run = training(4480, 36, 400, 0.238)
    assert run.energy_mwh == pytest.approx(1703.1, abs=0.05)
    assert run.co2_t == pytest.approx(405.3, abs=0.05)


def test_savings_of_the_paper() -> None:
    assert saving(4176.34, 420.74) == pytest.approx(9.93, abs=0.005)
    assert saving(31128.26, 542.07) == pytest.approx(57.42, abs=0.006)


def test_bad_prices_are_refused() -> None:
    with pytest.raises(InputError, match="price"):
        idealized_usd(1.0, 1, 0)
    with pytest.raises(InputError, match="days"):
        training(1, -1, 400, 0.2)


def test_what_profiling_davinci_cost(a100: Profiles) -> None:
    davinci = a100["openai_davinci"]
    assert profiling_hours(davinci, 100) == pytest.approx(14.22, abs=0.005)
    assert local_profiling_usd(davinci, 50, 40.96) == pytest.approx(291.16, abs=0.005)
    assert api_profiling_usd(davinci, 10, 1.5e-6, 2e-6) == pytest.approx(3.11, abs=0.005)


def test_profiling_hours_of_the_other_models(a100: Profiles) -> None:
    printed = {"anthropic": 9.23, "mt_nlg": 24.08, "bloom": 11.27, "gptj_6b": 3.62, "yalm": 13.42,
               "openai_ada": 3.00, "opt_66b": 9.74, "gpt2": 6.02}  # fmt: skip
    for model, hours in printed.items():
        assert profiling_hours(a100[model], 100) == pytest.approx(hours, abs=0.005)


def test_every_case_of_this_kind(cases: Cases, a100: Profiles) -> None:
    cost, flops, energy = cases[20], cases[28], cases[30]
    asked = cost["input"]
    usd = idealized_usd(asked["T_s"], asked["n_gpus"], asked["usd_per_gpu_h"])
    assert 100 * usd == pytest.approx(cost["expected"], abs=cost["tolerance"])
    asked = flops["input"]
    counted = published_flops(asked["h"], asked["L"], asked["mean_p_plus_o_minus_1"], 1)
    assert counted == pytest.approx(flops["expected"], abs=flops["tolerance"])
    asked = energy["input"]
    run = training(asked["gpus"], asked["days"], asked["W"], asked["kgCO2_per_kWh"], asked["PUE"])
    assert run.energy_mwh == pytest.approx(energy["expected"]["MWh"], abs=energy["tolerance"])
    assert run.co2_t == pytest.approx(energy["expected"]["tCO2"], abs=energy["tolerance"])
    for number in (24, 25):
        pair = list(cases[number]["input"].values())
        assert saving(*pair) == pytest.approx(
            cases[number]["expected"], abs=cases[number]["tolerance"]
        )
