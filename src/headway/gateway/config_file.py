"""The configuration file: TOML in, frozen values out, unknown keys refused by name.

policy = "headway"
record = "live.db"

[[backend]]
url = "http://localhost:8000/v1"

[[tenant]]
name = "research"
key_sha256 = "..."

[class.interactive]
ttft_ms = 500
ttl_s = 10

[pool.cpu]
usd_per_hour = 0.4

[offload]
fast = "gpu"
slow = "cpu"
share = 0.2
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from headway.errors import InputError, UnknownNameError
from headway.gateway.config import (
    Fairness,
    GatewayConfig,
    Limits,
    ServiceClass,
    Tenant,
    Timeouts,
    Tls,
    Web,
)
from headway.gateway.discovery import Discovery
from headway.gateway.model_names import ModelName
from headway.gateway.pools import Endpoint, Overflow, Pool
from headway.record.store import is_postgres
from headway.schedule.policies import find_policy
from headway.schedule.view import ServiceTime
from headway.user_file import as_table, check_keys, from_table, read_toml, typed
from headway.workload.objective import parse_slo
from headway.workload.request import Slo

_log = logging.getLogger("headway.gateway")
DEFAULT_POLICY = "headway"
Settings = TypeVar("Settings")

# Keys of the file that are fields of `GatewayConfig` as they stand, and those that become some.
_PLAIN = {
    "mode": str, "admin_sha256": str, "host": str, "port": int, "keep_prompts": bool,
    "retries": int, "larger_first": bool, "traces": str, "admission": str,
}  # fmt: skip
_TABLES = (
    "backend", "tenant", "pool", "class", "model", "discover", "offload", "timeouts", "limits",
    "fairness", "policy", "record", "on", "engine", "calibration", "web", "tls", "slo",
)  # fmt: skip
_REQUIRED: dict[type, tuple[tuple[str, ...], str]] = {
    Endpoint: (("url",), "a backend needs a url"),
    Tenant: (
        ("name", "key_sha256"),
        "a tenant needs key_sha256 and a name: headway serve --make-key NAME prints both",
    ),
    Tls: (("certificate", "key"), "tls needs two PEM files: certificate and key"),
    Overflow: (("fast", "slow"), "offload needs the names of two pools: fast and slow"),
}


def read_config(path: Path) -> GatewayConfig:
    """Return the configuration in ``path``; its policy is `DEFAULT_POLICY` unless it names one.

    Raises:
        InputError: it cannot be read, is no TOML, or holds something that makes no sense.

    """
    tree = read_toml(path, "the gateway's configuration in TOML")
    try:
        return _config(tree, path.parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def load_config(
    path: Path | None,
    *,
    backends: Sequence[str] = (),
    policy: str | None = None,
    on: str | None = None,
    engine: str | None = None,
    calibration: Sequence[Path] = (),
    slo: str | None = None,
    **settings: Any,
) -> GatewayConfig:
    """Return the configuration in ``path``, if given, with what goes before it.

    Args:
        path: of the file; without one ``backends`` are needed.
        backends: addresses of engines, in place of the file's.
        policy: name of the order, in place of the file's.
        on: the deployment behind the gateway, such as llama-3.1-8b@h100:tp1, in place of the
            file's; its step times are expected until engines have been measured.
        engine: the serving engine of that deployment; by default vllm where it was measured.
        calibration: files of `headway calibrate`, on top of what ships.
        slo: objectives of requests that name none of their own and no class, in place of the
            file's, such as "ttft p95 < 1s".
        settings: fields of `GatewayConfig`; ``None`` leaves one as it is.

    Raises:
        InputError: no engine is given, or something makes no sense.

    """
    if path is None and not backends:
        raise InputError(
            "serve needs an engine: --backend http://localhost:8000/v1, or --config FILE"
        )
    own = {name: value for name, value in settings.items() if value is not None}
    if backends:
        own["endpoints"] = tuple(Endpoint(url) for url in backends)
    if policy is not None:
        own["policy"] = find_policy(policy)

    if on is not None:
        own["expected"] = _expected(on, engine, calibration)
    for name, value in (("engine", engine), ("calibration", calibration)):
        if value and on is None:
            raise InputError(f"--{name} goes with --on, such as --on llama-3.1-8b@h100:tp1")

    if path is not None:
        config = replace(read_config(path), **own)
    else:
        config = GatewayConfig(**{"policy": find_policy(DEFAULT_POLICY), **own})
    if slo is None:
        return config
    return replace(config, classes=_with_unnamed(config.classes, parse_slo(slo)))


def _with_unnamed(classes: Iterable[ServiceClass], slo: Slo) -> tuple[ServiceClass, ...]:
    """Return ``classes``, where requests that name none have the objectives ``slo``."""
    return (ServiceClass("", slo), *(each for each in classes if each.name))


def _expected(on: str, engine: str | None, calibration: Sequence[Path]) -> ServiceTime:
    # Named rarely, and the cost model is more than all the rest that a gateway imports.
    from headway.schedule.expectation import expected_service
    from headway.steptime.calibration import read_calibration
    from headway.steptime.deployment_name import parse_deployment

    deployment = parse_deployment(on, engine=engine, calibration=read_calibration(*calibration))
    if deployment.own_words is not None:
        _log.info("expected times of %s: %s", on, deployment.own_words)
    return expected_service(deployment)


def _config(tree: dict[str, Any], folder: Path) -> GatewayConfig:
    check_keys(tree, (*_PLAIN, *_TABLES), "key")
    plain = {name: typed(tree[name], kind, name) for name, kind in _PLAIN.items() if name in tree}

    # Where records go: an address, or a file beside the configuration.
    if "record" in tree:
        where = typed(tree["record"], str, "record")
        plain["record"] = where if is_postgres(where) else folder / where

    # Certificates, in files beside the configuration.
    if "tls" in tree:
        paths = as_table(tree["tls"], "tls")
        own = {name: str(folder / typed(path, str, name)) for name, path in paths.items()}
        plain["tls"] = _settings(Tls, own, "tls")

    # What requests are expected to cost, where a deployment is named.
    if "on" in tree:
        engine = typed(tree["engine"], str, "engine") if "engine" in tree else None
        own = tree.get("calibration", [])
        names = typed([own] if isinstance(own, str) else own, list, "calibration")
        files = [folder / typed(name, str, "calibration") for name in names]
        plain["expected"] = _expected(typed(tree["on"], str, "on"), engine, files)
    for name in ("engine", "calibration"):
        if name in tree and "on" not in tree:
            raise InputError(f'{name} goes with on, such as on = "llama-3.1-8b@h100:tp1"')

    pools = as_table(tree.get("pool", {}), "pool")
    classes = as_table(tree.get("class", {}), "class")
    models = as_table(tree.get("model", {}), "model")

    service_classes = tuple(_class(name, row) for name, row in classes.items())
    if "slo" in tree:
        slo = parse_slo(typed(tree["slo"], str, "slo"))
        service_classes = _with_unnamed(service_classes, slo)
    return GatewayConfig(
        endpoints=tuple(_settings(Endpoint, row, "backend") for row in _rows(tree, "backend")),
        policy=find_policy(typed(tree.get("policy", DEFAULT_POLICY), str, "policy")),
        tenants=tuple(_settings(Tenant, row, "tenant") for row in _rows(tree, "tenant")),
        pool_settings=tuple(_pool(name, row) for name, row in pools.items()),
        overflow=_settings(Overflow, tree["offload"], "offload") if "offload" in tree else None,
        discover=tuple(_discovery(row, folder) for row in _rows(tree, "discover")),
        models=tuple(_model(name, row) for name, row in models.items()),
        classes=service_classes,
        timeouts=_settings(Timeouts, tree.get("timeouts", {}), "timeouts"),
        limits=_settings(Limits, tree.get("limits", {}), "limits"),
        fairness=_settings(Fairness, tree.get("fairness", {}), "fairness"),
        web=_settings(Web, tree.get("web", {}), "web"),
        **plain,
    )


def _rows(tree: dict[str, Any], name: str) -> list[Any]:
    rows = tree.get(name, [])
    if not isinstance(rows, list):
        raise InputError(f"write [[{name}]], with two brackets: there may be several")
    return rows


def _pool(name: str, row: object) -> Pool:
    table = as_table(row, f"pool.{name}")
    if "name" in table:
        raise UnknownNameError(f"key of pool {name}", "name", ("usd_per_hour", "output_token_s"))
    return _settings(Pool, {"name": name, **table}, f"pool {name}")


def _discovery(row: object, folder: Path) -> Discovery:
    discovery = _settings(Discovery, row, "discover")
    if not discovery.file:
        return discovery
    return replace(discovery, file=str(folder / discovery.file))  # beside the configuration


def _model(name: str, row: object) -> ModelName:
    table = as_table(row, f"model.{name}")
    if "name" in table:
        raise UnknownNameError(f"key of model {name}", "name", ("serves", "fallback"))
    return _settings(ModelName, {"name": name, **table}, f"model {name}")


_CLASS_KEYS = {
    "ttft_ms": float, "tpot_ms": float, "e2e_ms": float, "tier": int, "value": float,
    "weight": float, "max_waiting": int, "ttl_s": float,
}  # fmt: skip


def _class(name: str, row: object) -> ServiceClass:
    table = as_table(row, f"class.{name}")
    check_keys(table, _CLASS_KEYS, f"key of class {name}")
    values = {key: typed(value, _CLASS_KEYS[key], key) for key, value in table.items()}

    objectives = {
        f"{key[:-3]}_s": values.pop(key) / 1e3 for key in list(values) if key[-3:] == "_ms"
    }
    objectives |= {key: values.pop(key) for key in ("tier", "value") if key in values}
    return ServiceClass(name, Slo(**objectives), **values)


def _settings(kind: type[Settings], row: object, what: str) -> Settings:
    """Return the frozen value of type ``kind`` whose fields are the keys of the table ``row``."""
    table = as_table(row, what)
    names, problem = _REQUIRED.get(kind, ((), ""))
    if not all(table.get(name) for name in names):
        raise InputError(problem)
    return from_table(kind, table, what)
