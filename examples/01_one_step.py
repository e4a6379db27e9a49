"""The time of forward passes, in four components, for many batches at once."""

import headway as hw

deployment = hw.deployment("llama-3.1-70b@8xh100:tp8")
batches = [1, 16, 64, 256]
time = deployment.step_time(batches, context=4096)
parts = time.components
assert parts is not None  # the data sheet's model tells the components apart

print("batch  arithmetic  memory  network  pass ms  binds")
for i, batch in enumerate(batches):
    seconds = (parts.arithmetic_s[i], parts.memory_s[i], parts.network_s[i], time.expected_s[i])
    arithmetic, memory, network, whole = (float(part) * 1e3 for part in seconds)
    print(
        f"{batch:5}  {arithmetic:10.2f}  {memory:6.2f}  {network:7.2f}  {whole:7.2f}  "
        f"{parts.binds[i]}"
    )
