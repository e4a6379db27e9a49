"""From measurements to fits: the estimator that suits a model and its device.

Tensor cores load 16 bytes at a time. Where a matrix's rows do not divide by that, libraries fall
back on kernels of few tile sizes, so that the first tile of tokens already costs a whole one
(NVIDIA, Matrix Multiplication Background User's Guide, section 4). A configuration says so before
anything is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headway.errors import InputError
from headway.ideal.prompt_curve import Tiles
from headway.ideal.request_profile import RequestProfile
from headway.ideal.runtime_fit import RuntimeFit, fit_runtime
from headway.ideal.runtime_form import Prior, Priors
from headway.measure.measurement import Measurement, RequestLoad, Setup
from headway.model.architecture import ModelArchitecture
from headway.model.attention import GroupedQueryAttention
from headway.model.huggingface.config import architecture_from_config
from headway.steptime.fitted import FittedStepTime, fit_passes

# A CPU has no tiles to speak of, turns to arithmetic within a few tokens, and some engines take as
# long again to begin a request as for a token: little of what GPUs teach holds there.
CPU_PRIORS = replace(
    Priors(), log_first=Prior(0.3, 0.4), log_corner_tokens=Prior(4.0, 2.0), lead=Prior(0.1, 0.6)
)
# Elements of two bytes in a load of a tensor core.
ALIGNED_ELEMENTS = 8
# Up to so many tokens the kernels for vectors and narrow matrices are used.
SMALL_TOKENS = 32


def tiles_and_priors(widths: Sequence[int]) -> tuple[Tiles, Priors]:
    """Return what to expect of a model whose matrices have ``widths`` on each device, in elements.

    Priors come from models with aligned widths; the others are expected to be like them with twice
    the spread.
    """
    if all(width % ALIGNED_ELEMENTS == 0 for width in widths):
        return Tiles(), Priors()
    return Tiles(small_tokens=SMALL_TOKENS), Priors().doubled()


def matrix_widths(model: ModelArchitecture, num_accelerators: int) -> tuple[int, ...]:
    """Return the rows of the matrices of ``model`` on each accelerator, in elements."""
    widths = {model.hidden_size}
    for group in model.layers:
        if group.ffn is not None:
            widths.add(group.ffn.intermediate_size // num_accelerators)
        if isinstance(group.attention, GroupedQueryAttention):
            heads = group.attention.num_heads * group.attention.head_dim
            widths.add(heads // num_accelerators)
    return tuple(sorted(widths))


def fit_requests(measurements: Sequence[Measurement], batch: int = 1) -> RuntimeFit:
    """Fit the default estimator to the requests at ``batch``, with tiles where a GPU ran them.

    Raises:
        InputError: there is no request at ``batch``, or they are of several setups.

    """
    tiles, priors = _expectations(measurements[0].setup)
    return fit_runtime(request_profile(measurements, batch), tiles, priors)


def fit_measured_passes(measurements: Sequence[Measurement]) -> FittedStepTime:
    """Fit a step-time model to requests and steps of any batch.

    Raises:
        InputError: there are fewer than four, or of several setups.

    """
    _check_one_setup(measurements)
    floors_s = [m.envelope.floor_s.expected for m in measurements]
    return fit_passes([m.load.passes for m in measurements], np.asarray(floors_s))


def request_profile(measurements: Sequence[Measurement], batch: int = 1) -> RequestProfile:
    """Return the undisturbed times of the requests at ``batch``, and their doubt.

    Raises:
        InputError: there is none, or they are of several setups.

    """
    requests = [
        (m, m.load)
        for m in measurements
        if isinstance(m.load, RequestLoad) and m.load.batch == batch
    ]
    if not requests:
        raise InputError(f"there is no request-level measurement at batch {batch}")
    _check_one_setup([m for m, _ in requests])

    floors = [m.envelope.floor_s for m, _ in requests]
    return RequestProfile(
        prompt_tokens=np.asarray([load.prompt_tokens for _, load in requests], dtype=np.float64),
        output_tokens=np.asarray([load.output_tokens for _, load in requests], dtype=np.float64),
        runtime_s=np.asarray([floor.expected for floor in floors]),
        spread=np.asarray([floor.sd / floor.expected for floor in floors]),
    )


def _check_one_setup(measurements: Sequence[Measurement]) -> None:
    setups = {(m.setup.model, m.setup.engine, m.setup.device, m.setup.dtype) for m in measurements}
    if len(setups) > 1:
        raise InputError(f"these measurements are of {len(setups)} setups; give one at a time")


def _expectations(setup: Setup) -> tuple[Tiles | None, Priors]:
    if not setup.device.startswith("cuda"):
        return None, CPU_PRIORS
    if setup.config is None:
        return Tiles(), Priors()
    model = architecture_from_config(setup.config, setup.model)
    return tiles_and_priors(matrix_widths(model, setup.num_accelerators))
