"""From measurements to the default estimator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headway.errors import InputError
from headway.ideal.kernels import CPU_PRIORS, expected_of, widths
from headway.ideal.prompt_curve import Tiles
from headway.ideal.request_profile import RequestProfile
from headway.ideal.runtime_fit import RuntimeFit
from headway.measure.measurement import Measurement, RequestLoad, Setup
from headway.model.huggingface.config import architecture_from_config


def request_profile(measurements: Sequence[Measurement], batch: int = 1) -> RequestProfile:
    """The request-level ``measurements`` at ``batch``: undisturbed times and their doubt.

    Raises:
        InputError: there is none, or they are of several setups.

    """
    chosen = [
        (m, m.load)
        for m in measurements
        if isinstance(m.load, RequestLoad) and m.load.batch == batch
    ]
    if not chosen:
        raise InputError(f"there is no request-level measurement at batch {batch}")
    setups = {(m.setup.model, m.setup.engine, m.setup.device, m.setup.dtype) for m, _ in chosen}
    if len(setups) > 1:
        raise InputError(f"these measurements are of {len(setups)} setups; give one at a time")
    floors = [m.envelope.floor_s for m, _ in chosen]
    return RequestProfile(
        np.asarray([load.prompt_tokens for _, load in chosen], dtype=np.float64),
        np.asarray([load.output_tokens for _, load in chosen], dtype=np.float64),
        np.asarray([floor.expected for floor in floors]),
        np.asarray([(floor.upper - floor.lower) / 3.3 / floor.expected for floor in floors]),
    )


def fit_measured(measurements: Sequence[Measurement], batch: int = 1) -> RuntimeFit:
    """The default estimator on ``measurements``, with tiles where a GPU ran them."""
    return _estimator(measurements[0].setup).fit(request_profile(measurements, batch))


def _estimator(setup: Setup) -> RuntimeFit:
    if not setup.device.startswith("cuda"):
        return RuntimeFit(None, CPU_PRIORS)
    if setup.config is None:
        return RuntimeFit(Tiles())
    model = architecture_from_config(setup.config, setup.model)
    return RuntimeFit(*expected_of(widths(model, setup.num_accelerators)))
