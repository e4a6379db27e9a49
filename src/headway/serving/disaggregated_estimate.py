"""A disaggregated deployment, answered: times, rates, watts, with intervals and their basis.

Intervals are those of the stage that is further from what was measured. The shipped coefficients
were fitted to engines that do both stages, and hold on measured deployments that do not (see
docs/serving.md); only the interval of the time to first token is widened further.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.serving.answer_doubt import AnswerDoubt
from headway.serving.closed_loop import ClosedLoop
from headway.serving.disaggregated import PREFILL, DisaggregatedTimes, disaggregated_times
from headway.serving.load_times import LoadTimes
from headway.serving.quantity import Quantity
from headway.serving.served_load import peak_use
from headway.serving.two_stages import (
    StageTimes,
    TwoStages,
    Workers,
    decode_times,
    prefill_times,
)
from headway.steptime.time_estimate import Basis
from headway.steptime.work import Array

# By which the interval of the time to first token is wider, which needs it: the mean of the
# measured ones is the mean of a run with its warm-up. The other intervals hold as they are.
FIRST_TOKEN_WIDENING = 2.2


@dataclass(frozen=True, slots=True, eq=False)
class DisaggregatedEstimate:
    """The answer, scalar.

    Attributes:
        output_tok_per_s, total_tok_per_s: of all engines, output alone and with prompts.
        power_w: of all accelerators; ``None`` where a TDP is not published.
        joules_per_token: of all accelerators per output token; ``None`` with the power.
        octaves: how far outside the measured range the question lies, in doublings.
        words: what of it was measured.

    """

    stages: TwoStages
    loop: ClosedLoop
    times: DisaggregatedTimes
    ttft_s: Quantity
    tpot_s: Quantity
    e2e_s: Quantity
    output_tok_per_s: Quantity
    total_tok_per_s: float
    power_w: float | None
    joules_per_token: Quantity | None
    octaves: float
    words: str

    @property
    def prompt_share(self) -> float:
        """Share of the accelerators that prefill: what prompts must pay for."""
        return self.stages.prefill.num_accelerators / self.stages.num_accelerators

    @property
    def basis(self) -> Basis:
        """The weakest of what the times rest on."""
        return self.tpot_s.basis


def serve_disaggregated(stages: TwoStages, loop: ClosedLoop) -> DisaggregatedEstimate:
    """Return what ``loop`` takes on ``stages``.

    Raises:
        DoesNotFitError: not one sequence fits a stage.
        InputError: the load has arrays, or a stage names no measured engine.

    """
    if not (stages.prefill.deployment.is_measured and stages.decode.deployment.is_measured):
        raise InputError("two stages need a measured engine, such as --engine vllm")
    times = disaggregated_times(stages, loop)
    prefill = prefill_times(stages, loop)
    decode = decode_times(stages, loop, np.asarray(max(times.sequences, 1.0)))
    doubt = _doubt(stages, loop, prefill, decode)

    def estimate(quantity: str, value: float) -> Quantity:
        array = np.asarray(value)
        return doubt.around(quantity, array, array, array)

    # No machine with this data sheet is faster, whatever the quantile says.
    tpot_s = estimate("tpot", times.tpot_s)
    assert decode.decode.bound is not None  # a measured engine counts its work
    bound_s = decode.decode.bound.total_s / decode.shape.tokens_per_pass
    tpot_s = tpot_s.at_least(bound_s)

    ttft_s = estimate("ttft", times.ttft_s)
    output_tok_per_s = times.requests_per_s * float(loop.output_tokens)
    gaps = float(loop.output_tokens) - 1
    power_w = _power_w(stages, times, prefill, decode)
    joules = None
    if power_w is not None:
        run = stages.decode.deployment.calibration.power.run
        joules = estimate("energy", run * power_w / output_tok_per_s)
    return DisaggregatedEstimate(
        stages=stages,
        loop=loop,
        times=times,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        e2e_s=replace(
            ttft_s,
            expected=np.asarray(times.e2e_s),
            lower=np.asarray(ttft_s.lower + tpot_s.lower * gaps),
            upper=np.asarray(ttft_s.upper + tpot_s.upper * gaps),
        ),
        output_tok_per_s=estimate("throughput", output_tok_per_s),
        total_tok_per_s=output_tok_per_s + times.requests_per_s * float(loop.prompt_tokens),
        power_w=power_w,
        joules_per_token=joules,
        octaves=float(doubt.octaves),
        words=doubt.words,
    )


def _doubt(
    stages: TwoStages, loop: ClosedLoop, prefill: StageTimes, decode: StageTimes
) -> AnswerDoubt:
    """The doubt of the stage that is further from what was measured, in each respect."""
    doubts = [
        _stage_doubt(loop, workers, stage)
        for workers, stage in ((stages.prefill, prefill), (stages.decode, decode))
    ]
    newest = max(doubts, key=lambda doubt: doubt.half_width("tpot"))
    return replace(
        newest.wider("ttft", FIRST_TOKEN_WIDENING),
        octaves=np.asarray(max(float(np.max(doubt.octaves)) for doubt in doubts)),
        draft_spread=doubts[1].draft_spread,
        bases=np.asarray(Basis.weakest(*(doubt.basis for doubt in doubts)), dtype=object),
        ttft_bases=np.asarray(
            Basis.weakest(*(b for doubt in doubts for b in doubt.ttft_bases.ravel().tolist())),
            dtype=object,
        ),
    )


def _stage_doubt(loop: ClosedLoop, workers: Workers, stage: StageTimes) -> AnswerDoubt:
    """The doubt of one engine of a stage with its share of the users, where it is largest."""
    share = np.maximum(loop.concurrency / workers.count, 1.0)
    each = ClosedLoop(loop.prompt_tokens, loop.output_tokens, share)
    return AnswerDoubt.of(
        workers.deployment, each, shape=stage.shape, times=stage.times, step=stage.decode
    ).largest()


def _power_w(
    stages: TwoStages, times: DisaggregatedTimes, prefill: StageTimes, decode: StageTimes
) -> float | None:
    """Watts of all accelerators: those of a stage idle when their engine has nothing to do."""
    watts = 0.0
    for workers, stage, busy in (
        (stages.prefill, prefill, times.use[PREFILL]),
        (stages.decode, decode, min(times.sequences, 1.0)),
    ):
        accelerator = workers.deployment.cluster.accelerator
        stage_times = _only(stage.times, prompts=workers is stages.prefill, busy=busy)
        use = peak_use(stage.decode.bound, stage.mixed.bound, stage_times)
        if accelerator.tdp_w is None or use is None:
            return None
        each_w = workers.deployment.calibration.power.power_w(accelerator, *use)
        watts += float(np.ravel(each_w)[-1]) * workers.num_accelerators
    return watts


def _only(times: LoadTimes, *, prompts: bool, busy: float) -> LoadTimes:
    """Return the times of an engine that runs steps of one kind, for a fraction ``busy``."""

    def steps(seconds: Array, runs: bool) -> Array:
        return np.asarray(seconds / busy) if runs and busy > 0 else np.full_like(seconds, np.inf)

    return replace(
        times,
        decode_step_s=steps(times.decode_step_s, not prompts),
        mixed_step_s=steps(times.mixed_step_s, prompts),
        mixed_share=np.full_like(times.mixed_share, float(prompts)),
    )
