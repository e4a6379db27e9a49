"""Measure a local engine: a list of loads, or what the estimator's doubt asks for next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headway.ideal.adaptive import Progress, Target, measure_until
from headway.measure.harness import Engine, Notice, measure
from headway.measure.measurement import Clock, Load, Measurement, RequestLoad, StepLoad
from headway.measure.meter import meter_of
from headway.report.chart import Chart
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.report.report import Report
from headway.units import GB


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One measured load."""

    load: str = column("load", "what was run, prompt or cached tokens apart")
    batch: int = column("batch", "sequences")
    prompt_tokens: int = column("prompt", "prompt tokens, of a step cached ones")
    output_tokens: int = column("output", "output tokens, of a step new ones")
    undisturbed_s: Estimate = column("time", "undisturbed time", unit="ms", scale=1e3, digits=4)
    min_s: float = column("fastest", "the fastest trial", unit="ms", scale=1e3, digits=4)
    mean_s: float = column("mean", "mean of the trials", unit="ms", scale=1e3)
    num_trials: int = column("trials", "timed runs")
    energy_j: float | None = column("energy", "of one trial, mean", unit="J")
    peak_memory_bytes: float | None = column(
        "memory", "peak during the trials", unit="GB", scale=1 / GB
    )


CHART = Chart(
    x="prompt_tokens",
    y="undisturbed_s",
    series="load",
    legend="the undisturbed time  ·  bars: what it lies between (90%)",
    x_label="prompt or cached tokens",
    y_label="time",
    intervals=True,
)


def profile(
    engine: Engine,
    *,
    prompts: Sequence[int] = (1, 32, 128, 512),
    outputs: Sequence[int] = (1, 16),
    batches: Sequence[int] = (1,),
    within: float | None = None,
    trials: int = 5,
    repeats: int = 3,
    clock: Clock | None = None,
    seed: int = 0,
    notice: Notice = lambda num_runs, total: None,
    notice_progress: Callable[[Progress], object] = lambda progress: None,
) -> tuple[Measurement, ...]:
    """Measure requests and decode steps on ``engine``, joules and memory included.

    Args:
        engine: what runs.
        prompts: prompt tokens of requests, and cached tokens of steps.
        outputs: output tokens of requests.
        batches: sequences of steps.
        within: choose which requests to run, up to the largest prompt and output, until runtimes
            are known within this fraction; the lists are all run where it is ``None``.
        trials: timed rounds.
        repeats: of short loads in each round.
        clock: by default CPU time for one thread on a CPU, which other work on the machine does
            not touch, else wall time.
        seed: of the order in each round.
        notice: called with the number of runs so far and of all.
        notice_progress: called after each chosen request.

    Raises:
        InputError: a list is empty, or a number out of its range.

    """
    setup = engine.setup
    if clock is None:
        one_thread = setup.device == "cpu" and setup.threads == 1
        clock = Clock.PROCESS_CPU if one_thread else Clock.WALL
    meter, _ = meter_of(setup.device.partition(" ")[0])

    def run(loads: Sequence[Load], notice: Notice) -> tuple[Measurement, ...]:
        return measure(
            engine,
            loads,
            trials=trials,
            repeats=repeats,
            clock=clock,
            meter=meter,
            seed=seed,
            notice=notice,
        )

    if within is not None:
        progress = measure_until(
            lambda loads: run(loads, lambda num_runs, total: None),
            Target.up_to(max(prompts), max(outputs)),
            within,
            notice=notice_progress,
        )
        return progress.measurements

    requests = [RequestLoad(1, prompt, output) for prompt in prompts for output in outputs]
    steps = [StepLoad(batch, 1, prompt) for batch in batches for prompt in prompts]
    return run([*requests, *steps], notice)


def profile_report(measurements: Sequence[Measurement]) -> Report[ProfileRow]:
    """Return one row per load, in the order of measuring; notes say what is not known and why."""
    first = measurements[0]
    setup = first.setup

    return Report(
        kind="profile",
        title=f"{setup.model} on {setup.engine}, {setup.device}",
        question={
            "model": setup.model,
            "software": setup.engine,
            "device": setup.device,
            "dtype": setup.dtype,
            "threads": setup.threads,
            "host": setup.host,
            "clock": first.clock.value,
            "measured_at": first.measured_at,
        },
        rows=tuple(_row(measurement) for measurement in measurements),
        notes=(
            "the time is undisturbed, told from the fastest trials; its range holds 90%",
            "weights are random; they take as long as trained ones",
            *_energy_notes(measurements),
            _memory_note(measurements),
        ),
        charts=(CHART,),
    )


def _row(measurement: Measurement) -> ProfileRow:
    load = measurement.load
    if isinstance(load, StepLoad):
        kind = f"step of {load.scheduled_tokens} new tokens"
        before, after = load.computed_tokens, load.scheduled_tokens
    else:
        kind = f"{load.kind} of {load.output_tokens} output tokens"
        before, after = load.prompt_tokens, load.output_tokens

    return ProfileRow(
        load=kind if load.batch == 1 else f"{kind}, batch {load.batch}",
        batch=load.batch,
        prompt_tokens=before,
        output_tokens=after,
        undisturbed_s=measurement.envelope.floor_s.estimate(0.9),
        min_s=measurement.min_s,
        mean_s=measurement.mean_s,
        num_trials=len(measurement.trials_s),
        energy_j=measurement.energy_j,
        peak_memory_bytes=measurement.peak_memory_bytes,
    )


def _energy_notes(measurements: Sequence[Measurement]) -> list[str]:
    meters = sorted({m.meter for m in measurements if m.meter is not None})
    notes = [
        f"joules are the mean of the trials by {meter}, all work on that device included"
        for meter in meters
    ]

    num_without = sum(m.energy_j is None for m in measurements)
    if num_without:
        _, why_no_meter = meter_of(measurements[0].setup.device.partition(" ")[0])
        why = why_no_meter or "the trials were too short for the counter; more of them would tell"
        notes.append(f"joules of {num_without} of {len(measurements)} loads are not known: {why}")
    return notes


def _memory_note(measurements: Sequence[Measurement]) -> str:
    if any(m.peak_memory_bytes is None for m in measurements):
        return "peak memory is not known: this system does not let it be counted anew"
    if measurements[0].setup.device.startswith("cuda"):
        return "peak memory is what torch held on the device"
    return "peak memory is that of the whole process, Python included"
