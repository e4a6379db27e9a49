"""Prefill and decode on engines of their own, with the KV cache sent from one to the other.

A closed loop of ``concurrency`` users over three stations. A prompt waits for a prefill engine and
is computed there, alone or with others; its cache goes over a link, hidden behind the computation
of later layers or not; then it decodes among its like, and no prompt disturbs it. The rate at
which requests pass is the same everywhere: it is that of the slowest station, or, while none is
full, what Little's law leaves to ``concurrency`` requests. Derived here; the wait for one of many
engines follows Sakasegawa 1977, halved for service times that do not vary, and an arrival sees the
queue without itself (Reiser and Lavenberg 1980).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.serving.closed_loop import ClosedLoop
from headway.serving.two_stages import (
    TwoStages,
    decode_times,
    decoding,
    max_sequences,
    prefilling,
    transfer_bytes,
)

PREFILL, TRANSFER, DECODE, USERS = "prefill", "transfer", "decode", "users"


@dataclass(frozen=True, slots=True, eq=False)
class DisaggregatedTimes:
    """Seconds and rates in the steady state.

    Attributes:
        ttft_s: waiting, prefill and the exposed part of the transfer.
        mean_ttft_s: its mean over a whole run, whose first requests all arrive at once.
        handling_s, wait_s, prefill_s, transfer_s: its parts, handing over in the first; what the
            slowest station holds back is in ``wait_s``.
        sent_s: the whole transfer of one prompt's cache, hidden or not.
        tpot_s: per output token after the first; no prompts between them.
        requests_per_s: of the whole.
        sequences: decoding at once on one decode engine.
        use: of every station, the fraction of its most requests per second.
        binds: the station that is full, or "users" where none is.

    """

    ttft_s: float
    mean_ttft_s: float
    handling_s: float
    wait_s: float
    prefill_s: float
    transfer_s: float
    sent_s: float
    tpot_s: float
    e2e_s: float
    requests_per_s: float
    sequences: float
    use: dict[str, float]
    binds: str


def disaggregated_times(stages: TwoStages, loop: ClosedLoop) -> DisaggregatedTimes:
    """Solve the steady state of ``loop``, which must be scalar.

    Raises:
        DoesNotFitError: not one sequence fits a stage.
        InputError: the load has arrays.

    """
    check_scalar(loop)
    prompts, answers = prefilling(stages, loop), decoding(stages, loop)
    send_s, transfers_per_s = _link(stages, loop)
    users = float(loop.concurrency)
    engines, decoders = stages.prefill.count, stages.decode.count
    capacity = {
        PREFILL: engines * prompts.requests_per_s,
        TRANSFER: transfers_per_s,
        DECODE: decoders * answers.requests_per_s,
    }

    def prefill_s(rate: float) -> float:
        return prompts.step_s(rate / engines)

    def exposed_s(rate: float) -> float:
        return _exposed(stages, send_s, prefill_s(rate))

    def stay_s(rate: float) -> float:
        return answers.stay(rate / decoders)

    def requests_inside(rate: float) -> float:
        wait_s = prompts.wait_s(rate, engines, users)
        service_s = prompts.handling_s + prefill_s(rate) + exposed_s(rate) + stay_s(rate)
        return rate * (service_s + wait_s)

    # The rate at which as many requests are inside as there are users, by bisection (Little's law).
    full = min(capacity.values())
    rate = full
    if requests_inside(full) > users:
        low, high = 0.0, full
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if requests_inside(middle) <= users else (low, middle)
        rate = low

    # What the slowest station holds back waits before prefill.
    e2e_s = users / rate
    stay = stay_s(rate)
    service_s = prompts.handling_s + prefill_s(rate) + exposed_s(rate) + stay
    gaps = float(loop.output_tokens) - 1
    ttft_s = e2e_s - stay

    # The first prompts of a run all arrive at once.
    burst_s = prompts.handling_s + exposed_s(rate)
    burst_s += (users / capacity[PREFILL] + prefill_s(rate)) / 2
    mean_ttft_s = ttft_s + max(burst_s - ttft_s, 0.0) / loop.requests_per_user

    use = {name: rate / most for name, most in capacity.items()}
    if not gaps:  # the first token is the last: nothing is decoded
        use[DECODE] = 0.0
    return DisaggregatedTimes(
        ttft_s=ttft_s,
        mean_ttft_s=mean_ttft_s,
        handling_s=prompts.handling_s,
        wait_s=max(e2e_s - service_s, 0.0),
        prefill_s=prefill_s(rate),
        transfer_s=exposed_s(rate),
        sent_s=send_s,
        tpot_s=stay / gaps if gaps else _one_token_s(stages, loop),
        e2e_s=e2e_s,
        requests_per_s=rate,
        sequences=min(rate * stay / decoders, max_sequences(stages, loop)),
        use=use,
        binds=max(use, key=lambda name: use[name]) if rate >= full else USERS,
    )


def check_scalar(loop: ClosedLoop) -> None:
    """Raise `InputError` where ``loop`` asks for several loads at once."""
    parts = (loop.prompt_tokens, loop.output_tokens, loop.concurrency, loop.cached_fraction)
    if np.broadcast(*parts).ndim:
        raise InputError("a disaggregated deployment answers one load at a time")


def _one_token_s(stages: TwoStages, loop: ClosedLoop) -> float:
    return float(decode_times(stages, loop, np.ones(())).times.tpot_s)


def _link(stages: TwoStages, loop: ClosedLoop) -> tuple[float, float]:
    """Seconds of one transfer, and the most transfers in a second."""
    rates, sides_s = [], []
    for workers in (stages.prefill, stages.decode):
        side_bytes = transfer_bytes(workers, float(loop.prompt_tokens))
        side_s = side_bytes / stages.link.bandwidth_bytes_per_s
        sides_s.append(side_s)
        rates.append(workers.count * float(workers.deployment.parallelism.dp) / side_s)
    return max(sides_s) + stages.link.latency_s, min(rates)


def _exposed(stages: TwoStages, send_s: float, prefill_s: float) -> float:
    """What of a transfer is not hidden: all, or at least the last layer's share and the latency."""
    if not stages.overlapped:
        return send_s

    layers, latency_s = stages.prefill.deployment.model.num_layers, stages.link.latency_s
    moving_s = send_s - latency_s
    return latency_s + max(moving_s - prefill_s * (1 - 1 / layers), moving_s / layers)
