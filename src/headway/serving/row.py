"""One deployment under one load, as a row: the columns of estimates and of frontiers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headway.report.chart import Chart
from headway.report.column import column
from headway.report.estimate import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingRow:
    """What a load takes on a deployment; times are of the steady state of a closed loop."""

    accelerator: str = column("accelerator", "what serves")
    num_accelerators: int = column("count", "accelerators of the engine")
    layout: str = column("layout", "degrees of tensor, pipeline, data and expert parallelism")
    model: str = column("model", "what is served", detail=True)
    precision: str = column("precision", "weights/activations/KV cache, as computed", detail=True)
    engine: str | None = column("engine", "whose measured step times; none: the data sheet's")
    concurrency: float = column("at once", "requests in the system, running or queued")
    running: float = column("running", "requests that have a seat", detail=True)
    draft: str | None = column("draft", "drafted tokens per pass, and where")
    tokens_per_pass: float = column(
        "per pass", "output tokens of a decode step and sequence", detail=True
    )
    tok_per_s_per_user: Estimate = column("tok/s/user", "output tokens of a user after the first")
    ttft_s: Estimate = column(
        "TTFT", "arrival to first token, median, queueing included", unit="ms", scale=1e3
    )
    ttft_p95_s: float = column(
        "TTFT p95", "of requests in the steady state", unit="ms", scale=1e3, detail=True
    )
    mean_ttft_s: float = column(
        "mean TTFT", "over a whole run, its start included", unit="ms", scale=1e3, detail=True
    )
    queue_s: float = column("queue", "wait for a seat", unit="ms", scale=1e3, detail=True)
    tpot_s: Estimate = column(
        "TPOT", "time per output token after the first", unit="ms", scale=1e3, detail=True
    )
    e2e_s: Estimate = column("e2e", "arrival to last token", unit="ms", scale=1e3, detail=True)
    requests_per_s: float = column("requests/s", "of the whole engine", detail=True)
    output_tok_per_s_per_accelerator: Estimate = column(
        "tok/s/acc.", "output tokens/s of one accelerator"
    )
    total_tok_per_s_per_accelerator: float = column(
        "with prompts", "prompt and output tokens/s of one accelerator", detail=True
    )
    usd_per_hour: float | None = column("$/h", "of all accelerators", detail=True)
    usd_per_mtok_output: Estimate | None = column(
        "$/Mtok out", "all cost on output tokens; idle hours only as the duty cycle says"
    )
    usd_per_mtok_blended: float | None = column(
        "blended", "$/Mtok of prompt and output; idle hours only as the duty cycle says"
    )
    break_even_usd_per_mtok_input: float | None = column(
        "input", "$/Mtok at which input tokens pay for their time", detail=True
    )
    break_even_usd_per_mtok_cached_input: float | None = column(
        "cached", "$/Mtok at which cached input tokens pay for their time", detail=True
    )
    break_even_usd_per_mtok_output: float | None = column(
        "output", "$/Mtok at which output tokens pay for the rest", detail=True
    )
    break_even_load: float | None = column(
        "break-even", "share of this load from which it is cheaper than the API", detail=True
    )
    power_w: float | None = column("power", "of one accelerator", unit="W", detail=True)
    joules_per_output_token: Estimate | None = column(
        "energy", "of all accelerators per output token", unit="J/token", detail=True
    )
    decode_step_s: float = column("step", "one decode step", unit="ms", scale=1e3, detail=True)
    arithmetic_s: float | None = column(
        "arithmetic", "of a decode step, alone", unit="ms", scale=1e3, detail=True
    )
    memory_s: float | None = column(
        "memory", "of a decode step, alone; overlaps arithmetic", unit="ms", scale=1e3, detail=True
    )
    network_s: float | None = column(
        "network", "of a decode step, bandwidth of exchanges", unit="ms", scale=1e3, detail=True
    )
    latency_s: float | None = column(
        "latency", "of a decode step: launches, hops, engine", unit="ms", scale=1e3, detail=True
    )
    mfu: float | None = column("MFU", "share of the dense peak in use", digits=2, detail=True)
    mbu: float | None = column("MBU", "share of the memory bandwidth in use", digits=2, detail=True)
    binds: str | None = column("binds", "the largest part of a decode step")
    outside_octaves: float = column(
        "distance", "doublings outside the measured range; intervals widen", detail=True
    )
    basis: str = column("basis", "the weakest of what the times rest on")
    on_front: bool | None = column(
        "front", "no other row is faster and cheaper", detail=True, default=None
    )


FRONTIER_CHART = Chart(
    x="tok_per_s_per_user",
    y="usd_per_mtok_output",
    series="accelerator",
    front="on_front",
    x_label="speed, tokens/s per user",
    y_label="cost, $ per million output tokens",
    legend="thick line: front over the accelerators shown  ·  "
    "★ preferred: largest speed³ / cost, with its interval",
    details=("num_accelerators", "accelerator", "layout", "concurrency", "draft"),
)
UNPRICED_CHART = replace(
    FRONTIER_CHART,
    y="output_tok_per_s_per_accelerator",
    y_label="throughput, output tokens/s per accelerator",
    legend="no price is known  ·  ★ preferred: largest speed³ / accelerator-hours",
)
CONCURRENCY_CHARTS = (
    Chart(
        x="concurrency",
        y="tpot_s",
        series="accelerator",
        x_label="requests at once",
        y_label="time per output token",
        legend="bars: the interval of each answer",
        intervals=True,
    ),
    Chart(
        x="concurrency",
        y="output_tok_per_s_per_accelerator",
        series="accelerator",
        x_label="requests at once",
        y_label="output tokens/s per accelerator",
        intervals=True,
    ),
)
