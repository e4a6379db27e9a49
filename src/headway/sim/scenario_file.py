"""A scenario as a file: TOML in, one frozen tree out, unknown keys refused by name.

workload = "azure-conv"
load = 0.9
policies = ["fcfs", "headway"]

[[pool]]
deployment = "llama-3.1-8b@h100:tp1"
replicas = 2
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from headway.errors import InputError, UnknownNameError
from headway.schedule.autoscale import parse_autoscaler
from headway.schedule.consolidate import Consolidation
from headway.sim.predictions import parse_predictions
from headway.sim.scenario import (
    VLLM,
    EngineFeatures,
    OffloadRule,
    PoolSpec,
    Scenario,
    Tenant,
)
from headway.sim.site import Disaggregation, Outage, find_placement
from headway.sim.source import Workload
from headway.steptime.deployment_name import parse_deployment
from headway.user_file import from_table, read_toml
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
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    num_kv_blocks: int | None = None
    usd_per_accelerator_hour: float | None = None

    def spec(self) -> PoolSpec:
        """Return the pool with its names looked up."""
        deployment = parse_deployment(
            self.deployment,
            self.precision,
            self.engine,
            operators=None if self.operators is None else Path(self.operators),
            usd_per_accelerator_hour=self.usd_per_accelerator_hour,
        )
        return PoolSpec(
            deployment=deployment,
            replicas=self.replicas,
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
    goal: str | None = None
    autoscale: str | None = None


_SINGLE: dict[str, type] = {
    "engine": EngineFeatures,
    "disaggregation": Disaggregation,
    "offload": OffloadRule,
    "batch": Consolidation,
}


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in a TOML file.

    Raises:
        InputError: it cannot be read, is no TOML, has an unknown key or a value of a wrong type.

    """
    tables = read_toml(path, "a scenario (TOML)")
    try:
        return _scenario(tables)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _scenario(tables: dict[str, Any]) -> Scenario:
    top_keys = [own.name for own in fields(_TopTable)]
    for key in tables:
        if key not in (*top_keys, *_SINGLE, "pool", "outage", "tenant"):
            raise UnknownNameError("key", key, [*top_keys, *_SINGLE, "pool", "outage", "tenant"])

    top_table = {key: tables[key] for key in top_keys if key in tables}
    top = from_table(_TopTable, top_table, "a scenario")
    parts: dict[str, Any] = {
        key: from_table(kind, tables[key], f"[{key}]")
        for key, kind in _SINGLE.items()
        if key in tables
    }
    pools = _several(_PoolTable, tables.get("pool", []), "[[pool]]")
    if not pools:
        raise InputError("a scenario needs a [[pool]] with a deployment")
    if not isinstance(tables.get("tenant", {}), dict):
        raise InputError("[tenant.NAME] must be a table")
    tenants = tuple(
        (name, from_table(Tenant, table, f"[tenant.{name}]"))
        for name, table in sorted(tables.get("tenant", {}).items())
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
        features=parts.get("engine", VLLM),
        disaggregation=parts.get("disaggregation"),
        autoscaler=None if top.autoscale is None else parse_autoscaler(top.autoscale),
        outages=_several(Outage, tables.get("outage", []), "[[outage]]"),
        offload=parts.get("offload"),
        batch=parts.get("batch"),
        tenants=tenants,
        goal=top.goal,
    )


def _several(kind: type[Part], value: object, where: str) -> tuple[Part, ...]:
    tables = value if isinstance(value, list) else [value]
    return tuple(from_table(kind, table, where) for table in tables)
