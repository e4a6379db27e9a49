"""A disaggregated deployment, answered: times, rates, watts, with intervals and their basis.

Intervals are those of the stage that is further from what was measured. The shipped coefficients
were fitted to engines that do both stages, and hold on measured deployments that do not (see
docs/serving.md); only the interval of the time to first token is widened further.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.serving.disaggregated import PREFILL, DisaggregatedTimes, disaggregated_times
from headway.serving.estimate import WIDENING_PER_OCTAVE, ServingQuestion, distance, power
from headway.serving.one_engine import Load, ServingTable, ServingTimes
from headway.serving.two_stages import (
    Disaggregated,
    Workers,
    decode_table,
    prefill_table,
    price_stage,
)
from headway.steptime.calibration import NOVELTIES
from headway.steptime.roofline import Basis
from headway.steptime.work import Array

# Added to the distance of the time to first token, in doublings, which needs it: the mean of the
# measured ones is the mean of a run with its warm-up. The other intervals hold as they are.
FIRST_TOKEN_OCTAVES = 8.0
Pair = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class DisaggregatedEstimate:
    """The answer; intervals from the 10% to the 90% quantile.

    Attributes:
        output_tok_per_s, total_tok_per_s: of all engines, output alone and with prompts.
        power_w: of all accelerators; ``None`` where a TDP is not published.
        prompt_share: of the accelerators, those that prefill: what prompts must pay for.
        octaves: how far outside the measured range the question lies, in doublings.

    """

    times: DisaggregatedTimes
    ttft_s: Pair
    tpot_s: Pair
    e2e_s: Pair
    output_tok_per_s: float
    total_tok_per_s: float
    throughput: Pair
    power_w: float | None
    joules_per_token: float | None
    joules: Pair | None
    prompt_share: float
    octaves: float
    novelty: str
    basis: Basis


def answer_disaggregated(question: Disaggregated) -> DisaggregatedEstimate:
    """Estimate ``question``; raise `DoesNotFitError` where not one sequence fits a stage."""
    calibration, load = question.calibration, question.load
    times = disaggregated_times(question)
    stages = (question.prefill, question.decode)
    novelty = max(
        (calibration.novelty(question.subject(workers)) for workers in stages),
        key=NOVELTIES.index,
    )
    running = np.asarray(max(times.sequences, 1.0))
    decode = decode_table(question, running)
    prefill = prefill_table(question)
    octaves = max(
        _octaves(question, question.prefill, prefill), _octaves(question, question.decode, decode)
    )

    drafts = question.speculation if question.drafted else None

    def interval(value: float, quantity: str, further: float = 0.0) -> Pair:
        wide = 1 + WIDENING_PER_OCTAVE * (octaves + further)
        low, high = calibration.quantiles[novelty][quantity]
        unsure = 0.0 if drafts is None or quantity == "ttft" else drafts.spread
        return (
            float(value * np.exp(-np.hypot(low * wide, unsure))),
            float(value * np.exp(np.hypot(high * wide, unsure))),
        )

    least = float(decode.decode.bound_s / decode.tokens_per_pass)
    tpot = interval(times.tpot_s, "tpot")
    tpot = max(tpot[0], min(least, times.tpot_s)), tpot[1]
    ttft = interval(times.ttft_s, "ttft", FIRST_TOKEN_OCTAVES)
    output = times.requests_per_s * float(load.output_tokens)
    gaps = float(load.output_tokens) - 1
    power_w = _power(question, times, prefill, decode)
    joules = None if power_w is None else calibration.power.run * power_w / output
    return DisaggregatedEstimate(
        times=times,
        ttft_s=ttft,
        tpot_s=tpot,
        e2e_s=(ttft[0] + tpot[0] * gaps, ttft[1] + tpot[1] * gaps),
        output_tok_per_s=output,
        total_tok_per_s=output + times.requests_per_s * float(load.prompt_tokens),
        throughput=interval(output, "throughput"),
        power_w=power_w,
        joules_per_token=joules,
        joules=None if joules is None else interval(joules, "energy"),
        prompt_share=question.prefill.num_accelerators / question.num_accelerators,
        octaves=octaves,
        novelty=novelty,
        basis=Basis.weakest(
            *(calibration.basis(question.subject(workers), octaves) for workers in stages),
            Basis.ASSUMED if drafts is not None and drafts.spread else Basis.MEASURED,
        ),
    )


def _octaves(question: Disaggregated, workers: Workers, table: ServingTable) -> float:
    """How far one engine of a stage, with its share of the users, is from what was measured."""
    load = question.load
    share = np.maximum(load.concurrency / workers.count, 1.0)
    asked = ServingQuestion(
        workers.deployment,
        question.engine,
        Load(load.prompt_tokens, load.output_tokens, share),
        question.limits,
        calibration=question.calibration,
    )
    return float(np.max(distance(asked, table)))


def _power(
    question: Disaggregated, times: DisaggregatedTimes, prefill: ServingTable, decode: ServingTable
) -> float | None:
    """Watts of all accelerators: those of a stage idle when their engine has nothing to do."""
    watts = 0.0
    for workers, table, busy in (
        (question.prefill, prefill, times.use[PREFILL]),
        (question.decode, decode, min(times.sequences, 1.0)),
    ):
        priced, _ = price_stage(question, workers, table)
        asked = ServingQuestion(
            workers.deployment,
            question.engine,
            question.load,
            question.limits,
            calibration=question.calibration,
        )
        prompts = workers is question.prefill
        each = power(asked, table, _only(priced, prompts, busy))
        if each is None:
            return None
        watts += float(np.ravel(each)[-1]) * workers.num_accelerators
    return watts


def _only(times: ServingTimes, prompts: bool, busy: float) -> ServingTimes:
    """Times of an engine that runs steps of one kind, for a fraction ``busy`` of the time."""

    def steps(seconds: Array, here: bool) -> Array:
        return np.asarray(seconds / busy) if here and busy > 0 else np.full_like(seconds, np.inf)

    return replace(
        times,
        decode_step_s=steps(times.decode_step_s, not prompts),
        mixed_step_s=steps(times.mixed_step_s, prompts),
        mixed_share=np.full_like(times.mixed_share, float(prompts)),
    )
