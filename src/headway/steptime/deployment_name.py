"""A deployment as people write it: ``MODEL@HARDWARE:LAYOUT``, such as llama-3.1-8b@8xh100:tp8."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from headway.errors import InputError
from headway.hardware.catalogue import find_cluster
from headway.hardware.price import PriceBook
from headway.model.catalogue import find_model
from headway.steptime.calibration import NO_ENGINE, Calibration, engine_named
from headway.steptime.deployment import Deployment
from headway.steptime.operator_profile import Operators
from headway.steptime.parallelism import Parallelism

_DEPLOYMENT = re.compile(
    r"(?P<model>[^@]+)@(?:(?P<count>[1-9]\d{0,8})x)?(?P<hardware>[^:@]+)(?::(?P<layout>[a-z0-9,]+))?"
)
_DEGREE = re.compile(r"(tp|pp|dp|ep)(\d+)")


def parse_deployment(
    text: str,
    precision: str | None = None,
    engine: str | None = None,
    *,
    calibration: Calibration | None = None,
    operators: Path | None = None,
    usd_per_accelerator_hour: float | None = None,
    prices: PriceBook | None = None,
) -> Deployment:
    """Return the deployment called ``text``.

    Args:
        text: ``MODEL@HARDWARE``, with a number of accelerators before the hardware and a layout
            behind it where they are not 1. Without a layout the accelerators share every layer.
        precision: W[/A[/KV]]; as the model was published where not given.
        engine: the serving engine whose measured step times are taken, ``"none"`` for the data
            sheet alone; by default vllm where it was measured, unless ``operators`` are given.
        calibration: what was measured of engines; what ships with Headway by default.
        operators: folder of measured operators, whose sums are the step times instead.
        usd_per_accelerator_hour: the price, instead of a quote.
        prices: quotes, instead of those that come with Headway.

    Raises:
        InputError: the text is not of this form, a name in it is not known, or the layout takes
            another number of accelerators than the text says.

    """
    match = _DEPLOYMENT.fullmatch(text)
    if match is None:
        raise InputError(
            f"a deployment is MODEL@HARDWARE:LAYOUT, such as llama-3.1-8b@h100:tp1, not {text!r}"
        )

    count = match["count"]
    layout = parse_layout(match["layout"] or f"tp{count or 1}")
    if count is not None and int(count) != layout.num_accelerators:
        raise InputError(
            f"layout {match['layout']} takes {layout.num_accelerators:g} accelerators, but "
            f"{text!r} has {count}; make them equal, or leave one of them out"
        )

    cluster = find_cluster(match["hardware"], usd_per_accelerator_hour, prices)
    if engine is None and operators is not None:
        engine = NO_ENGINE
    deployment = Deployment(
        find_model(match["model"]),
        cluster,
        parallelism=layout,
        precision=precision,
        engine=engine_named(engine, cluster.accelerator),
        calibration=calibration,
    )
    if operators is not None:
        return replace(deployment, operators=Operators.read(operators, deployment))
    return deployment


def parse_layout(text: str) -> Parallelism:
    """Return the degrees in ``text``, such as tp2 or tp4pp2; raise `InputError` for other text."""
    degrees = dict(_DEGREE.findall(text))
    if "".join(f"{name}{degree}" for name, degree in degrees.items()) != text.replace(",", ""):
        raise InputError(f"a layout is degrees such as tp2 or tp4pp2, not {text!r}")
    return Parallelism(**{name: int(degree) for name, degree in degrees.items()})


def split_names(text: str) -> list[str]:
    """Return the deployments in a list; a comma inside a layout belongs to the layout."""
    return re.split(r",(?=[^,]*@)", text)


def deployment_name(deployment: Deployment) -> str:
    """Return the text that `parse_deployment` reads, for names from the catalogues."""
    layout = deployment.parallelism
    degrees = {"tp": layout.tp, "pp": layout.pp, "dp": layout.dp, "ep": layout.ep}
    text = "".join(f"{name}{degree:g}" for name, degree in degrees.items() if degree > 1)
    return f"{deployment.model.name}@{deployment.cluster.name}:{text or 'tp1'}"
