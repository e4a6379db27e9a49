"""How wrong the client's own clock is, measured against a server that knows."""

from __future__ import annotations

from time import process_time

import numpy as np

from headway.load.known import known_server
from headway.load.measure import measured
from headway.load.plan import evenly_shaped, plan_trace
from headway.load.run import Server, closed_loop, run
from headway.report.report import Row

TTFT_S, ITL_S, TOKENS = 0.05, 0.01, 32
MOST_TOKENS_PER_S = 20_000  # what the known server writes on time beside other work


def clock_error(concurrency: int, requests: int | None = None) -> Row:
    """Ask a known server with ``concurrency`` streams; compare its figures with ours."""
    itl_s = max(ITL_S, concurrency / MOST_TOKENS_PER_S)
    count = requests or max(50, 8 * concurrency)
    ramp_s = TTFT_S + (TOKENS - 1) * itl_s
    with known_server(TTFT_S, itl_s, TOKENS) as known:
        planned = plan_trace(evenly_shaped(count, 8, TOKENS), "known")
        began_s = process_time()
        outcome = run(lambda: closed_loop(Server(known.url), planned, concurrency, ramp_s=ramp_s))
        cpu_s = process_time() - began_s
        truth = np.array(known.ttfts_s())
    row = measured(outcome)
    ttft, tpot, p99 = row["ttft_mean_s"], row["tpot_mean_s"], row["ttft_p99_s"]
    return {
        "concurrency": concurrency,
        "requests": count,
        "failed": row["failed"],
        "true_ttft_mean_s": float(truth.mean()),
        "error_mean_s": float(ttft or 0.0) - float(truth.mean()),
        "error_p99_s": float(p99 or 0.0) - float(np.quantile(truth, 0.99)),
        "tpot_error": float(tpot or 0.0) / itl_s - 1,
        "cpu_per_request_s": cpu_s / count,
    }
