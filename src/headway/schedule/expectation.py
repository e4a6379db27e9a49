"""What a request should cost an engine before anybody has measured it.

The step-time model of a deployment answers, in the form of the line that the scheduler learns.
"""

from __future__ import annotations

import numpy as np

from headway.schedule.view import ServiceTime
from headway.steptime.deployment import Deployment
from headway.workload.step import Step

PROMPT_TOKENS = (256.0, 2048.0)  # between which the time to the first token is taken as a line
CONTEXT_TOKENS, NUM_SEQUENCES = 1024.0, 16.0  # of a usual step


def expected_service(deployment: Deployment) -> ServiceTime:
    """Return the expected service time of a request on ``deployment``.

    The time to the first token is the engine's overhead and one prefill, as a line through prompts
    of 256 and 2048 tokens; an output token takes the decode step of 16 sequences of 1024 tokens.
    Learning corrects both.
    """
    model = deployment.step_time_model
    decode_s = float(model.step_time(Step.decode(NUM_SEQUENCES, CONTEXT_TOKENS)).expected_s)

    prompts = np.array(PROMPT_TOKENS)
    prefill_s = model.step_time(Step.prefill(1.0, prompts)).expected_s
    ttft_s = prefill_s + model.request_overhead.seconds(prompts, decode_s)

    prompt_token_s = float((ttft_s[1] - ttft_s[0]) / (prompts[1] - prompts[0]))
    return ServiceTime(
        fixed_s=max(0.0, float(ttft_s[0]) - prompt_token_s * PROMPT_TOKENS[0]),
        prompt_token_s=prompt_token_s,
        output_token_s=decode_s,
    )
