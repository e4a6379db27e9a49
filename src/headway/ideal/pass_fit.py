"""Time of any forward pass from a few measurements, so that unseen batches can be told too.

Derived here. A pass takes curve(new tokens) + kv x cached tokens read + pairs x query-key pairs
scored, and something more if requests begin in it, which engines prepare for. The curve is straight
between knots and never falls; all coefficients are non-negative, found by least squares on relative
errors. Requests are sums of passes, so both kinds of measurement are rows of one system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from headway.errors import InputError
from headway.ideal.request_profile import FloatArray
from headway.measure.measurement import JoinLoad, Measurement, StepLoad
from headway.steptime.roofline import Basis, TimeEstimate
from headway.workload.step import Step

# How strongly neighbouring slopes are held alike; only where no measurement tells them apart.
SMOOTHNESS = 0.02
WIDTH_90 = 1.645
LEAST_SPREAD = 0.02


@dataclass(slots=True, eq=False)
class PassFit:
    """A `StepTimeModel` learned from measurements of one setup; ``fit`` first.

    Attributes:
        knots_: new tokens at which the curve bends, from 1.
        coefficients_: seconds: of the floor, per new token between knots, per cached token read,
            per query-key pair, of a pass that takes in
            prompts.
        spread_: relative standard error of single measurements.

    """

    knots_: FloatArray = field(init=False)
    coefficients_: FloatArray = field(init=False)
    spread_: float = field(init=False)

    def fit(self, measurements: Sequence[Measurement]) -> PassFit:
        """Learn from request-level and step-level ``measurements`` of one setup.

        Raises:
            InputError: there are fewer than four, or of several setups.

        """
        setups = {(m.setup.model, m.setup.engine, m.setup.device) for m in measurements}
        if len(measurements) < 4 or len(setups) != 1:
            raise InputError("a fit of passes needs four measurements or more, all of one setup")
        passes = [_passes(m) for m in measurements]
        self.knots_ = _knots(passes)
        seconds = np.asarray([m.envelope.floor_s.expected for m in measurements])
        rows = np.stack([sum(map(self._summed, several)) for several in passes])
        # Not every engine prepares for new requests: what tells a measurement left out better.
        plain = rows.copy()
        plain[:, -1] = 0.0
        rows = min((plain, rows), key=lambda kind: self._left_out_error(kind, seconds))
        self.coefficients_ = self._solved(rows, seconds)
        off = np.log(rows @ self.coefficients_ / seconds)
        spare = max(len(measurements) - np.count_nonzero(self.coefficients_), 2)
        self.spread_ = max(float(np.sqrt(np.sum(off**2) / spare)), LEAST_SPREAD)
        return self

    def fit_steps(self, steps: Step, seconds: FloatArray) -> PassFit:
        """Learn the mean time of passes from a log: ``steps`` of shape (passes, groups).

        Raises:
            InputError: there are fewer than thirty.

        """
        if seconds.size < 30:
            raise InputError(f"a log of passes needs thirty or more, not {seconds.size}")
        self.knots_ = _knots([(steps,)])
        rows = self._basis(steps)
        # Weights are of what is told, not of what was seen: a pass that was held up must count.
        usual = np.full(seconds.size, float(seconds.mean()))
        for _ in range(3):
            self.coefficients_ = self._solved(rows, seconds, usual)
            usual = np.maximum(rows @ self.coefficients_, 1e-2 * float(seconds.mean()))
        self.spread_ = max(float(np.std(seconds / usual)), LEAST_SPREAD)
        return self

    def step_time(self, step: Step) -> TimeEstimate:
        """Time of ``step``, arrays of its leading shape; components are not told apart."""
        if not hasattr(self, "coefficients_"):
            raise InputError("this PassFit has learned nothing yet; call fit first")
        seconds = np.asarray(self._basis(step) @ self.coefficients_)
        zero = np.zeros_like(seconds)
        factor = float(np.exp(WIDTH_90 * self.spread_))
        return TimeEstimate(
            zero, seconds, zero, zero, seconds, seconds / factor, seconds * factor, Basis.FITTED
        )

    def request_s(self, batch: int, prompt_tokens: int, output_tokens: int) -> float:
        """Seconds of ``batch`` alike requests that run together from prompt to last token."""
        prefill, decode = _request(batch, prompt_tokens, output_tokens)
        whole = self.step_time(prefill).expected_s.sum()
        return float(whole + (self.step_time(decode).expected_s.sum() if decode else 0.0))

    def _basis(self, step: Step) -> FloatArray:
        """What the coefficients are multiplied with, shape (..., coefficients)."""
        sequences, scheduled, computed = _alike(step)
        new = (sequences * scheduled).sum(axis=-1)[..., None]
        widths = np.append(np.diff(self.knots_), np.inf)
        between = np.clip(new - self.knots_, 0.0, widths)
        cached = (sequences * computed).sum(axis=-1)[..., None]
        # Cached keys are read once for all new tokens and scored by each; `cached` has the first.
        later = np.maximum(scheduled - 1, 0)
        scored = (sequences * (scheduled * later / 2 + later * computed)).sum(axis=-1)[..., None]
        begins = (((computed == 0) & (scheduled > 0)) | (scheduled > 1)).any(axis=-1)[..., None]
        parts = [np.ones_like(new), between, cached, scored, begins.astype(np.float64)]
        return np.concatenate(parts, axis=-1)

    def _summed(self, step: Step) -> FloatArray:
        basis = self._basis(step)
        return np.asarray(basis.reshape(-1, basis.shape[-1]).sum(axis=0))

    def _left_out_error(self, rows: FloatArray, seconds: FloatArray) -> float:
        """Root mean square of the relative errors of measurements that were left out in turn."""
        off = []
        for i in range(seconds.size):
            others = np.arange(seconds.size) != i
            told = float(rows[i] @ self._solved(rows[others], seconds[others]))
            off.append(np.log(max(told, 1e-12) / seconds[i]))
        return float(np.sqrt(np.mean(np.square(off))))

    def _solved(
        self, rows: FloatArray, seconds: FloatArray, usual: FloatArray | None = None
    ) -> FloatArray:
        """Least squares of errors relative to ``usual``, by default to ``seconds`` themselves."""
        usual = seconds if usual is None else usual
        weighted = rows / usual[:, None]
        target = seconds / usual
        # A slope is compared with its neighbour over the stretch of the narrower of the two.
        size = float(np.median(seconds / rows[:, : 1 + self.knots_.size].sum(axis=1)))
        held = []
        for i in range(1, self.knots_.size):
            row = np.zeros(rows.shape[1])
            row[i], row[i + 1] = SMOOTHNESS / size, -SMOOTHNESS / size
            held.append(row)
        system = np.vstack([weighted, *held]) if held else weighted
        scale = np.maximum(np.abs(system).max(axis=0), 1e-30)
        solved = non_negative(system / scale, np.append(target, np.zeros(len(held))))
        return np.asarray(solved / scale)


def non_negative(matrix: FloatArray, target: FloatArray) -> FloatArray:
    """The non-negative x that minimizes |matrix x - target| (Lawson and Hanson 1974, ch. 23)."""
    count = matrix.shape[1]
    x, free = np.zeros(count), np.zeros(count, dtype=bool)
    for _ in range(10 * count):
        gradient = matrix.T @ (target - matrix @ x)
        blocked = ~free & (gradient > 1e-10)
        if not blocked.any():
            break
        free[int(np.argmax(np.where(blocked, gradient, -np.inf)))] = True
        while True:
            tried = np.zeros(count)
            tried[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
            wrong = free & (tried <= 0)
            if not wrong.any():
                x = tried
                break
            reach = float(np.min(x[wrong] / np.maximum(x[wrong] - tried[wrong], 1e-300)))
            x = x + min(reach, 1.0) * (tried - x)
            free &= x > 1e-15
            x[~free] = 0.0
    return np.asarray(x)


def _request(batch: int, prompt: int, output: int) -> tuple[Step, Step | None]:
    prefill = Step.prefill(batch, [prompt])
    if output == 1:
        return prefill, None
    return prefill, Step.decode(batch, prompt + np.arange(output - 1))


def _passes(measurement: Measurement) -> tuple[Step, ...]:
    load = measurement.load
    if isinstance(load, StepLoad):
        return (load.step,)
    if isinstance(load, JoinLoad):
        return _join(load)
    prefill, decode = _request(load.batch, load.prompt_tokens, load.output_tokens)
    return (prefill,) if decode is None else (prefill, decode)


def _join(load: JoinLoad) -> tuple[Step, ...]:
    others, one = load.context_tokens, load.prompt_tokens
    steps = [Step.decode(load.batch, [others]).with_group(Step.prefill(1, [one]))]
    later = np.arange(load.output_tokens - 1)
    if later.size:
        decode = Step.decode(load.batch, others + 1 + later)
        steps.append(decode.with_group(Step.decode(1, one + later)))
    steps.append(Step.decode(load.batch, [others + load.output_tokens]))
    return tuple(steps)


def _alike(step: Step) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sequences, scheduled and computed tokens, broadcast to one shape."""
    arrays = (step.num_sequences, step.scheduled_tokens, step.computed_tokens)
    sequences, scheduled, computed = np.broadcast_arrays(*arrays)
    return sequences, scheduled, computed


def _knots(passes: Sequence[tuple[Step, ...]]) -> FloatArray:
    """New tokens that were measured, thinned so that neighbours differ by a quarter or more."""
    steps = [step for several in passes for step in several]
    sizes = np.unique(np.concatenate([np.ravel(step.total_tokens) for step in steps]))
    kept = [1.0]
    for size in sizes:
        if size >= 1.25 * kept[-1]:
            kept.append(float(size))
    # The last stretch goes on beyond what was measured, with the slope before it.
    return np.asarray(kept[:-1] if len(kept) > 2 else kept)
