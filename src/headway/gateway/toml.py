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

[pool.cpu]
usd_per_hour = 0.4

[offload]
fast = "gpu"
slow = "cpu"
share = 0.2
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from headway.errors import InputError, UnknownNameError, reason
from headway.gateway.config import Endpoint, Fairness, GatewayConfig, Limits, Tenant, Timeouts
from headway.gateway.pools import Overflow, Pool
from headway.record.store import is_postgres
from headway.schedule.order import OrderPolicy
from headway.workload.request import Slo

Value = TypeVar("Value")
_TOP = (
    "backend", "policy", "mode", "tenant", "class", "admin_sha256", "host", "port", "record",
    "keep_prompts", "retries", "larger_first", "timeouts", "limits", "fairness", "pool", "offload",
    "traces",
)  # fmt: skip
_PLAIN: dict[str, type] = {
    "mode": str, "admin_sha256": str, "host": str, "port": int, "keep_prompts": bool,
    "retries": int, "larger_first": bool, "traces": str,
}  # fmt: skip


def read_config(path: Path, find_policy: Callable[[str], OrderPolicy]) -> GatewayConfig:
    """Read ``path``; ``find_policy`` turns the policy's name into the object.

    Raises:
        InputError: it cannot be read, is no TOML, or holds something that makes no sense.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    try:
        return _config(tree, path, find_policy)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _config(
    tree: dict[str, Any], path: Path, find_policy: Callable[[str], OrderPolicy]
) -> GatewayConfig:
    _known(tree, _TOP, "key")
    settings: dict[str, Any] = {}
    for name, kind in _PLAIN.items():
        if name in tree:
            settings[name] = _of(tree[name], kind, name)
    if "policy" in tree:
        settings["policy"] = find_policy(_of(tree["policy"], str, "policy"))
    if "record" in tree:
        where = _of(tree["record"], str, "record")
        settings["record"] = where if is_postgres(where) else path.parent / where
    for name, make in (("timeouts", Timeouts), ("limits", Limits), ("fairness", Fairness)):
        if name in tree:
            settings[name] = _made(make, tree[name], name)
    if "offload" in tree:
        settings["overflow"] = _made(Overflow, tree["offload"], "offload")
    pools = _of(tree.get("pool", {}), dict, "pool")
    classes = _of(tree.get("class", {}), dict, "class")
    return GatewayConfig(
        endpoints=tuple(_made(Endpoint, row, "backend") for row in _rows(tree, "backend")),
        tenants=tuple(_tenant(row) for row in _rows(tree, "tenant")),
        pool_settings=tuple(_pool(name, row) for name, row in pools.items()),
        classes=tuple((name, _slo(row, name)) for name, row in classes.items()),
        **settings,
    )


def _rows(tree: Mapping[str, Any], name: str) -> list[Any]:
    rows = tree.get(name, [])
    if not isinstance(rows, list):
        raise InputError(f"write [[{name}]], with two brackets: there may be several")
    return rows


def _tenant(row: object) -> Tenant:
    tenant = _made(Tenant, row, "tenant")
    if not tenant.name:
        raise InputError("a tenant needs a name")
    return tenant


def _pool(name: str, row: object) -> Pool:
    table = _of(row, dict, f"pool.{name}")
    if "name" in table:
        raise UnknownNameError(f"key of pool {name}", "name", ("usd_per_hour", "output_token_s"))
    return _made(Pool, {"name": name, **table}, f"pool {name}")


def _slo(row: object, name: str) -> Slo:
    table = _of(row, dict, f"class.{name}")
    known = {"ttft_ms": "ttft_s", "tpot_ms": "tpot_s", "e2e_ms": "e2e_s"}
    _known(table, known, f"key of class {name}")
    values = {known[key]: _of(value, float, key) / 1e3 for key, value in table.items()}
    return Slo(**values)


def _made(make: Callable[..., Value], row: object, what: str) -> Value:
    table = _of(row, dict, what)
    hints: dict[str, str] = getattr(make, "__annotations__", {})
    _known(table, hints, f"key of {what}")
    values = {}
    for key, value in table.items():
        hint = hints[key]
        kind = next(k for k in (str, bool, float, int) if k.__name__ in hint)
        values[key] = _of(value, kind, f"{key} of {what}")
    if make is Overflow and not {"fast", "slow"} <= values.keys():
        raise InputError("offload needs the names of two pools: fast and slow")
    if make is Endpoint and "url" not in values:
        raise InputError("a backend needs a url")
    if make is Tenant and "key_sha256" not in values:
        raise InputError("a tenant needs key_sha256: headway serve --make-key NAME prints one")
    values.setdefault("name", "") if make is Tenant else None
    return make(**values)


def _of(value: object, kind: type, what: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        raise InputError(f"{what} must be {words.get(kind, 'a table')}, not {value!r}")
    return value


def _known(table: Mapping[str, Any], known: Any, what: str) -> None:
    for key in table:
        if key not in known:
            raise UnknownNameError(what, key, known)


def overridden(config: GatewayConfig, **settings: object) -> GatewayConfig:
    """``config`` with what the command line said in its place, ``None`` meaning it said nothing."""
    return replace(config, **{k: v for k, v in settings.items() if v is not None})  # type: ignore[arg-type]  # keys were checked
