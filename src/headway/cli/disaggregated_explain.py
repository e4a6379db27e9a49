"""`explain --disaggregate`: where the time of a token goes over two stages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from headway.cli.disaggregated import AUTO, NOTES, engines, question_row, split_of, stages
from headway.cli.serving import question_of
from headway.cli.show import number
from headway.errors import InputError
from headway.frontier.answer import sources
from headway.report.report import Report, Row
from headway.serving.disaggregated import disaggregated_times
from headway.serving.two_stages import Disaggregated
from headway.steptime.parallelism import Parallelism


def explained_report(
    load: dict[str, Any], layout: Parallelism | None, options: dict[str, Any]
) -> Report:
    """Where the time to the first and to each further token goes, and what would change it."""
    base, tariff, notes = question_of(load, layout, options)
    asked, _ = stages(base, tariff, load, base.deployment.parallelism)
    if load["disaggregate"] == AUTO:
        raise InputError("explain takes one split, such as --disaggregate 2x1; estimate finds it")
    split = split_of(asked, *engines(load["disaggregate"]))
    times = disaggregated_times(split)
    first = {
        "waiting": times.wait_s,
        "handing over and engine": times.handling_s,
        "prefill": times.prefill_s,
        "cache not hidden": times.transfer_s,
    }
    rows: list[Row] = [
        {"part": f"first token: {name}", "seconds": seconds, "share": seconds / times.ttft_s}
        for name, seconds in sorted(first.items(), key=lambda part: -part[1])
    ]
    rows += [{"part": f"in use: {name}", "share": use} for name, use in times.use.items()]
    for name, other in changed(split):
        after = disaggregated_times(other)
        per_chip = split.num_accelerators / other.num_accelerators
        rows.append(
            {
                "part": f"with {name}",
                "ttft_change": after.ttft_s / times.ttft_s - 1,
                "tpot_change": after.tpot_s / times.tpot_s - 1,
                "throughput_change": after.requests_per_s / times.requests_per_s * per_chip - 1,
            }
        )
    d = base.deployment
    return Report(
        kind="explanation",
        title=f"{d.model.name} in {d.precision}, {load['disaggregate']} engines of prefill and "
        f"decode with {base.engine}: {number(times.ttft_s * 1e3)} ms to the first token, "
        f"{number(times.tpot_s * 1e3)} ms per token",
        question=question_row(load, base, asked),
        rows=tuple(rows),
        notes=("throughput is per accelerator", *NOTES, *notes),
        sources=sources([d.cluster]),
    )


def changed(split: Disaggregated) -> Iterator[tuple[str, Disaggregated]]:
    """What one might do instead."""
    prefill, decode = split.prefill.count, split.decode.count
    yield "one prefill engine more", split_of(split, prefill + 1, decode)
    yield "one decode engine more", split_of(split, prefill, decode + 1)
    faster = replace(split.link, bandwidth_bytes_per_s=split.link.bandwidth_bytes_per_s * 2)
    yield "link bandwidth x2", replace(split, link=faster)
    if split.overlapped:
        yield "the cache sent after the prompt", replace(split, overlapped=False)
