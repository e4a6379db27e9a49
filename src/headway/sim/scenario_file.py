"""A scenario as a file: TOML in, one frozen tree out, unknown keys refused by name.

workload = "azure-conv"
load = 0.9
policies = ["fcfs", "headway"]

[[pool]]
deployment = "llama-3.1-8b@h100:tp1"
replicas = 2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from headway.errors import InputError, UnknownNameError
from headway.schedule.consolidate import Consolidation
from headway.sim.predictions import parse_predictions
from headway.sim.scenario import (
    EngineFeatures,
    OffloadRule,
    PoolSpec,
    Scenario,
    Tenant,
    step_times_of,
)
from headway.sim.site import Disaggregation, Outage, find_placement
from headway.sim.source import Workload
from headway.steptime.deployment_name import parse_deployment
from headway.user_file import as_table, from_table, read_toml
from headway.workload.objective import parse_slo

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class _PoolTable:
    """The keys of ``[[pool]]``."""

    deployment: str
    precision: str | None = None
    engine: str | None = None  # whose calibrated step times
    operators: str | None = None  # a folder of measured operators
    replicas: int = 1
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    num_kv_blocks: int | None = None
    usd_per_accelerator_hour: float | None = None

    def spec(self) -> PoolSpec:
        """Return the pool with its names looked up."""
        deployment = parse_deployment(self.deployment, self.precision)
        if self.usd_per_accelerator_hour is not None:
            cluster = deployment.cluster.at_price(self.usd_per_accelerator_hour)
            deployment = replace(deployment, cluster=cluster)
        operators = None if self.operators is None else Path(self.operators)
        return PoolSpec(
            deployment=deployment,
            replicas=self.replicas,
            step_times=step_times_of(deployment, self.engine, operators),
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            num_kv_blocks=self.num_kv_blocks,
        )


@dataclass(frozen=True, slots=True)
class _TopTable:
    """The keys above all tables."""

    workload: str
    num_requests: int | None = None
    rate_rps: float | None = None
    load: float | None = None
    seeds: int = 5
    policies: tuple[str, ...] = ("fcfs",)
    predictor: str = "tau=0.4"
    route: str = "least-loaded"
    slo: str | None = None


_SINGLE: dict[str, type] = {
    "engine": EngineFeatures,
    "disaggregation": Disaggregation,
    "offload": OffloadRule,
    "batch": Consolidation,
}
_SEVERAL: dict[str, type] = {"pool": _PoolTable, "outage": Outage}


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in a TOML file.

    Raises:
        InputError: it cannot be read, is no TOML, has an unknown key or a value of a wrong type.

    """
    tree = read_toml(path, "a scenario in TOML")
    try:
        return parse_scenario(tree)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def parse_scenario(tree: Mapping[str, Any]) -> Scenario:
    """Return the scenario in a tree of TOML values; raises as `read_scenario`."""
    top_keys = [field.name for field in fields(_TopTable)]
    for key in tree:
        if key not in (*top_keys, *_SINGLE, *_SEVERAL, "tenant"):
            raise UnknownNameError("key", key, [*top_keys, *_SINGLE, *_SEVERAL, "tenant"])

    top = from_table(_TopTable, {key: tree[key] for key in top_keys if key in tree}, "a scenario")
    tables: dict[str, Any] = {
        key: from_table(kind, tree[key], f"[{key}]") for key, kind in _SINGLE.items() if key in tree
    }
    pools = _parts(_PoolTable, tree.get("pool", []), "[[pool]]")
    if not pools:
        raise InputError("a scenario needs a [[pool]] with a deployment")
    tenants = tuple(
        (name, from_table(Tenant, row, f"[tenant.{name}]"))
        for name, row in sorted(as_table(tree.get("tenant", {}), "[tenant.NAME]").items())
    )

    shares = tuple((name, t.share) for name, t in tenants if t.share is not None)
    return Scenario(
        workload=Workload.of(top.workload, top.num_requests).with_shares(shares),
        pools=tuple(pool.spec() for pool in pools),
        rate_rps=top.rate_rps,
        load=top.load,
        seeds=top.seeds,
        policies=top.policies,
        predictions=parse_predictions(top.predictor),
        placement=find_placement(top.route),
        slo=parse_slo(top.slo),
        features=tables.get("engine", EngineFeatures()),
        disaggregation=tables.get("disaggregation"),
        outages=_parts(Outage, tree.get("outage", []), "[[outage]]"),
        offload=tables.get("offload"),
        batch=tables.get("batch"),
        tenants=tenants,
    )


def _parts(kind: type[Part], value: object, where: str) -> tuple[Part, ...]:
    rows = value if isinstance(value, list) else [value]
    return tuple(from_table(kind, row, where) for row in rows)
