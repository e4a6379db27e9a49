"""Make the profiles that ship from the public traces: ``python -m tools.fit_profiles``.

The traces are not part of this repository; `headway.workload.traces` says where each is found.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from headway.workload.arrivals import burstiness
from headway.workload.lengths import FINE_LEVELS, JointLengths
from headway.workload.oracle import Trace
from headway.workload.profile import Profile, Sharing, seen_fractions
from headway.workload.traces import read_trace

SOURCES = {
    "azure-conv": (
        "azure_llm_2023_conv.parquet",
        0.0,
        "Azure LLM inference trace 2023, conversation (AzurePublicDataset, CC-BY-4.0)",
    ),
    "azure-code": (
        "azure_llm_2023_code.parquet",
        0.0,
        "Azure LLM inference trace 2023, code (AzurePublicDataset, CC-BY-4.0)",
    ),
    "mooncake-conv": (
        "mooncake_conversation.parquet",
        3.0,
        "Mooncake conversation trace (kvcache-ai/Mooncake, Apache-2.0)",
    ),
    "servegen-chat": (
        "servegen_sample_m-mid_1h_8rps.parquet",
        0.0,
        "ServeGen, model m-mid, 18:00-19:00 at 8 requests/s (alibaba/ServeGen, Apache-2.0)",
    ),
    "servegen-reasoning": (
        "servegen_sample_deepseek-r1_1h_8rps.parquet",
        0.0,
        "ServeGen, model deepseek-r1, 18:00-19:00 at 8 requests/s (alibaba/ServeGen, Apache-2.0)",
    ),
}


def fit(name: str, trace: Trace, tick_s: float, source: str) -> Profile:
    """The profile of ``trace``."""
    times = trace.arrival_s - trace.arrival_s[0]
    gap_cv, rate_cv = burstiness(times)

    sharing = None
    if trace.prefixes is not None:
        fractions = seen_fractions(trace.prefixes)
        order = np.argsort(trace.prompt_tokens, kind="stable")
        rows = [
            tuple(round(float(v), 4) for v in np.quantile(fractions[rows], FINE_LEVELS))
            for rows in np.array_split(order, 10)
        ]
        sharing = Sharing(trace.prefixes.tokens, tuple(rows))

    if tick_s:
        gap_cv = 1.0  # a coarse clock hides the gaps; minute counts are those of a Poisson process
    return Profile(
        name=name,
        rate_rps=round(trace.rate_rps, 4),
        gap_cv=round(gap_cv, 4),
        rate_cv=round(rate_cv, 4),
        tick_s=tick_s,
        lengths=_rounded(JointLengths.fit(trace.prompt_tokens, trace.output_tokens)),
        sharing=sharing,
        source=source,
    )


def _rounded(lengths: JointLengths) -> JointLengths:
    return JointLengths(
        tuple(round(v, 1) for v in lengths.prompt),
        tuple(tuple(round(v, 1) for v in row) for row in lengths.output),
    )


def main(arguments: list[str]) -> None:
    """Fit every trace of folder ``arguments[0]`` into folder ``arguments[1]``."""
    folder, target = map(Path, arguments)
    for name, (file, tick_s, source) in SOURCES.items():
        profile = fit(name, read_trace(folder / file), tick_s, source)
        (target / f"{name}.json").write_text(profile.to_json(), encoding="utf-8")
        print(
            f"{name}: {profile.rate_rps} requests/s, gaps {profile.gap_cv}, rate {profile.rate_cv}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
