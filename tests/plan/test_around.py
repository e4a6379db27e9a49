"""What stands around a fleet: a budget, APIs, features, files that start it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.plan.problems import problem, stream

from headway.errors import InputError, UnknownNameError
from headway.plan.api import api_offers
from headway.plan.bounds import candidates
from headway.plan.budget import within_budget
from headway.plan.emit import emit
from headway.plan.engine_flags import engine_arguments
from headway.plan.features import features
from headway.plan.search import Offer, search


@pytest.fixture(scope="module")
def best() -> Offer:
    asked = problem(on=("h100",), demand=stream(12.0))
    options, _ = candidates(asked)
    return search(asked, options).offers[0]


@pytest.mark.slow
def test_a_budget_buys_what_its_demand_costs() -> None:
    asked = problem(on=("h100",))
    most = within_budget(asked, 5.0)
    assert most.volume > 1
    options, _ = candidates(most.problem)
    assert search(most.problem, options).offers[0].usd_per_hour <= 5.0

    more = replace(most.problem, demand=most.problem.demand.scaled(1.15))
    options, _ = candidates(more)
    assert search(more, options).offers[0].usd_per_hour > 5.0


def test_a_budget_for_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="raise the budget"):
        within_budget(problem(on=("h100",)), 0.01)


def test_apis_are_billed_by_the_token() -> None:
    offers = api_offers("llama-3.3-70b", 1.0, 1000.0, 100.0)
    assert offers == sorted(offers, key=lambda offer: offer.usd_per_month)
    requests = 730 * 3600
    for offer in offers:
        usd = requests * (1000 * offer.usd_per_mtok_input + 100 * offer.usd_per_mtok_output) / 1e6
        assert offer.usd_per_month == pytest.approx(usd)
    assert not api_offers("no-such-model", 1.0, 1.0, 1.0)


def test_features_are_weighed_against_the_fleet_as_it_is(best: Offer) -> None:
    rows = features(best)
    assert {row.feature.split()[0] for row in rows} >= {"chunks", "fp8/fp8/bf16"}
    for row in rows:
        if row.saving_usd_per_month is not None and row.usd_per_month is not None:
            assert row.usd_per_month + row.saving_usd_per_month == pytest.approx(
                best.usd_per_hour * 730
            )


def test_what_is_emitted_starts_the_layout_of_the_plan(best: Offer) -> None:
    words = engine_arguments(best.candidate.deployment)
    assert words[:2] == ["vllm", "serve"]
    layout, limits = best.candidate.deployment.parallelism, best.candidate.deployment.limits
    assert words[words.index("--tensor-parallel-size") + 1] == f"{float(layout.tp):g}"
    assert words[words.index("--max-num-seqs") + 1] == str(limits.max_num_seqs)

    objectives = best.fleet.problem.objectives
    manifest = json.loads(emit("kubernetes", best.candidate, 3, objectives)["deployment.json"])
    assert manifest["spec"]["replicas"] == 3
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == str(
        best.candidate.num_accelerators
    )
    service = json.loads(emit("kserve", best.candidate, 3, objectives)["inferenceservice.json"])
    assert service["spec"]["predictor"]["minReplicas"] == 3

    files = emit("llm-d", best.candidate, 3, objectives)
    variant = json.loads(files["variantautoscaling.json"])["spec"]
    assert variant["scaleTargetRef"]["name"] == manifest["metadata"]["name"]
    assert float(variant["variantCost"]) == pytest.approx(best.candidate.usd_per_hour, abs=0.005)


def test_a_dashboard_shows_every_objective_with_its_bound(best: Offer) -> None:
    objectives = best.fleet.problem.objectives
    board = json.loads(emit("grafana", best.candidate, 3, objectives)["dashboard.json"])
    panels = {panel["title"]: panel for panel in board["panels"]}
    for objective in objectives:
        panel = panels[str(objective)]
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[-1]["value"] == objective.bound_s
        assert "histogram_quantile(0.95," in panel["targets"][0]["expr"]
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]}) == len(panels)


def test_manifests_are_kubernetes_own(best: Offer) -> None:
    schemas = pytest.importorskip(
        "kubernetes_validate", reason="pip install kubernetes-validate (108 MB of schemas)"
    )
    for text in emit("kubernetes", best.candidate, 3, ()).values():
        schemas.validate(json.loads(text), "1.32", strict=True)


def test_what_cannot_be_started_is_refused(best: Offer) -> None:
    with pytest.raises(InputError, match="kubernetes"):
        emit("sglang", best.candidate, 1, ())
    with pytest.raises(UnknownNameError):
        emit("nomad", best.candidate, 1, ())
