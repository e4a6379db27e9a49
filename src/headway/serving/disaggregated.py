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

from headway.serving.two_stages import (
    Disaggregated,
    decode_table,
    decoding,
    prefilling,
    price_stage,
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


def disaggregated_times(question: Disaggregated) -> DisaggregatedTimes:
    """Solve the steady state; raise `DoesNotFitError` where not one sequence fits a stage."""
    prompts = prefilling(question)
    answers = decoding(question)
    send_s, capacity = _link(question)
    users = float(question.load.concurrency)
    engines, decoders = question.prefill.count, question.decode.count
    most = {
        PREFILL: engines * prompts.requests_per_s,
        TRANSFER: capacity,
        DECODE: decoders * answers.requests_per_s,
    }
    full = min(most.values())

    def parts(rate: float) -> tuple[float, float, float, float]:
        own_s = prompts.step_s(rate / engines)
        exposed_s = _exposed(question, send_s, own_s)
        return (
            prompts.wait_s(rate, engines, users),
            own_s,
            exposed_s,
            answers.stay(rate / decoders),
        )

    def inside(rate: float) -> float:
        return rate * (prompts.handling_s + sum(parts(rate)))

    rate = full
    if inside(full) > users:
        low, high = 0.0, full
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if inside(middle) <= users else (low, middle)
        rate = low
    wait_s, own_s, exposed_s, stay_s = parts(rate)
    e2e_s = users / rate
    wait_s = e2e_s - (prompts.handling_s + own_s + exposed_s + stay_s)
    gaps = float(question.load.output_tokens) - 1
    tpot_s = stay_s / gaps if gaps else _one_token_s(question)
    ttft_s = e2e_s - stay_s
    burst_s = prompts.handling_s + exposed_s + (users / most[PREFILL] + own_s) / 2
    mean_ttft_s = ttft_s + max(burst_s - ttft_s, 0.0) / question.load.requests_per_user
    use = {name: rate / value for name, value in most.items()}
    if not gaps:  # the first token is the last: nothing is decoded
        use[DECODE] = 0.0
    binds = max(use, key=lambda name: use[name]) if rate >= full else USERS
    return DisaggregatedTimes(
        ttft_s=ttft_s,
        mean_ttft_s=mean_ttft_s,
        handling_s=prompts.handling_s,
        wait_s=max(wait_s, 0.0),
        prefill_s=own_s,
        transfer_s=exposed_s,
        sent_s=send_s,
        tpot_s=tpot_s,
        e2e_s=e2e_s,
        requests_per_s=rate,
        sequences=rate * stay_s / decoders,
        use=use,
        binds=binds,
    )


def _one_token_s(question: Disaggregated) -> float:
    times, _ = price_stage(question, question.decode, decode_table(question, np.ones(())))
    return float(times.tpot_s)


def _link(question: Disaggregated) -> tuple[float, float]:
    """Seconds of one transfer, and the most transfers in a second."""
    prompt = float(question.load.prompt_tokens)
    rates = []
    sides = []
    for workers in (question.prefill, question.decode):
        moved_s = transfer_bytes(workers, prompt) / question.link.bandwidth_bytes_per_s
        sides.append(moved_s)
        rates.append(workers.count * float(workers.deployment.parallelism.dp) / moved_s)
    return max(sides) + question.link.latency_s, min(rates)


def _exposed(question: Disaggregated, send_s: float, prefill_s: float) -> float:
    """What of a transfer is not hidden: all, or at least the last layer's share and the latency."""
    if not question.overlapped:
        return send_s
    layers = question.prefill.deployment.model.num_layers
    latency_s = question.link.latency_s
    moved_s = send_s - latency_s
    return latency_s + max(moved_s - prefill_s * (1 - 1 / layers), moved_s / layers)
