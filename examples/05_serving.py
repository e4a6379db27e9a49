"""What does a load really get? Llama 3.3 70B in fp8 on 8 H200 under vLLM, by users at once."""

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.serving.load import Load
from headway.serving.report import estimate
from headway.steptime.deployment import Deployment

deployment = Deployment(
    find_model("llama-3.3-70b"), find_cluster("h200"), tp=8, precision="fp8", engine="vllm"
)
print(estimate(deployment, Load(prompt=1000, output=1000, concurrency=[1, 4, 16, 64, 256])))
