"""How models and layouts are written outside: on a hub, on a command line."""

from __future__ import annotations

import re

from headway.errors import UnknownNameError
from headway.model.catalogue import find_entry
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism

_HUB = re.compile(r"huggingface\.co/([^/]+/[^/]+)")


def hub_name(model: str) -> str:
    """Return the name by which engines load ``model``, as far as the catalogue knows it."""
    try:
        match = _HUB.search(find_entry(model).published.url)
    except UnknownNameError:
        return model
    return match[1] if match else model


def deployment_layout(deployment: Deployment) -> str:
    """Return the layout, and the drafted tokens of a pass: ``tp8+mtp2``."""
    layout, drafting = layout_name(deployment.parallelism), deployment.drafting
    return layout if drafting is None else f"{layout}+mtp{float(drafting.tokens):g}"


def layout_name(layout: Parallelism) -> str:
    """Return a layout as deployments' names have it: ``tp4pp2``."""
    degrees = {"tp": layout.tp, "pp": layout.pp, "dp": layout.dp, "ep": layout.ep}
    return "".join(
        f"{name}{float(degree):g}"
        for name, degree in degrees.items()
        if float(degree) > 1 or name == "tp"
    )
