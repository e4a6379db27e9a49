"""What a plan emits for KServe, against the types of KServe's own package; skipped without it."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any

import pytest
from tests.plan.problems import problem, stream

from headway.plan.bounds import candidates
from headway.plan.emit import emit

kserve: Any = pytest.importorskip("kserve", reason="KServe is not installed: pip install kserve")
PLAIN: dict[str, Any] = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def check(value: Any, kind: str, where: str) -> None:
    """Raise unless ``value`` is of ``kind``, all its fields are known and none is missing."""
    many = re.fullmatch(r"[Ll]ist\[(.+)\]", kind)
    table = re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", kind)
    if many:
        for item in value:
            check(item, many[1], where)
    elif table:
        for key, item in value.items():
            check(item, table[1], f"{where}.{key}")
    elif kind in PLAIN:
        assert isinstance(value, PLAIN[kind]), f"{where} is {value!r}, not {kind}"
    elif kind != "object":
        model = getattr(kserve, kind, None) or getattr(import_module("kubernetes.client"), kind)
        names = {key: name for name, key in model.attribute_map.items()}
        assert set(value) <= set(names), f"{where} has no {sorted(set(value) - set(names))}"
        model(**{names[key]: item for key, item in value.items()})  # refuses what lacks a field
        for key, item in value.items():
            check(item, model.openapi_types[names[key]], f"{where}.{key}")


def test_kserve_knows_every_field_of_what_a_plan_emits() -> None:
    asked = problem(on=("h100",), demand=stream(12.0))
    candidate = candidates(asked)[0][0]
    manifest = json.loads(emit("kserve", candidate, 3, asked.objectives)["inferenceservice.json"])
    check(manifest, "V1beta1InferenceService", "service")

    manifest["spec"]["predictor"]["minimumReplicas"] = 3
    with pytest.raises(AssertionError, match="minimumReplicas"):
        check(manifest, "V1beta1InferenceService", "service")
