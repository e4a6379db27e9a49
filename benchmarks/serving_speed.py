"""How many serving estimates one CPU second makes: TTFT, TPOT, throughput, watts and intervals."""

from __future__ import annotations

import json
import time

import numpy as np

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import serve
from headway.steptime.deployment import Deployment

CASES = (("llama-3.3-70b", "h200", 8), ("deepseek-v3", "h200", 8), ("gpt-oss-120b", "b200", 4))
SIZES = (5_000, 100_000)


def main() -> None:
    rates = {}
    for name, chip, tp in CASES:
        deployment = Deployment(
            find_model(name), find_cluster(chip), tp=tp, precision="fp8", engine="vllm"
        )
        for size in SIZES:
            load = ClosedLoop(1000, 1000, np.linspace(1, 500, size).round())
            seconds = []
            for _ in range(5):
                began = time.process_time()
                serve(deployment, load)
                seconds.append(time.process_time() - began)
            rates[f"{name}, {size}"] = round(size / min(seconds))
            print(f"{name:15s} on {tp} {chip}: {size:7d} at a time, {size / min(seconds):9,.0f}/s")
    print(json.dumps({"estimates_per_cpu_s": rates}))


if __name__ == "__main__":
    main()
