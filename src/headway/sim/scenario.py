"""What is simulated, as a file: TOML in, one frozen tree out, unknown keys refused by name.

    workload = "azure-conv"
    load = 0.9
    policies = ["fcfs", "headway"]

    [[pool]]
    deployment = "llama-3.1-8b@h100:tp1"
    replicas = 2

Names of deployments, policies and predictors stay names here; the command line looks them up.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from headway.errors import InputError, UnknownNameError, reason
from headway.schedule.consolidate import Consolidation
from headway.sim.site import Disaggregation, Outage
from headway.units import check_positive

Part = TypeVar("Part")
MOST_SEEDS = 10_000


@dataclass(frozen=True, slots=True)
class PoolScenario:
    """Replicas of one engine on one kind of hardware.

    Attributes:
        deployment: MODEL@HARDWARE:LAYOUT.
        precision: W[/A[/KV]]; as published where not said.
        replicas: engines.
        times: where step times come from: analytic, the name of a calibrated engine, or a folder
            of measured operators.
        max_num_seqs, max_num_batched_tokens: of every group with attention of its own.
        num_kv_blocks: what fits the memory where not said.
        usd_per_accelerator_hour: instead of the catalogue's.

    """

    deployment: str
    precision: str | None = None
    replicas: int = 1
    times: str = "analytic"
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    num_kv_blocks: int | None = None
    usd_per_accelerator_hour: float | None = None

    def __post_init__(self) -> None:
        if self.usd_per_accelerator_hour is not None:
            check_positive(self.usd_per_accelerator_hour, "usd_per_accelerator_hour")


@dataclass(frozen=True, slots=True)
class EngineScenario:
    """What all pools share (`headway.sim.engine.Engine`)."""

    kv_block_tokens: int = 16
    chunked_prefill: bool = True
    reserve_full_prompt: bool = True
    asynchronous: bool = True
    prefix_cache: bool = True


@dataclass(frozen=True, slots=True)
class OffloadScenario:
    """Long answers go to the second pool, all others to the first.

    Attributes:
        share: of the requests, those with the longest predicted answers; where not said, the one
            with the least mean e2e on training traces, which may be none.
        level: quantile of the prediction that counts.

    """

    share: float | None = None
    level: float = 0.9

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share < 1:
            raise InputError(f"share must lie between 0 and 1, not at {self.share:g}")


@dataclass(frozen=True, slots=True)
class TenantScenario:
    """Who asks: a tenant, or a class of service.

    Attributes:
        share: of the requests of a profile; a trace says itself whose its requests are.
        weight: in fair shares.
        ttft_s, tpot_s, e2e_s: its objectives.

    """

    share: float | None = None
    weight: float = 1.0
    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("share", "weight", "ttft_s", "tpot_s", "e2e_s"):
            if getattr(self, name) is not None:
                check_positive(getattr(self, name), name)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that decides the figures of a simulation.

    Attributes:
        workload: a profile's name, or the path of a trace.
        pools: what serves.
        requests: of a profile or a trace.
        rate_rps, load: arrivals; at most one of the two, load as a fraction of saturation.
        seeds: runs of everything.
        policies: orders that are compared with first come first served.
        predictor: tau=SKILL, oracle, default, or a trained one's folder.
        route: how a replica is chosen.
        slo: objectives of everybody, such as ``ttft < 500ms, tpot < 50ms``.
        engine: what pools share.
        disaggregation: prefill on the first pool, decode on the second.
        outages: of replicas, counted over all pools.
        offload: of long answers to the second pool.
        batch: static batches instead of continuous batching.
        tenants: by name.

    """

    workload: str
    pools: tuple[PoolScenario, ...]
    requests: int | None = None
    rate_rps: float | None = None
    load: float | None = None
    seeds: int = 5
    policies: tuple[str, ...] = ("fcfs",)
    predictor: str = "tau=0.4"
    route: str = "least-loaded"
    slo: str | None = None
    engine: EngineScenario = EngineScenario()
    disaggregation: Disaggregation | None = None
    outages: tuple[Outage, ...] = ()
    offload: OffloadScenario | None = None
    batch: Consolidation | None = None
    tenants: tuple[tuple[str, TenantScenario], ...] = ()

    def __post_init__(self) -> None:
        if not self.pools:
            raise InputError("a scenario needs at least one [[pool]] with a deployment")
        if self.rate_rps is not None and self.load is not None:
            raise InputError("a rate and a load exclude each other: give one of them")
        if self.load is not None and not 0 < self.load <= 10:
            raise InputError(
                f"load is a fraction of saturation such as 0.9, not {self.load:g}; for requests "
                "per second give a rate"
            )
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise InputError(f"seeds must be from 1 to {MOST_SEEDS}, not {self.seeds}")
        if self.requests is not None and self.requests < 1:
            raise InputError(f"requests must be at least 1, not {self.requests}")
        if self.offload is not None and (len(self.pools) != 2 or self.disaggregation):
            raise InputError("offload needs two pools, fast and slow, that both prefill and decode")
        if self.batch is not None:
            self._check_batch()
        shares = [tenant.share is not None for _, tenant in self.tenants]
        if any(shares) and not all(shares):
            raise InputError("either every tenant has a share of the requests, or none")

    def _check_batch(self) -> None:
        most = 2 if self.offload is not None else 1
        if len(self.pools) > most or self.disaggregation or self.outages:
            raise InputError(
                "static batches run on one replica that does not fail, with a second pool only to "
                "offload to"
            )
        if any(pool.replicas > 1 for pool in self.pools):
            raise InputError("static batches run on one replica per pool")


