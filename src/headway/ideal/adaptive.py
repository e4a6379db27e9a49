"""A profile that chooses what to measure, and ends when it knows enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from headway.errors import InputError
from headway.ideal.measured import fit_measured
from headway.ideal.next_request import Target, first_requests, half_width, next_request
from headway.ideal.runtime_fit import RuntimeFit
from headway.measure.measurement import Measurement, RequestLoad

MOST_REQUESTS = 24
# Of requests that were measured before, in a row.
MOST_REPEATS = 3
Run = Callable[[Sequence[RequestLoad]], Sequence[Measurement]]


@dataclass(frozen=True, slots=True, eq=False)
class Adaptive:
    """What was measured, the fit to it, and the relative half-width of its 90% interval."""

    measurements: tuple[Measurement, ...]
    fit: RuntimeFit
    half_width: float


def measured_until(
    run: Run,
    target: Target,
    within: float,
    most_requests: int = MOST_REQUESTS,
    notice: Callable[[Adaptive], object] = lambda state: None,
) -> Adaptive:
    """Measure with ``run`` until runtimes over ``target`` are known ``within``, a fraction.

    A request that is chosen again adds to its trials. Noise may leave more doubt than was asked
    for, so it ends as well after ``most_requests`` runs, or when the last few were all repeats.

    Raises:
        InputError: ``within`` is not between 0 and 1.

    """
    if not 0 < within < 1:
        raise InputError(f"runtimes can be known within more than 0 and less than 1, not {within}")
    found = list(run([RequestLoad(1, p, o) for p, o in first_requests(target)]))
    runs = len(found)
    repeats = 0
    while True:
        fit = fit_measured(found)
        state = Adaptive(tuple(found), fit, half_width(fit, target))
        notice(state)
        if state.half_width <= within or runs >= most_requests or repeats >= MOST_REPEATS:
            return state
        (new,) = run([RequestLoad(1, *next_request(fit, target))])
        runs += 1
        same = [i for i, m in enumerate(found) if m.load == new.load]
        repeats = repeats + 1 if same else 0
        if same:
            old = found[same[0]]
            found[same[0]] = replace(new, trials_s=old.trials_s + new.trials_s)
        else:
            found.append(new)
