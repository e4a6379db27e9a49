"""What a gateway tells an engine of a request, among the request's extra arguments.

`headway.gateway` writes it, `headway.vllm` reads it, and an engine without that scheduler heeds
none of it. Quantiles travel as one text: older versions of vLLM take no lists there.
"""

from __future__ import annotations

from collections.abc import Sequence

from headway.workload.request import Request

PREFIX = "headway_"
QUANTILES = "headway_quantiles"  # output tokens at `headway.predict.prediction.LEVELS`
TTFT, TPOT = "headway_ttft_s", "headway_tpot_s"
TIER, VALUE, TENANT = "headway_tier", "headway_value", "headway_tenant"
MIN_TTFT_S = 1e-3  # what is left of an objective that has passed

Hint = str | int | float


def hints_of(
    request: Request, quantiles: Sequence[float] | None, waited_s: float
) -> dict[str, Hint]:
    """Return what an engine may know of ``request``, by the name of the argument.

    Args:
        request: as it came to the gateway.
        quantiles: of its predicted length; ``None`` before there is a prediction.
        waited_s: since it came; an engine counts from when it comes there.

    """
    slo, hints = request.slo, dict[str, Hint]()
    if quantiles is not None:
        hints[QUANTILES] = ",".join(f"{tokens:.0f}" for tokens in quantiles)

    # Objectives: an engine needs to be told of those that there are.
    if slo.ttft_s is not None:
        left_s = float(slo.ttft_limit_s(request.prompt_tokens)) - waited_s
        hints[TTFT] = round(max(left_s, MIN_TTFT_S), 4)
    if slo.tpot_s is not None:
        hints[TPOT] = slo.tpot_s

    # Whose it is, and what it is worth, where that is not as with all others.
    if slo.tier:
        hints[TIER] = slo.tier
    if slo.value != 1.0:
        hints[VALUE] = slo.value
    if request.tenant:
        hints[TENANT] = request.tenant
    return hints
