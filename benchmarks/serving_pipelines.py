"""Pipelines against what was measured: TensorRT-LLM on RTX PRO 6000, every pp of the same model.

No row with pp above 1 is in the fit. `offline_max` rows state the output tokens per second and
accelerator at the largest batch that fits; a row with one stage shows how far the level is off.

    python benchmarks/serving_pipelines.py ../shared/data/measured/measured.csv.gz
"""

import csv
import gzip
import sys
from pathlib import Path

from headway.errors import DoesNotFitError
from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import serve
from headway.steptime.deployment import Deployment, EngineLimits

MODELS = {
    "meta-llama/Llama-3.3-70B-Instruct": "llama-3.3-70b",
    "Qwen/Qwen3-235B-A22B": "qwen3-235b-a22b",
    "Qwen/Qwen3-30B-A3B": "qwen3-30b-a3b",
}
MAX_NUM_SEQS = 4096


def main() -> None:
    with gzip.open(Path(sys.argv[1]), "rt", encoding="utf-8", newline="") as lines:
        rows = [
            row
            for row in csv.DictReader(lines)
            if row["source"] == "trtllm_perf_overview" and row["hardware"].startswith("RTX PRO")
        ]

    print(f"{'model':<16} layout          in    out  measured  expected  off")
    for row in rows:
        # The tables spread experts over as many ranks as ep says, and write tp 1 for it.
        pp, ep = int(float(row["pp"])), int(float(row["ep"]))
        prompt, output = float(row["input_len"]), float(row["output_len"])
        deployment = Deployment(
            find_model(MODELS[row["model"]]),
            find_cluster("rtx-pro-6000"),
            tp=ep,
            pp=pp,
            ep=ep,
            precision="nvfp4/nvfp4/fp8",
            engine="tensorrt-llm",
            limits=EngineLimits(max_num_seqs=MAX_NUM_SEQS),
        )
        try:
            served = serve(deployment, ClosedLoop(prompt, output, MAX_NUM_SEQS))
        except DoesNotFitError:
            continue
        expected = float(served.times.requests_per_s) * output / (ep * pp)
        measured = float(row["tput_output_tok_s_gpu"])
        print(
            f"{deployment.model.name:<16} tp{ep} pp{pp} ep{ep} {prompt:>9g} {output:>6g} "
            f"{measured:>9.0f} {expected:>9.0f} {expected / measured - 1:+.0%}"
        )


if __name__ == "__main__":
    main()
