"""How long a prediction takes on one core: one prompt, a batch, an observation, a load.

Run: OMP_NUM_THREADS=1 python -m benchmarks.predict_speed

Process CPU time, because the machine is shared: the best of several rounds, and for one prompt also
the 99th percentile of all. The prompts are the 292 of
`elicited_lengths.jsonl`, and adversarial ones of a megabyte.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
from tools.length_data import elicited

from headway.predict import load
from headway.predict.storage import DEFAULT

ROUNDS = 5


def main() -> None:
    begun = time.process_time()
    predictor = load(DEFAULT)
    load_s = time.process_time() - begun
    command = (
        "import time; import headway.predict as p; from headway.predict.storage import DEFAULT; "
    )
    command += "p.load(DEFAULT); print(time.process_time())"
    process = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    requests = [o.request(i) for i, o in enumerate(elicited() * 7)][:2000]
    batch_s = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        predictor.predict(requests)
        batch_s.append(time.process_time() - begun)
    rounds = np.empty((ROUNDS, 1000))
    for k in range(ROUNDS):
        for i, request in enumerate(requests[:1000]):
            start = time.process_time()
            predictor.predict([request])
            rounds[k, i] = time.process_time() - start
    single = rounds.min(axis=0)
    observe = np.full(1000, np.inf)
    for _ in range(ROUNDS):
        predictor.predict(requests[:1000])
        for i, request in enumerate(requests[:1000]):
            start = time.process_time()
            predictor.observe(request, 100)
            observe[i] = min(observe[i], time.process_time() - start)
    worst = 0.0
    for text in (
        "x" * 10**6,
        "a " * 500_000,
        "5 words; " * 110_000,
        "user: a\n" * 125_000,
        "語" * 10**6,
    ):
        hostile = requests[0].__class__(id="worst", arrival_s=0.0, prompt=text, prompt_tokens=1)
        start = time.process_time()
        predictor.predict([hostile])
        worst = max(worst, time.process_time() - start)
    figures = {
        "load_s": load_s,
        "start_import_and_load_s": float(process.stdout),
        "batch_prompts_per_s": len(requests) / min(batch_s),
        "single_p50_ms": float(np.percentile(single, 50)) * 1e3,
        "single_p99_ms": float(np.percentile(single, 99)) * 1e3,
        "single_p99_ms_of_all_rounds": float(np.percentile(rounds, 99)) * 1e3,
        "observe_p50_us": float(np.percentile(observe, 50)) * 1e6,
        "observe_p99_us": float(np.percentile(observe, 99)) * 1e6,
        "megabyte_ms": worst * 1e3,
    }
    for name, value in figures.items():
        print(f"{name:28s} {value:12.3f}")
    print(json.dumps({"benchmark": "predict_speed", **figures}))


if __name__ == "__main__":
    main()
