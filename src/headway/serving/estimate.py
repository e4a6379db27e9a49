"""A load on a deployment, answered: times, throughput, dollars and joules, with intervals.

Times come from the calibrated model. Intervals are the quantiles of what it missed on points it
had not seen (split conformal, by group: Vovk et al. 2005, section 4.5; Angelopoulos and Bates
2021), taken from the kind of novelty the question has, and widened with its distance from the
measured range.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headway.errors import DoesNotFitError
from headway.serving.one_engine import (
    Limits,
    Load,
    ServingTable,
    ServingTimes,
    serving_times,
    tabulate_serving,
)
from headway.steptime.calibration import Calibration, Subject, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.roofline import Basis
from headway.steptime.speculative import Speculation
from headway.steptime.work import Array

WIDENING_PER_OCTAVE = 0.15
Interval = tuple[Array, Array]


@dataclass(frozen=True, slots=True, eq=False)
class ServingQuestion:
    """A load on a deployment, run by a measured engine; the load's arrays broadcast.

    Attributes:
        engine: as the calibration names it ("vllm", "sglang", "tensorrt-llm").
        drafted: tokens drafted per pass by ``speculation``, 0 for none.

    """

    deployment: Deployment
    engine: str
    load: Load
    limits: Limits
    speculation: Speculation | None = None
    drafted: int = 0
    calibration: Calibration = field(default_factory=shipped)

    @property
    def subject(self) -> Subject:
        """The names by which the calibration knows the question."""
        d = self.deployment
        return Subject.of(d.cluster.accelerator, self.engine, d.model, d.precision.weights.value)


@dataclass(frozen=True, slots=True, eq=False)
class ServingEstimate:
    """The answer; arrays of the broadcast shape, intervals from the 10% to the 90% quantile.

    Attributes:
        output_tok_per_s, total_tok_per_s: of the whole engine, output alone and with prompts.
        power_w: of one accelerator; ``None`` where its TDP is not published, and then
            ``joules_per_token``, of all accelerators per output token, too.
        octaves: how far outside the measured range the question lies, in doublings.
        basis: the weakest of what it rests on.

    """

    table: ServingTable
    times: ServingTimes
    theta: Array
    stretch: float
    ttft_s: Interval
    tpot_s: Interval
    e2e_s: Interval
    output_tok_per_s: Array
    total_tok_per_s: Array
    throughput: Interval
    power_w: Array | None
    joules_per_token: Array | None
    joules: Interval | None
    octaves: Array
    novelty: str
    basis: Basis

    @property
    def prompt_share(self) -> Array:
        """Fraction of the engine's time that prompts take: what their tokens must pay."""
        table, times = self.table, self.times
        own_s = times.mixed_step_s - np.where(table.mixes > 0, times.decode_step_s, 0.0)
        busy_s = np.maximum(own_s, 0.0) * table.prompt_steps / table.prompts_per_step
        return np.asarray(np.minimum(times.requests_per_s * busy_s, 1.0))


def answer(question: ServingQuestion) -> ServingEstimate:
    """Estimate ``question``; raise `DoesNotFitError` where not one sequence fits anywhere."""
    d, load, calibration = question.deployment, question.load, question.calibration
    logs, stretch = calibration.logs(question.subject)
    table = tabulate_serving(d, load, question.limits, question.speculation, question.drafted)
    if np.all(table.starved):
        longest = float(np.max(load.mean_context_tokens))
        d.check_fit(int(np.max(d.parallelism.dp)), longest)
        raise DoesNotFitError(f"{d.model.name} does not fit", 0.0)
    theta = np.exp(logs)
    times = serving_times(table, theta, np.exp(stretch))
    novelty = calibration.novelty(question.subject)
    octaves = distance(question, table)
    wide = 1 + WIDENING_PER_OCTAVE * octaves

    drafts = question.speculation if question.drafted else None

    def interval(value: Array, quantity: str) -> Interval:
        low, high = calibration.quantiles[novelty][quantity]
        unsure = 0.0 if drafts is None or quantity == "ttft" else drafts.spread
        return (
            value * np.exp(-np.hypot(low * wide, unsure)),
            value * np.exp(np.hypot(high * wide, unsure)),
        )

    # No machine with this data sheet is faster, whatever the quantile says.
    least = table.decode.bound_s / table.tokens_per_pass
    tpot = interval(times.tpot_s, "tpot")
    tpot = np.maximum(tpot[0], np.minimum(least, times.tpot_s)), tpot[1]
    ttft = interval(times.ttft_s, "ttft")
    output = times.requests_per_s * table.output_tokens
    power_w = power(question, table, times)
    joules = joules_per_token = None
    if power_w is not None:
        all_w = power_w * table.num_accelerators
        joules_per_token = np.asarray(calibration.power.run * all_w / output)
        joules = interval(joules_per_token, "energy")
    return ServingEstimate(
        table=table,
        times=times,
        theta=theta,
        stretch=stretch,
        ttft_s=ttft,
        tpot_s=tpot,
        e2e_s=(ttft[0] + tpot[0] * table.gaps, ttft[1] + tpot[1] * table.gaps),
        output_tok_per_s=output,
        total_tok_per_s=times.requests_per_s * table.total_tokens,
        throughput=interval(output, "throughput"),
        power_w=power_w,
        joules_per_token=joules_per_token,
        joules=joules,
        octaves=octaves,
        novelty=novelty,
        basis=Basis.weakest(
            calibration.basis(question.subject, float(np.max(octaves))),
            Basis.ASSUMED if drafts is not None and drafts.spread else Basis.MEASURED,
        ),
    )


def power(question: ServingQuestion, table: ServingTable, times: ServingTimes) -> Array | None:
    """Watts of one accelerator, from how much of its peaks the load uses."""
    accelerator = question.deployment.cluster.accelerator
    if accelerator.tdp_w is None:
        return None
    arithmetic, memory = uses(table, times)
    return question.calibration.power.power_w(accelerator, arithmetic, memory)


def uses(table: ServingTable, times: ServingTimes) -> tuple[Array, Array]:
    """Fractions of the dense peak and of the memory bandwidth in use, over decode and prompts."""
    share = times.mixed_share
    found = []
    for names in (("arithmetic_s",), ("weight_s", "cache_s")):
        decode = sum(getattr(table.decode, name).sum(axis=-1) for name in names)
        mixed = sum(getattr(table.mixed, name).sum(axis=-1) for name in names)
        use = (1 - share) * decode / times.decode_step_s + share * mixed / times.mixed_step_s
        found.append(np.minimum(use, 1.0))
    return found[0], found[1]


def distance(question: ServingQuestion, table: ServingTable) -> Array:
    """Doublings by which the question leaves the measured range, all quantities together."""
    octaves = np.zeros(())
    for name, values in extent(question.load, table).items():
        low, high = question.calibration.ranges[name]
        octaves = (
            octaves + np.maximum(np.log2(low / values), 0) + np.maximum(np.log2(values / high), 0)
        )
    return np.asarray(octaves)


def extent(load: Load, table: ServingTable) -> dict[str, Array]:
    """The quantities whose measured range is kept."""
    return {
        "prompt_tokens": load.prompt_tokens,
        "output_tokens": load.output_tokens,
        "concurrency": load.concurrency,
        "num_accelerators": table.num_accelerators,
    }
