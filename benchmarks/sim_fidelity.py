"""Real vLLM runs replayed: how far TTFT, TPOT and e2e are from what was measured.

Four runs of vLLM 0.19.0, 300 requests each, with the operator profiles of the same hardware
(LLMServingSim, MIT). Two have results to compare with. For the other two only the inputs are here:
the benchmark prints what is predicted for them, and ``--out`` writes it request by request.

What the operators do not show is the exchange between two ranks. It is taken four ways: the line
that was fitted to the run over two ranks, and three tables of all-reduces measured on other
machines with the same card (aiconfigurator, Apache-2.0). For the run over two ranks the tables are
a test without a fitted constant; for the prediction they are its interval.

Where there is no exchange, the interval is that of steps 2% faster to 3% slower: about the error of
the measured run on one rank, and what uneven contexts cost attention (the profiles' skew tables say
1 to 7% of attention at 128 sequences, which the mean context does not see).

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
# Tables of all-reduces between two RTX PRO 6000, by framework, version and kernel.
TABLES = {
    "NCCL 2.29": ("TRTLLM", "2.29.2", "NCCL"),
    "vLLM 0.24's kernel": ("vLLM", "0.24.0", "vLLM_custom_graph"),
    "vLLM 0.19's kernel": ("vLLM", "0.19.0", "vLLM_custom_graph"),
}
SPREAD = {"2% faster steps": 0.98, "3% slower steps": 1.03}
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
            if SMALLEST <= float(row["message_size"]) <= LARGEST:
                sizes.append(float(row["message_size"]))
                times.append(float(row["latency"]) * 1e-3)
    a = np.stack([np.ones(len(sizes)), np.array(sizes)], axis=1)
    fixed, per_byte = np.linalg.lstsq(a / np.array(times)[:, None], np.ones(len(times)))[0]
    return Exchange(max(float(fixed), 0.0), float(per_byte))


@dataclass(frozen=True)
class Slower:
    """Step times of another model, all of them ``factor`` times as long."""

    model: OperatorStepTime
    factor: float

    def step_time(self, step: Step) -> TimeEstimate:
        """The time of ``step``."""
        time = self.model.step_time(step)
        return TimeEstimate(
            expected_s=time.expected_s * self.factor,
            lower_s=time.lower_s * self.factor,
            upper_s=time.upper_s * self.factor,
            basis=time.basis,
        )

    @property
    def request_overhead(self) -> RequestOverhead:
        """That of the other model."""
        return self.model.request_overhead


def replay(
    run: Run, data: Path, exchange: Exchange, factor: float = 1.0
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
    table_of_times = tabulate(Slower(model, factor), engine)
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
    ways = {"fitted": PCIE_PAIR} | {k: line_through(given.data, *v) for k, v in TABLES.items()}
    for name, exchange in ways.items():
        fixed_us, us_per_mb = exchange.fixed_s * 1e6, exchange.byte_s * 1e12
        print(f"exchange, {name}: {fixed_us:.0f} us + {us_per_mb:.0f} us/MB")
    errors: dict[str, dict[str, float]] = {}
    predicted: dict[str, dict[str, list[float]]] = {}
    lines = ["run,request,ttft_s,tpot_s,e2e_s"]
    for run in RUNS:
        chosen = {k: (v, 1.0) for k, v in ways.items() if run.ranks > 1 or k == "fitted"}
        if run.ranks == 1 and not run.measured:
            chosen |= {name: (PCIE_PAIR, factor) for name, factor in SPREAD.items()}
        found = {}
        for name, (exchange, factor) in chosen.items():
            records, measured = replay(run, given.data, exchange, factor)
            found[name] = simulated(records)
            if run.measured:
                truth = statistics(measured)
                wrong = {key: value / truth[key] - 1 for key, value in found[name].items()}
                where = run.name if run.ranks == 1 else f"{run.name}, exchange {name}"
                errors[where] = wrong
                print(where)
                for key, error in wrong.items():
                    bar = BARS.get(key)
                    said = "" if bar is None else "met" if abs(error) <= bar else "missed"
                    print(f"  {key:<10} {error:+7.2%}  {said}")
            elif name == "fitted":
                rows = zip(records.ttft_s, records.tpot_s, records.e2e_s, strict=True)
                lines += [
                    f"{run.name},{i},{a:.6f},{b:.6f},{c:.6f}" for i, (a, b, c) in enumerate(rows)
                ]
        if not run.measured:
            print(f"{run.name}: predicted")
            predicted[run.name] = {}
            for key, value in found["fitted"].items():
                ends = [way[key] for way in found.values()]
                predicted[run.name][key] = [round(v, 5) for v in (value, min(ends), max(ends))]
                print(f"  {key:<10} {value:9.4f} s  [{min(ends):.4f}, {max(ends):.4f}]")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(json.dumps({"benchmark": "sim_fidelity", "errors": errors, "predicted": predicted,
                      "cpu_s": round(time.process_time() - began, 2)}))  # fmt: skip


if __name__ == "__main__":
    main()
