"""Real vLLM runs replayed: how far TTFT, TPOT and e2e are from what was measured.

Four runs of vLLM 0.19.0, 300 requests each, with the operator profiles of the same hardware
(LLMServingSim, MIT). Two have results to compare with. For the other two only the inputs are here:
the benchmark prints what is predicted for them, and ``--out`` writes it request by request.

What the layers' operators do not show is the exchange between two ranks: a line through a table of
all-reduces, measured on another machine with the same card, by the version of vLLM that ran
(aiconfigurator, Apache-2.0; its sizes are counts of 16-bit numbers). Two newer tables stand beside
it. Nothing is fitted to a run. Each measured run is shown once more without what uneven contexts
cost attention (the profiles' skew tables).

The interval of a prediction is that of steps 4% faster to 4% slower, twice the largest error of the
measured runs, and where tokens are gathered and scattered around experts, which nobody measured, of
half and twice the exchange.

    python benchmarks/sim_fidelity.py [--data ../shared/data] [--out predictions.csv]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyarrow import parquet  # type: ignore[import-untyped]  # ships no types

from headway.sim.engine import Engine, kv_blocks
from headway.sim.laws import check
from headway.sim.outcome import simulate_trace
from headway.sim.site import Pool, Site
from headway.sim.times import tabulate
from headway.steptime.deployment_name import parse_deployment
from headway.steptime.measured import PCIE_PAIR, Exchange, OperatorStepTime
from headway.steptime.operator_profile import Operators
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import TimeEstimate
from headway.workload.record import Records
from headway.workload.step import Step
from headway.workload.traces import read_trace

Floats = npt.NDArray[np.float64]

BARS = {"ttft mean": 0.05, "tpot mean": 0.02, "e2e mean": 0.02}
BARS |= {"ttft p99": 0.10, "tpot p99": 0.10, "e2e p99": 0.10}
# Tables of all-reduces between two RTX PRO 6000, by framework, version and kernel. The last is that
# of `PCIE_PAIR`: its line is fitted here once more.
TABLES = {
    "NCCL 2.29": ("TRTLLM", "2.29.2", "NCCL"),
    "vLLM 0.24's kernel": ("vLLM", "0.24.0", "vLLM_custom_graph"),
    "vLLM 0.19's, again": ("vLLM", "0.19.0", "vLLM_custom_graph"),
}
AS_MEASURED = "vLLM 0.19's kernel"
FASTER, SLOWER = 0.96, 1.04  # steps, at the ends of an interval
SMALLEST, LARGEST = 1 << 17, 1 << 24  # bytes of the all-reduces that a step makes


@dataclass(frozen=True)
class Run:
    """One run: its file, what ran, and its limits as vLLM was told them."""

    name: str
    deployment: str
    max_num_seqs: int
    num_kv_blocks: int | None = None  # measured, where it binds
    measured: bool = True

    @property
    def ranks(self) -> int:
        """Accelerators."""
        return int(parse_deployment(self.deployment).parallelism.num_accelerators)


RUNS = [
    Run("RTX4090_Llama-3.1-8B", "llama-3.1-8b@rtx-4090:tp1", 256, 2588),
    Run("RTXPRO6000_Qwen3-32B", "qwen3-32b@rtx-pro-6000:tp2", 128),
    Run("RTXPRO6000_Llama-3.1-8B", "llama-3.1-8b@rtx-pro-6000:tp1", 128, measured=False),
    Run(
        "RTXPRO6000_Qwen3-30B-A3B-Instruct-2507",
        "qwen3-30b-a3b@rtx-pro-6000:dp2,ep2",
        128,
        measured=False,
    ),
]


def line_through(data: Path, framework: str, version: str, kernel: str) -> Exchange:
    """The least-squares line through a table of all-reduces, relative errors alike."""
    sizes, times = [], []
    with gzip.open(data / "operators" / "comm_all_systems.csv.gz", "rt") as stream:
        for row in csv.DictReader(stream):
            if row["system"] != "rtx_pro_6000_server" or row["num_gpus"] != "2.0":
                continue
            if (row["framework"], row["version"], row["kernel_source"]) != (
                framework, version, kernel,
            ) or row["op_name"] != "all_reduce" or row["nccl_dtype"] == "int8":  # fmt: skip
                continue
            if SMALLEST <= 2 * float(row["message_size"]) <= LARGEST:
                sizes.append(2 * float(row["message_size"]))  # counts of 16-bit numbers
                times.append(float(row["latency"]) * 1e-3)
    a = np.stack([np.ones(len(sizes)), np.array(sizes)], axis=1)
    fixed, per_byte = np.linalg.lstsq(a / np.array(times)[:, None], np.ones(len(times)))[0]
    return Exchange(max(float(fixed), 0.0), float(per_byte))


@dataclass(frozen=True)
class Slower:
    """Step times of another model, ``factor`` times as long; of contexts or of their mean alone."""

    model: OperatorStepTime
    factor: float
    uneven: bool = True

    def step_time(self, step: Step) -> TimeEstimate:
        """The time of ``step``."""
        time = self.model.step_time(step)
        spread_s = time.spread_s if self.uneven else None
        return TimeEstimate(
            expected_s=time.expected_s * self.factor,
            lower_s=time.lower_s * self.factor,
            upper_s=time.upper_s * self.factor,
            basis=time.basis,
            spread_s=None if spread_s is None else spread_s * self.factor,
        )

    @property
    def request_overhead(self) -> RequestOverhead:
        """That of the other model."""
        return self.model.request_overhead


def replay(
    run: Run, data: Path, exchange: Exchange, factor: float = 1.0, uneven: bool = True
) -> tuple[Records, dict[str, Floats]]:
    """Simulated records, and measured columns of ``run`` where there are any."""
    file = data / "engine_runs" / (
        f"{'vllm_groundtruth' if run.measured else 'requests'}_{run.name}.parquet"
    )  # fmt: skip
    trace = read_trace(file)
    deployment = parse_deployment(run.deployment, engine="none")
    groups = int(deployment.parallelism.dp)
    engine = Engine(
        max_num_seqs=run.max_num_seqs * groups,
        max_num_batched_tokens=2048 * groups,
        num_kv_blocks=run.num_kv_blocks or kv_blocks(deployment),
        prefix_cache=True,
        asynchronous=True,
    )
    model = OperatorStepTime(deployment, Operators.read(data / "operators", deployment), exchange)
    table_of_times = tabulate(Slower(model, factor, uneven), engine)
    outcome = simulate_trace(trace, Site((Pool(engine, table_of_times),)))
    check(outcome)
    if not run.measured:
        return outcome.records, {}
    table = parquet.read_table(file)
    first, last, start, tokens = (
        table[name].to_numpy()
        for name in ("first_token_s", "last_token_s", "arrival_measured_s", "output_tokens")
    )
    measured = {
        "ttft": first - start,
        "tpot": (last - first) / np.maximum(tokens - 1, 1),
        "e2e": last - start,
    }
    return outcome.records, measured


def statistics(columns: dict[str, Floats]) -> dict[str, float]:
    found = {}
    for name, values in columns.items():
        found[f"{name} mean"] = float(values.mean())
        found[f"{name} p50"] = float(np.median(values))
        found[f"{name} p99"] = float(np.percentile(values, 99))
    return found


def simulated(records: Records) -> dict[str, float]:
    return statistics({"ttft": records.ttft_s, "tpot": records.tpot_s, "e2e": records.e2e_s})


def measured_errors(run: Run, data: Path, ways: dict[str, Exchange]) -> dict[str, dict[str, float]]:
    """Errors of the simulated run: as it is predicted, by the mean context, by other exchanges."""
    cases = {run.name: (PCIE_PAIR, True), f"{run.name}, mean context": (PCIE_PAIR, False)}
    if run.ranks > 1:
        others = (way for way in ways if way != AS_MEASURED)
        cases |= {f"{run.name}, exchange {way}": (ways[way], True) for way in others}

    errors = {}
    for name, (exchange, uneven) in cases.items():
        records, measured = replay(run, data, exchange, uneven=uneven)
        truth = statistics(measured)
        errors[name] = {key: value / truth[key] - 1 for key, value in simulated(records).items()}
        print(name)
        for key, error in errors[name].items():
            bar = BARS.get(key)
            said = "" if bar is None else "met" if abs(error) <= bar else "missed"
            print(f"  {key:<10} {error:+7.2%}  {said}")
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if not given.data.is_dir():
        raise SystemExit(
            f"no data at {given.data}: the runs are LLMServingSim's, see docs/simulate.md"
        )
    began = time.process_time()
    ways = {AS_MEASURED: PCIE_PAIR}
    ways |= {name: line_through(given.data, *of) for name, of in TABLES.items()}
    for name, exchange in ways.items():
        fixed_us, us_per_mb = exchange.fixed_s * 1e6, exchange.byte_s * 1e12
        print(f"exchange, {name}: {fixed_us:.0f} us + {us_per_mb:.0f} us/MB")

    errors: dict[str, dict[str, float]] = {}
    predicted: dict[str, dict[str, list[float]]] = {}
    lines = ["run,request,ttft_s,tpot_s,e2e_s"]
    for run in RUNS:
        if run.measured:
            errors |= measured_errors(run, given.data, ways)
            continue

        records, _ = replay(run, given.data, PCIE_PAIR)
        rows = zip(records.ttft_s, records.tpot_s, records.e2e_s, strict=True)
        lines += [f"{run.name},{i},{a:.6f},{b:.6f},{c:.6f}" for i, (a, b, c) in enumerate(rows)]
        ends = [simulated(records)]
        for factor, times in ((FASTER, 0.5), (SLOWER, 2.0)):
            exchange = Exchange(PCIE_PAIR.fixed_s * times, PCIE_PAIR.byte_s * times)
            ends.append(simulated(replay(run, given.data, exchange, factor)[0]))
        print(f"{run.name}: predicted")
        predicted[run.name] = {}
        for key, value in ends[0].items():
            low, high = (round(extreme(end[key] for end in ends), 5) for extreme in (min, max))
            predicted[run.name][key] = [round(value, 5), low, high]
            print(f"  {key:<10} {value:9.4f} s  [{low:.4f}, {high:.4f}]")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(json.dumps({"benchmark": "sim_fidelity", "errors": errors, "predicted": predicted,
                      "cpu_s": round(time.process_time() - began, 2)}))  # fmt: skip


if __name__ == "__main__":
    main()
