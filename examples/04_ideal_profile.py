"""Four measured requests, and what every other request would take.

The estimator learns from a handful of measurements, says how sure it is, and which request to
measure next. Here an engine of known truth is measured, so that the answer can be checked.
"""

import numpy as np

from headway.ideal.adaptive import Target, first_requests, half_width, next_request
from headway.ideal.prompt_curve import PromptCurve, Tiles
from headway.ideal.request_profile import RequestProfile
from headway.ideal.runtime_fit import fit_runtime

TRUTH = PromptCurve(floor_s=0.025, slope_s_per_token=8e-5, lead_tokens=40.0, tiles=Tiles())


def measure(prompt_tokens: int, output_tokens: int) -> float:
    """Stands for a run on a real engine: 23 ms per further token."""
    return float(TRUTH.at(np.asarray(prompt_tokens))) + 0.023 * (output_tokens - 1)


target = Target.up_to(prompt_tokens=2048, output_tokens=64)
requests = list(first_requests(target))
while True:
    points = [(p, o, measure(p, o)) for p, o in requests]
    fit = fit_runtime(RequestProfile.of(points))
    doubt = half_width(fit, target)
    print(f"after {len(requests)} requests: +-{100 * doubt:.0f}% over the target")
    if doubt < 0.04 or len(requests) == 8:
        break
    requests.append(next_request(fit, target))

print("\nprompt  output  told, s         interval, s   true, s")
for prompt, output in ((100, 1), (300, 16), (1000, 1), (1500, 64)):
    low, high = fit.interval(prompt, output)
    told, true = float(fit.predict(prompt, output)), measure(prompt, output)
    print(f"{prompt:6} {output:7} {told:8.3f}     {low:.3f} .. {high:.3f} {true:9.3f}")
