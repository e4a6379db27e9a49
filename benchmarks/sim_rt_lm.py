"""RT-LM's claims, re-examined: how much the answer depends on what is not known of its setting.

`headway papers rt-lm table --full` makes the table itself. Here the uncertain parts are changed one
at a time, at a load of 1.3 with predictions of tau 0.35: what a further sequence costs, how long
prompts take, how large batches are, how slow the second engine is.

    python benchmarks/sim_rt_lm.py
"""

from __future__ import annotations

import json
from dataclasses import replace

from headway.papers.rt_lm_2023.language_models import LANGUAGE_MODELS, LanguageModel
from headway.papers.rt_lm_2023.report import WayRow, ways_report
from headway.papers.rt_lm_2023.table import Settings
from headway.papers.rt_lm_2023.ways import IN_ORDER, NEAREST, Way
from headway.sim.static_batch import BatchTime

SHOWN = (Way("up"), Way("fifo", NEAREST), Way("fifo", NEAREST, offload=True))
USUAL = Settings(loads=(1.3,), skills=(0.35,), seeds=3)


def with_paces(*, further: float = 1.0, prompts: float = 1.0) -> tuple[LanguageModel, ...]:
    """Return the models with other costs of a further sequence, and of prompts."""

    def changed(time: BatchTime) -> BatchTime:
        return BatchTime(
            fixed_s=time.fixed_s * prompts,
            request_s=time.request_s * prompts * further,
            token_s=time.token_s,
            token_request_s=time.token_request_s * further,
        )

    return tuple(
        replace(model, gpu=changed(model.gpu), cpu=changed(model.cpu)) for model in LANGUAGE_MODELS
    )


CASES = {
    "as it is": USUAL,
    "a further sequence is free": replace(USUAL, models=with_paces(further=0.0)),
    "a further sequence costs half": replace(USUAL, models=with_paces(further=0.5)),
    "a further sequence costs five times as much": replace(USUAL, models=with_paces(further=5.0)),
    "prompts take three times as long": replace(USUAL, models=with_paces(prompts=3.0)),
    "batches of 4": replace(USUAL, max_batch=4),
    "batches of 32": replace(USUAL, max_batch=32, num_requests=3200),
    "second engine 2 times slower": replace(USUAL, slower=2.0),
    "second engine 8 times slower": replace(USUAL, slower=8.0),
    "second engine 25 times slower": replace(USUAL, slower=25.0),
}


def words(row: WayRow) -> str:
    """Return the middle and the range of mean and throughput."""
    parts = [
        f"{change.expected:+.0%} ({change.lower:+.0%}..{change.upper:+.0%})"
        for change in (row.mean_vs_fifo, row.throughput_vs_fifo)
    ]
    return f"mean {parts[0]:<22} throughput {parts[1]:<20} lower in {row.lower_mean}/{row.cells}"


def main() -> None:
    result: dict[str, dict[str, list[float]]] = {}
    for case, settings in CASES.items():
        print(f"\n{case}")
        result[case] = {}
        for row in ways_report(settings).rows:
            way = Way(row.order, row.batches, row.offload)
            if way not in SHOWN or row.predictions == "shuffled":
                continue

            name = row.order + (f" {row.batches}" if row.batches != IN_ORDER else "")
            name += " + offload" if row.offload else ""
            print(f"  {name:<24} {words(row)}", flush=True)
            result[case][name] = [
                round(value, 4)
                for change in (row.mean_vs_fifo, row.throughput_vs_fifo)
                for value in (change.expected, change.lower, change.upper)
            ]
    print(json.dumps({"benchmark": "sim_rt_lm", "relative_to_fifo": result}))


if __name__ == "__main__":
    main()
