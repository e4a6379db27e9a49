"""RT-LM's claims, re-examined: what knowing lengths is worth to small models in static batches.

The setting of Li et al. 2023 as far as it is known: small dialogue models, batches that last as
long as their longest answer, Poisson arrivals, low, normal and high variance of the uncertainty,
malicious prompts that lengthen answers. Latency coefficients are measured (QASlow's logs):
DialoGPT .60 s + 4.7 ms/token, BART .054 s + 4.9 ms/token. Lengths are lognormal around the means of
those logs (the logs themselves have no licence and are not used). Predictions have skill tau .35,
what a rule-based predictor reaches in-distribution, cost .3 ms each, and are also dealt out at
random as a control.

    python benchmarks/sim_rt_lm.py
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import numpy as np

from headway.schedule.consolidate import Consolidation
from headway.schedule.offload import Offload
from headway.schedule.order import Fcfs, HighestResponseRatio, OrderPolicy
from headway.schedule.uncertain import HighestPriorityPoint, LeastUncertain, UncertaintyAware
from headway.schedule.view import ServiceTime, View
from headway.sim.predictions import quantiles, shuffled, view_of
from headway.sim.static_batch import BatchTime, Second, serve_batches
from headway.workload.aggregate import paired
from headway.workload.oracle import Floats, Trace

SEEDS, COUNT, BATCH, TAU, OVERHEAD_S, LOAD = 10, 1200, 8, 0.35, 0.3e-3, 0.85
MODELS = {
    "DialoGPT": (BatchTime(0.60, 0.0047), 45.0),
    "BART": (BatchTime(0.054, 0.0049), 13.0),
}
SPREADS = {"low": 0.2, "normal": 0.6, "high": 1.0}  # standard deviation of the log of the length


@dataclass(frozen=True)
class Way:
    """One row of the ablation."""

    name: str
    policy: OrderPolicy
    rule: Consolidation
    offload: bool = False
    control: bool = False
    predicts: bool = True


def ways(service: ServiceTime, mean_s: float) -> list[Way]:
    plain = Consolidation(BATCH)
    alike = Consolidation(BATCH, 1.5, 0.2)
    loose = Consolidation(BATCH, 3.0, 0.0)
    up = UncertaintyAware(0.5, 10 * mean_s, 0.0, mean_s)
    return [
        Way("FIFO", Fcfs(), plain, predicts=False),
        Way("HPF", HighestPriorityPoint(0.01), plain, predicts=False),
        Way("LUF", LeastUncertain(), plain),
        Way("MUF", LeastUncertain(True, "muf"), plain),
        Way("UP (RT-LM priority)", up, plain),
        Way("UP + consolidation 1.5", up, alike),
        Way("UP + consolidation 3", up, loose),
        Way("UP + cons. + offload", up, loose, offload=True),
        Way("UP + cons. + off., shuffled", up, loose, offload=True, control=True),
        Way("LUF, shuffled", LeastUncertain(), plain, control=True),
        Way("HRRN", HighestResponseRatio(), plain),
        Way("HRRN + offload", HighestResponseRatio(), plain, offload=True),
    ]


def lengths(mean: float, spread: float, malicious: float, seed: int) -> tuple[Floats, Floats]:
    """True lengths, and which are malicious: these are four times as long."""
    random = np.random.default_rng([seed, 3])
    drawn = mean * random.lognormal(-(spread**2) / 2, spread, COUNT)
    evil = random.random(COUNT) < malicious
    return np.maximum(np.rint(drawn * np.where(evil, 4.0, 1.0)), 1), evil.astype(np.float64)


def world(model: str, spread: str, malicious: float, seed: int) -> tuple[Trace, View, View]:
    fast, mean = MODELS[model]
    output, _ = lengths(mean, SPREADS[spread], malicious, seed)
    random = np.random.default_rng([seed, 5])
    # The load of FIFO: batches of eight last as long as the longest of eight answers.
    longest = output[: COUNT // BATCH * BATCH].reshape(-1, BATCH).max(axis=1).mean()
    rate = LOAD * BATCH / (fast.fixed_s + fast.token_s * longest)
    trace = Trace(
        np.cumsum(random.exponential(1 / rate, COUNT)),
        random.integers(5, 60, COUNT),
        output.astype(np.int64),
    )
    predicted = quantiles(trace.output_tokens, TAU, seed)
    service = ServiceTime(fast.fixed_s, 0.0, fast.token_s)
    return (
        trace,
        view_of(trace, predicted, service),
        view_of(trace, shuffled(predicted, seed), service),
    )


def measure(model: str, spread: str, malicious: float) -> dict[str, dict[str, list[float]]]:
    fast, mean = MODELS[model]
    slow = BatchTime(fast.fixed_s * 4, fast.token_s * 4)  # a CPU, four times slower
    service = ServiceTime(fast.fixed_s, 0.0, fast.token_s)
    table: dict[str, dict[str, list[float]]] = {}
    for seed in range(SEEDS):
        trace, view, random_view = world(model, spread, malicious, seed)
        for way in ways(service, fast.of(int(mean))):
            seen = random_view if way.control else view
            second = None
            if way.offload:
                slow_service = ServiceTime(slow.fixed_s, 0.0, slow.token_s)
                second = Second(Offload.at_share(seen.at(0.9), 0.1, slow_service), slow)
            records = serve_batches(
                trace,
                seen,
                way.policy,
                way.rule,
                time=fast,
                second=second,
                overhead_s=OVERHEAD_S if way.predicts else 0.0,
            )
            e2e = records.e2e_s
            cells = table.setdefault(way.name, {"mean": [], "p99": [], "max": [], "rate": []})
            cells["mean"].append(float(e2e.mean()))
            cells["p99"].append(float(np.percentile(e2e, 99)))
            cells["max"].append(float(e2e.max()))
            span = float(records.last_s.max() - trace.arrival_s[0])
            cells["rate"].append(len(trace) / span)
    return table


def main() -> None:
    began = time.process_time()
    result: dict[str, dict[str, dict[str, float]]] = {}
    settings = [(m, s, 0.0) for m in MODELS for s in SPREADS]
    settings += [("DialoGPT", "normal", share) for share in (0.2, 0.5, 1.0)]
    for model, spread, malicious in settings:
        name = f"{model}, {spread} variance, {malicious:.0%} malicious"
        table = measure(model, spread, malicious)
        base = table["FIFO"]
        print(
            f"\n{name}: FIFO mean {np.mean(base['mean']):.2f} s, max {np.mean(base['max']):.2f} s"
        )
        result[name] = {}
        for way, cells in table.items():
            mean = paired(cells["mean"], base["mean"])
            shown = {key: paired(cells[key], base[key]).mean for key in ("p99", "max", "rate")}
            half = mean.upper - mean.mean
            print(
                f"  {way:<28} mean {mean.mean:+7.1%} ±{half:5.1%}  P99 {shown['p99']:+7.1%}  "
                f"max {shown['max']:+7.1%}  throughput {shown['rate']:+6.1%}"
            )
            result[name][way] = {"mean": round(mean.mean, 4), "half": round(half, 4)}
            result[name][way] |= {key: round(value, 4) for key, value in shown.items()}
    cpu = round(time.process_time() - began, 1)
    print(json.dumps({"benchmark": "sim_rt_lm", "cpu_s": cpu, "relative_to_fifo": result}))


if __name__ == "__main__":
    main()
