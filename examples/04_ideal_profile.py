"""One request alone on reference hardware: what a model could take, in seconds, dollars, joules."""

import numpy as np

import headway as hw

prompts, outputs = np.array([512.0, 4096.0]), np.array([64.0, 512.0])
print("model            on        prompt  output   seconds   (90% between)     dollars")
for name, on in (("llama-3.1-8b", "a100"), ("llama-3.1-8b", "h100"), ("gpt-oss-120b", "h100")):
    reference = hw.idealize(name, on=on)
    seconds = reference.runtime.predict(prompts, outputs)
    low, high = reference.runtime.interval(prompts, outputs)
    for i, usd in enumerate(reference.usd(seconds)):
        count = f"{reference.num_accelerators} {on}"
        print(
            f"{name:<17}{count:<8}{prompts[i]:8.0f}{outputs[i]:8.0f}{seconds[i]:10.2f}"
            f"   {low[i]:6.2f} ..{high[i]:6.2f}{usd:12.6f}"
        )
