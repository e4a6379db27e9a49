"""What does a load really get? Llama 3.3 70B in fp8 on 8 H200 under vLLM, by users at once."""

import numpy as np

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.serving.estimate import ServingQuestion, answer
from headway.serving.one_engine import Limits, Load
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism

users = np.array([1, 4, 16, 64, 256])
deployment = Deployment(
    find_cluster("h200"), find_model("llama-3.3-70b"), Precision.parse("fp8"), Parallelism(8)
)
found = answer(ServingQuestion(deployment, "vllm", Load(1000, 1000, users), Limits()))

print("users   TTFT ms   TPOT ms   (80% between)   tok/s/H200   J/token")
low, high = found.tpot_s
assert found.joules_per_token is not None
for i, count in enumerate(users):
    print(
        f"{count:5d}{found.times.ttft_s[i] * 1e3:10.0f}{found.times.tpot_s[i] * 1e3:10.1f}"
        f"   {low[i] * 1e3:6.1f} ..{high[i] * 1e3:5.1f}"
        f"{found.output_tok_per_s[i] / 8:13.0f}{found.joules_per_token[i]:10.2f}"
    )
