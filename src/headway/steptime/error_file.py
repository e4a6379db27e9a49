"""An error model as it ships: variances by level, and evidence by the groups that it is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headway.steptime.error_model import FEATURES, ErrorModel, Evidence

DIGITS = 5


def errors_to_tree(errors: ErrorModel) -> dict[str, Any]:
    """Return what JSON holds of ``errors``: rows of one subject stand under its groups."""
    evidence = errors.evidence
    subjects, member = np.unique(evidence.groups, axis=0, return_inverse=True)
    table = np.column_stack([evidence.features, evidence.error, evidence.noise])
    return {
        "features": list(FEATURES),
        "rest": round(errors.rest, 6),
        "strays": [[*own, round(factor, 4)] for own, factor in sorted(errors.strays.items())],
        "variances": {
            level: [float(f"{value:.{DIGITS}g}") for value in variances]
            for level, variances in zip(errors.levels, errors.variances, strict=True)
        },
        "evidence": [
            {
                "groups": [str(name) for name in names],
                "rows": [
                    [float(f"{value:.{DIGITS}g}") for value in row]
                    for row in table[member.reshape(-1) == place]
                ],
            }
            for place, names in enumerate(subjects)
        ],
    }


def errors_from_tree(tree: Mapping[str, Any]) -> ErrorModel:
    """Return the error model that `errors_to_tree` wrote; raise what reading raises otherwise."""
    if tuple(tree["features"]) != FEATURES:
        raise ValueError(f"features of errors are {', '.join(FEATURES)}")
    table = np.array([row for one in tree["evidence"] for row in one["rows"]], dtype=np.float64)
    groups = [one["groups"] for one in tree["evidence"] for _ in one["rows"]]
    size = len(FEATURES)
    return ErrorModel(
        levels=tuple(tree["variances"]),
        variances=np.array(list(tree["variances"].values()), dtype=np.float64),
        rest=float(tree["rest"]),
        evidence=Evidence(
            groups=np.array(groups, dtype=np.str_).reshape(len(groups), -1),
            features=table[:, :size],
            error=table[:, size],
            noise=table[:, size + 1],
        ),
        strays={(level, group): float(factor) for level, group, factor in tree["strays"]},
    )