# Tables of the file, and where they go.
_LISTS: dict[str, tuple[str, type]] = {
    "pool": ("pools", PoolScenario),
    "outage": ("outages", Outage),
}
_TABLES: dict[str, type] = {
    "engine": EngineScenario,
    "disaggregation": Disaggregation,
    "offload": OffloadScenario,
    "batch": Consolidation,
}


def read_scenario(path: Path) -> Scenario:
    """The scenario in a TOML file.

    Raises:
        InputError: it cannot be read, is no TOML, has an unknown key or a value of a wrong type.

    """
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    try:
        return parse_scenario(tree)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def parse_scenario(tree: Mapping[str, Any]) -> Scenario:
    """The scenario in a tree of TOML values; raises as `read_scenario`."""
    given: dict[str, Any] = {}
    plain = {f.name for f in fields(Scenario)} - {"pools", "outages", "tenants", *_TABLES}
    for key, value in tree.items():
        if key in _LISTS:
            name, kind = _LISTS[key]
            rows = value if isinstance(value, list) else [value]
            given[name] = tuple(_part(kind, row, f"[[{key}]]") for row in rows)
        elif key in _TABLES:
            given[key] = _part(_TABLES[key], value, f"[{key}]")
        elif key == "tenant":
            given["tenants"] = tuple(
                (name, _part(TenantScenario, row, f"[tenant.{name}]"))
                for name, row in sorted(_mapping(value, "[tenant.NAME]").items())
            )
        elif key in plain:
            given[key] = value
        else:
            raise UnknownNameError("key", key, [*plain, *_LISTS, *_TABLES, "tenant"])
    return _part(Scenario, given, "a scenario", ready={"pools", "outages", "tenants", *_TABLES})


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a table, not {value!r}")
    return value


def _part(kind: type[Part], value: object, where: str, ready: set[str] | None = None) -> Part:
    """A dataclass from a table: unknown keys, missing keys and wrong types are refused."""
    table = _mapping(value, where)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]  # all kinds are dataclasses
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for key, item in table.items():
        if key not in known:
            raise UnknownNameError(f"key in {where}", key, known)
        given[key] = (
            item if ready and key in ready else _typed(item, hints[key], f"{key} in {where}")
        )
    for name, field in known.items():
        if name not in given and field.default is MISSING and field.default_factory is MISSING:
            needed = "a [[pool]] with a deployment" if name == "pools" else name
            raise InputError(f"{where} needs {needed}")
    return kind(**given)


def _typed(value: object, hint: Any, where: str) -> object:
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if hint == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise InputError(f"{where} must be a list of names, not {value!r}")
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # A truth value is an int to Python, but not to whoever wrote the file.
    if not any(type(value) is kind for kind in kinds):
        wanted = " or ".join(_SAID[kind] for kind in kinds if kind in _SAID)
        raise InputError(f"{where} must be {wanted}, not {value!r}")
    return value


_SAID = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
