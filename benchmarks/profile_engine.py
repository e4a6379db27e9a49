"""A real engine on a CPU, profiled in a minute: how well unseen requests and batches are told.

transformers (a dense Llama and a mixture of experts) and OpenVINO GenAI with continuous batching
(the same Llama), random weights, one thread, process CPU time, minimum of trials. What is tested
was not used to fit.

    python benchmarks/profile_engine.py [trials] [name]      # needs the extras torch and openvino
"""

from __future__ import annotations

import json
import sys

import numpy as np

from headway.engines.openvino_engine import OpenVinoEngine
from headway.engines.transformers_engine import TransformersEngine
from headway.errors import InputError
from headway.ideal.estimator import fit_measured_passes, fit_requests
from headway.measure.harness import Engine, measure
from headway.measure.measurement import Clock, Load, Measurement, RequestLoad, StepLoad
from headway.steptime.fitted import FittedStepTime

REPEATS = 3
COMMON = {
    "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4,
    "vocab_size": 8192, "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA: dict[str, object] = {**COMMON, "model_type": "llama", "intermediate_size": 1536}
CONFIGS: dict[str, dict[str, object]] = {
    "llama-34m": LLAMA,
    "openvino-llama-34m": LLAMA,
    "mixtral-8x": {
        **COMMON, "model_type": "mixtral", "intermediate_size": 768, "num_local_experts": 8,
        "num_experts_per_tok": 2, "num_hidden_layers": 6,
    },
}  # fmt: skip
LEARN: list[Load] = [
    *(RequestLoad(1, p, o) for p, o in ((1, 32), (16, 1), (64, 1), (200, 1), (512, 1), (512, 32))),
    *(StepLoad(b, 1, c) for b in (1, 2, 4, 8) for c in (16, 512)),
    RequestLoad(4, 64, 1),
    RequestLoad(8, 200, 1),
    # Short requests tell what beginning one costs beside its tokens.
    RequestLoad(1, 4, 4),
    RequestLoad(2, 24, 6),
]
UNSEEN: list[Load] = [
    *(RequestLoad(1, p, o) for p, o in ((8, 4), (32, 16), (100, 8), (128, 1), (300, 1), (400, 20))),
    *(RequestLoad(b, p, o) for b, p, o in ((3, 50, 8), (6, 120, 4), (5, 30, 16), (3, 256, 1))),
    *(StepLoad(b, 1, c) for b, c in ((3, 100), (6, 300))),
]


def start(config: dict[str, object], name: str) -> Engine:
    if name.startswith("openvino"):
        return OpenVinoEngine(config, name)
    return TransformersEngine(config, name)


def compare(measurements: tuple[Measurement, ...], fit: FittedStepTime) -> list[float]:
    errors = []
    for m in measurements:
        predicted_s, truth = fit.passes_s(m.load.passes), m.envelope.floor_s.expected
        errors.append(predicted_s / truth - 1)
        times = f"{1e3 * truth:9.2f} ms, predicted {1e3 * predicted_s:9.2f}"
        print(f"  {m.load!s:64} {times}  {100 * errors[-1]:+6.1f}%")
    return errors


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    summary = {}
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    for name, config in CONFIGS.items():
        if only not in name:
            continue
        engine = start(config, name)
        # One campaign for both, so that a change of the machine's speed hits them alike.
        loads = [*LEARN, *UNSEEN]
        measurements = measure(
            engine, loads, trials=trials, clock=Clock.PROCESS_CPU, repeats=REPEATS
        )
        learn, unseen = measurements[: len(LEARN)], measurements[len(LEARN) :]
        print(name)
        off = np.abs(compare(unseen, fit_measured_passes(learn)))
        summary[name] = {
            "median_pct": 100 * float(np.median(off)),
            "worst_pct": 100 * float(off.max()),
        }
        try:
            single = fit_requests(learn)
        except InputError as error:
            raise SystemExit(str(error)) from None
        alone = [(m.load, m.envelope.floor_s.expected) for m in unseen if m.load.batch == 1]
        off = np.asarray([
            abs(float(single.predict(load.prompt_tokens, load.output_tokens)) / truth - 1)
            for load, truth in alone if isinstance(load, RequestLoad)
        ])  # fmt: skip
        summary[name] |= {
            "single_requests_median_pct": 100 * float(np.median(off)),
            "single_requests_worst_pct": 100 * float(off.max()),
        }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
