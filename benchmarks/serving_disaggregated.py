"""Measured disaggregated deployments against the model, which was fitted to none of them.

The shipped coefficients come from engines that do both stages; hardware and models of these rows
are among them or not. Data-parallel attention is published as one flag, and not by every
collection of the same runs; it is read as that of both stages. The link is the one inside the rack
or node, where both stages fit into it, else the one between nodes.

    python benchmarks/serving_disaggregated.py ../shared/data/measured/measured.csv.gz
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headway.errors import HeadwayError, InputError
from headway.hardware.cluster import Cluster, Link
from headway.serving.closed_loop import ClosedLoop
from headway.serving.disaggregated_estimate import DisaggregatedEstimate, serve_disaggregated
from headway.serving.two_stages import TwoStages, Workers
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism
from headway.steptime.work import Array
from tools import published_points as data

YES = ("1.0", "1")
SAME = (
    *("model", "hardware", "engine", "weight_precision", "input_len", "output_len"),
    *("prefill_workers", "prefill_tp", "prefill_ep"),
    *("decode_workers", "decode_tp", "decode_ep"),
)
QUANTITIES = ("tpot", "throughput", "mean_ttft", "ttft")


@dataclass(frozen=True)
class Measured:
    """One row: what was asked, and what was measured; ``nan`` where it was not."""

    question: TwoStages
    load: ClosedLoop
    engine: str
    hardware: str
    model: str
    values: Mapping[str, float]


def link_of(cluster: Cluster, accelerators: int) -> Link:
    return next((x for x in cluster.links if x.domain_size >= accelerators), cluster.links[-1])


def key(row: data.Row) -> tuple[str, ...]:
    """What two collections of the same run agree on."""
    return tuple(row[name].rpartition("/")[2] for name in SAME)


def attention_apart(path: Path) -> dict[tuple[str, ...], bool]:
    """Whether attention is data-parallel, by configuration, where a collection says so."""
    return {
        key(row): row["dp_attn"] in YES
        for row in data.rows_of(path)
        if row["mode"] == "disagg" and row["dp_attn"] and row["source"] in data.SERVING_SOURCES
    }


def workers_of(row: data.Row, stage: str, cluster: Cluster, apart: bool) -> Workers:
    count, tp = int(float(row[f"{stage}_workers"])), int(float(row[f"{stage}_tp"]))
    ep, accelerators = int(float(row[f"{stage}_ep"])), int(float(row[f"n_{stage}_gpus"]))
    if count * tp != accelerators:
        raise InputError("engines x tp is not the accelerators of the stage")
    _, model = data.find_measured(row["model"])
    precision = data._precision(
        row["model"], row["weight_precision"], row["hardware"], row["engine"]
    )
    layout = Parallelism(1, 1, tp, tp) if apart and tp > 1 else Parallelism(tp, 1, 1, ep)
    engine = row["engine"].lower().split(" ")[0]
    return Workers(
        Deployment(model, cluster, parallelism=layout, precision=precision, engine=engine), count
    )


def read(path: Path, left_out: Counter[str]) -> Iterator[Measured]:
    known = attention_apart(path)
    for row in data.rows_of(path):
        if row["mode"] != "disagg" or row["source"] not in data.SERVING_SOURCES:
            continue
        if row["quality_flag"]:
            left_out["flagged: " + row["quality_flag"][:40]] += 1
        elif row["spec_decode"] != "none":
            left_out["tokens drafted"] += 1
        elif row["hardware"] not in data.HARDWARE or not row["n_prefill_gpus"]:
            left_out["accelerators of a stage not published"] += 1
        elif key(row) not in known:
            left_out["data-parallel attention or not is not published"] += 1
        else:
            try:
                yield measured(row, known[key(row)])
            except InputError as error:
                left_out[str(error)[:70]] += 1


def measured(row: data.Row, apart: bool) -> Measured:
    cluster = data._cluster(row["hardware"])
    prefill, decode = (workers_of(row, stage, cluster, apart) for stage in ("prefill", "decode"))
    engine = row["engine"].lower().split(" ")[0]
    load = ClosedLoop(
        float(row["input_len_actual"] or row["input_len"]),
        float(row["output_len_actual"] or row["output_len"]),
        float(row["concurrency"]),
    )
    accelerators = prefill.num_accelerators + decode.num_accelerators
    question = TwoStages(prefill, decode, link_of(cluster, accelerators))

    def value(name: str, scale: float) -> float:
        return float(row[name]) * scale if row[name] else np.nan

    mean = row["ttft_stat"].startswith("mean")
    ttft = value("ttft_ms", 1e-3)
    return Measured(
        question,
        load,
        engine,
        cluster.name,
        prefill.deployment.model.name,
        {
            "tpot": value("tpot_ms", 1e-3),
            "throughput": value("tput_total_tok_s_gpu", accelerators),
            "ttft": np.nan if mean else ttft,
            "mean_ttft": ttft if mean else np.nan,
        },
    )


def said(found: DisaggregatedEstimate) -> dict[str, tuple[float, float, float]]:
    """Value and interval by quantity."""
    times = found.times
    scale = found.total_tok_per_s / float(found.output_tok_per_s)
    low, high = float(found.output_tok_per_s.lower), float(found.output_tok_per_s.upper)
    tpot = float(found.tpot_s.lower), float(found.tpot_s.upper)
    ttft = float(found.ttft_s.lower), float(found.ttft_s.upper)
    later = times.mean_ttft_s - times.ttft_s
    return {
        "tpot": (times.tpot_s, *tpot),
        "throughput": (found.total_tok_per_s, low * scale, high * scale),
        "ttft": (times.ttft_s, *ttft),
        "mean_ttft": (times.mean_ttft_s, ttft[0] + later, ttft[1] + later),
    }


def line(label: str, truth: Array, answers: Array) -> str:
    off = np.abs(answers[:, 0] / truth - 1)
    inside = (truth >= answers[:, 1]) & (truth <= answers[:, 2])
    bias = np.exp(np.median(np.log(answers[:, 0] / truth))) - 1
    width = np.median(answers[:, 2] / answers[:, 1])
    return (
        f"| {label} | {len(truth)} | {off.mean() * 100:.1f}% | {np.median(off) * 100:.1f}% | "
        f"{np.mean(off <= 0.25) * 100:.0f}% | {bias * 100:+.0f}% | {inside.mean() * 100:.0f}% | "
        f"x{width:.2f} |"
    )


def main() -> None:
    left_out: Counter[str] = Counter()
    rows: list[tuple[Measured, dict[str, tuple[float, float, float]]]] = []
    binds: Counter[str] = Counter()
    for point in read(Path(sys.argv[1]), left_out):
        try:
            found = serve_disaggregated(point.question, point.load)
        except HeadwayError as error:
            left_out[str(error)[:70]] += 1
            continue
        binds[found.times.binds] += 1
        rows.append((point, said(found)))
    print(f"{len(rows)} points; binds {dict(binds)}; left out {dict(left_out)}")
    groups: Mapping[str, Callable[[Measured], str]] = {
        "all": lambda m: "all",
        "engine": lambda m: m.engine,
        "hardware": lambda m: m.hardware,
        "model": lambda m: m.model,
    }
    print("| quantity, group | points | MAPE | median | within 25% | bias | holds | width |")
    print("|---|---|---|---|---|---|---|---|")
    for quantity in QUANTITIES:
        for group in groups.values():
            for name in sorted({group(point) for point, _ in rows}):
                pairs = [
                    (point.values[quantity], answer[quantity])
                    for point, answer in rows
                    if group(point) == name and np.isfinite(point.values[quantity])
                ]
                if pairs:
                    truth = np.array([t for t, _ in pairs])
                    print(line(f"{quantity}, {name}", truth, np.array([a for _, a in pairs])))


if __name__ == "__main__":
    main()
