"""The published method, number for number (Narayanan et al. 2023, arXiv 2305.02440).

A table holds the time of a prompt with its first token at a few sizes, and one time per further
token. Both estimators that filled such tables are here: E1 behind the tables that HELM ships, E2
behind the notebook of its authors. Their rounding to 1 ms and the sawtooth of `alpha_s` are part of
the method; `headway.ideal.runtime_fit` has neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from headway.errors import InputError, reason
from headway.ideal.request_profile import FloatArray, RequestProfile


class Estimator(Enum):
    """How the time of a prompt is read off a profile.

    ``E1``: the intercept of a line through all output lengths of that prompt (shipped tables).
    ``E2``: the measured time of the request with one output token (notebook).
    """

    E1 = "E1"
    E2 = "E2"


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """Coefficients of T(p, o) = alpha(p) + overhead + beta (o - 1), in seconds.

    ``prompt_s`` maps prompt tokens to alpha; ``overhead_s`` is 0 where the table is not of an API.
    """

    beta_s: float
    prompt_s: Mapping[int, float]
    overhead_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.prompt_s or min(self.prompt_s) < 1:
            raise InputError("a table needs at least one prompt size, all of at least 1 token")
        object.__setattr__(self, "prompt_s", MappingProxyType(dict(sorted(self.prompt_s.items()))))

    @classmethod
    def read(cls, table: Mapping[str, object], name: str) -> PublishedTable:
        """Return one entry of HELM's ``inference_*_runtimes.json``, called ``name`` in messages."""
        try:
            beta_s, rows = table["runtime_per_output_token"], table["runtime_for_prompt_tokens"]
            if not isinstance(rows, Mapping):
                raise TypeError("runtime_for_prompt_tokens is no mapping")
            prompt_s = {int(size): float(seconds) for size, seconds in rows.items()}
            overhead_s = table.get("overhead", 0.0)
            return cls(float(str(beta_s)), prompt_s, float(str(overhead_s)))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the runtime table of {name} cannot be read: {error}") from None

    def alpha_s(self, prompt_tokens: npt.ArrayLike) -> FloatArray:
        """Return seconds of a prompt with its first token, by HELM's rule.

        The throughput at the smallest profiled size that is not smaller counts; beyond the largest
        size, the throughput there. This is a sawtooth through the origin.
        """
        sizes = np.asarray(list(self.prompt_s), dtype=np.float64)
        seconds = np.asarray(list(self.prompt_s.values()))
        tokens = np.asarray(prompt_tokens, dtype=np.float64)
        if np.any(tokens < 0):
            raise InputError("prompt tokens must not be negative")

        at = np.minimum(np.searchsorted(sizes, tokens, side="left"), sizes.size - 1)
        return np.asarray(seconds[at] * tokens / sizes[at])

    def runtime_s(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> FloatArray:
        """Return seconds of a request; without output tokens, those of its prompt."""
        further = np.maximum(np.asarray(output_tokens, dtype=np.float64) - 1, 0.0)
        return np.asarray(self.alpha_s(prompt_tokens) + self.overhead_s + self.beta_s * further)


def read_tables(path: Path) -> dict[str, PublishedTable]:
    """Return the tables of one of HELM's ``inference_*_runtimes.json``, by the models' names."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None

    if not isinstance(tree, dict) or not all(isinstance(table, dict) for table in tree.values()):
        raise InputError(f"{path} is no file of published tables: models with a table each")
    return {str(name): PublishedTable.read(table, name) for name, table in tree.items()}


@dataclass(frozen=True, slots=True)
class FitQuality:
    """How well beta explains what alpha leaves: R², mean and largest squared error in s²."""

    r2: float
    mean_squared_error_s2: float
    max_squared_error_s2: float


def fit_published(
    profile: RequestProfile, estimator: Estimator = Estimator.E1
) -> tuple[PublishedTable, FitQuality]:
    """Return the table that the published code makes of ``profile``, and the quality it prints.

    A point measured twice counts once, with its last runtime: the published code keeps points by
    their lengths.

    Raises:
        InputError: every request has as many output tokens, so that beta is unknown, or E2 lacks
            a request with one.

    """
    profile = _last_of_each(profile)
    further = profile.output_tokens - 1
    if np.unique(further).size < 2:
        raise InputError("a table needs two output lengths at least: beta is their difference")

    # The time of each prompt; E1 never goes below that of the smallest.
    prompt_s: dict[int, float] = {}
    for size in profile.prompt_sizes:
        same_prompt = profile.only(profile.prompt_tokens == size)
        prompt_s[int(size)] = _prompt_s(same_prompt, estimator)
    if estimator is Estimator.E1:
        minimum = prompt_s[min(prompt_s)]
        prompt_s = {size: max(seconds, minimum) for size, seconds in prompt_s.items()}

    # The published code drops the intercept of the rest, and prints the errors of what it rounded.
    rest = profile.runtime_s - np.asarray([prompt_s[int(p)] for p in profile.prompt_tokens])
    beta_s = _to_ms(_line(further, rest)[0])
    errors = (rest - beta_s * further) ** 2
    total = float(np.sum((rest - rest.mean()) ** 2))
    quality = FitQuality(1 - float(errors.sum()) / total, float(errors.mean()), float(errors.max()))
    return PublishedTable(beta_s, prompt_s), quality


def fit_denoised(
    prompt_tokens: Sequence[int],
    requested_tokens: Sequence[int],
    output_tokens: Sequence[int],
    runtime_s: Sequence[float],
    estimator: Estimator = Estimator.E1,
) -> PublishedTable:
    """Return the published table of an API: minima over trials, the fit, the overhead apart.

    Only trials whose answer has the requested length count. The overhead is alpha at the smallest
    prompt less beta, so that alpha starts at beta.
    """
    minima: dict[tuple[int, int], float] = {}
    trials = zip(prompt_tokens, requested_tokens, output_tokens, runtime_s, strict=True)
    for prompt, requested, output, seconds in trials:
        if output == requested:
            minima[prompt, requested] = min(seconds, minima.get((prompt, requested), seconds))
    if not minima:
        raise InputError("no trial has the output length that it asked for")

    points = ((prompt, output, seconds) for (prompt, output), seconds in minima.items())
    table, _ = fit_published(RequestProfile.of(points), estimator)
    return with_overhead_apart(table)


def with_overhead_apart(table: PublishedTable) -> PublishedTable:
    """Return ``table`` with what its smallest prompt takes above beta as the overhead."""
    overhead_s = _to_ms(table.prompt_s[min(table.prompt_s)] - table.beta_s)
    prompt_s = {size: _to_ms(seconds - overhead_s) for size, seconds in table.prompt_s.items()}
    return PublishedTable(table.beta_s, prompt_s, overhead_s)


def _prompt_s(profile: RequestProfile, estimator: Estimator) -> float:
    if estimator is Estimator.E1:
        if len(profile) < 2:
            # A line through one point is flat in the published code.
            return _to_ms(float(profile.runtime_s[0]))
        slope, intercept = _line(profile.output_tokens, profile.runtime_s)
        return _to_ms(_to_ms(slope) + _to_ms(intercept))

    first = profile.runtime_s[profile.output_tokens == 1]
    if first.size == 0:
        size = f"{profile.prompt_tokens[0]:g}"
        raise InputError(f"E2 needs a request with one output token at {size} prompt tokens")
    return _to_ms(float(first[0]))


def _last_of_each(profile: RequestProfile) -> RequestProfile:
    lengths = zip(profile.prompt_tokens, profile.output_tokens, strict=True)
    last = {pair: i for i, pair in enumerate(lengths)}
    is_last = np.zeros(len(profile), dtype=np.bool_)
    is_last[list(last.values())] = True
    return profile.only(is_last)


def _line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    centred = x - x.mean()
    slope = float(np.sum(centred * (y - y.mean())) / np.sum(centred**2))
    return slope, float(y.mean() - slope * x.mean())


def _to_ms(seconds: float) -> float:
    return round(float(seconds), 3)
