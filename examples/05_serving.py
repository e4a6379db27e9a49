"""What does a load really get? Llama 3.3 70B in fp8 on 8 H200 under vLLM, by requests at once."""

import headway as hw

deployment = hw.deployment("llama-3.3-70b@8xh200:tp8", precision="fp8", engine="vllm")
report = hw.estimate(deployment, hw.Load(prompt=1000, output=1000, concurrency=[1, 4, 16, 64, 256]))
print(report)
