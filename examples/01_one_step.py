"""The time of forward passes, in four components, for many batches at once."""

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model, find_precision
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism
from headway.steptime.step_time import AnalyticStepTime
from headway.workload.step import Step

name = "llama-3.1-70b"
deployment = Deployment(
    find_cluster("h100"), find_model(name), find_precision(name), Parallelism(tp=8)
)
batches = [1, 16, 64, 256]
time = AnalyticStepTime(deployment).step_time(Step.decode(batches, context_tokens=4096))

print("batch  arithmetic  memory  network  pass ms  binds")
for i, batch in enumerate(batches):
    parts = (time.arithmetic_s[i], time.memory_s[i], time.network_s[i], time.expected_s[i])
    arithmetic, memory, network, whole = (float(part) * 1e3 for part in parts)
    print(
        f"{batch:5}  {arithmetic:10.2f}  {memory:6.2f}  {network:7.2f}  {whole:7.2f}  "
        f"{time.binds[i]}"
    )
