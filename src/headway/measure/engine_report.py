"""Measurements as a report."""

from __future__ import annotations

from collections.abc import Sequence

from headway.measure.measurement import Load, Measurement, StepLoad
from headway.report.report import Report, Row


def measurements_report(measurements: Sequence[Measurement], why_no_energy: str = "") -> Report:
    """One row per measured load, in the order of measuring; notes say what is not known and why."""
    setup = measurements[0].setup
    rows: list[Row] = []
    for m in measurements:
        load, floor = m.load, m.envelope.floor_s
        before, after = (
            (load.computed_tokens, load.scheduled_tokens)
            if isinstance(load, StepLoad)
            else (load.prompt_tokens, load.output_tokens)
        )
        rows.append(
            {
                "what": _what(load),
                "load": load.kind,
                "batch": load.batch,
                "prompt_tokens": before,
                "output_tokens": after,
                "duration_s": m.duration_s,
                "duration_s_lower": floor.lower,
                "duration_s_upper": floor.upper,
                "mean_s": sum(m.trials_s) / len(m.trials_s),
                "trials": len(m.trials_s),
                "energy_j": m.energy_j,
                "peak_memory_bytes": m.peak_memory_bytes,
            }
        )
    return Report(
        "profile",
        f"{setup.model} on {setup.engine}, {setup.device}",
        {
            "model": setup.model, "engine": setup.engine, "device": setup.device,
            "dtype": setup.dtype, "threads": setup.threads, "host": setup.host,
            "clock": measurements[0].clock.value, "measured_at": measurements[0].measured_at,
        },
        tuple(rows),
        notes=(
            "seconds are the least of the trials, the range is of the undisturbed time (90%)",
            "weights are random; they take as long as trained ones",
            *_on_joules(measurements, why_no_energy),
            *_on_memory(measurements),
        ),
    )  # fmt: skip


def _what(load: Load) -> str:
    """The loads that differ in their prompt or cached tokens only."""
    batch = "" if load.batch == 1 else f", batch {load.batch}"
    if isinstance(load, StepLoad):
        return f"step of {load.scheduled_tokens} new tokens{batch}"
    return f"{load.kind} of {load.output_tokens} output tokens{batch}"


def _on_joules(measurements: Sequence[Measurement], why_none: str) -> list[str]:
    sources = sorted({m.meter for m in measurements if m.meter is not None})
    without = sum(m.energy_j is None for m in measurements)
    said = [
        f"joules are the mean of the trials by {source}, all work on that device included"
        for source in sources
    ]
    if without:
        why = why_none or "the trials were too short for the counter; more of them would tell"
        said.append(f"joules of {without} of {len(measurements)} loads are not known: {why}")
    return said


def _on_memory(measurements: Sequence[Measurement]) -> list[str]:
    if any(m.peak_memory_bytes is None for m in measurements):
        return ["peak memory is not known: this system does not let it be counted anew"]
    on_gpu = measurements[0].setup.device.startswith("cuda")
    held = "by torch on the device" if on_gpu else "by the whole process, Python included"
    return [f"peak memory is what was held {held}"]
