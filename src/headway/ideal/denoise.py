"""What an endpoint does when nothing disturbs it, and what disturbed it, from timed probes.

The published method takes the minimum of total times and calls the rest overhead. Streaming tells
more: time to first token and time per token are separate, so each gets its own lower envelope;
round trips without inference give the network; the shortest prompts against a decode step give
the queue; what is left is contention, and what of it moves slowly with the clock is drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.ideal.prompt_curve import Tiles
from headway.ideal.request_profile import RequestProfile
from headway.ideal.runtime_fit import GPU_PRIORS, GPU_TILES, RuntimeFit, fit_runtime
from headway.ideal.runtime_form import SOME_OVERHEAD, Priors
from headway.measure.endpoint.probe import Probe
from headway.measure.trials import Interval, lower_envelope

MIN_PROBES_PER_STRETCH = 8
MAX_STRETCHES = 24


@dataclass(frozen=True, slots=True)
class Drift:
    """How much slower the endpoint was at one time of the campaign than at its best."""

    start_s: float
    end_s: float
    factor: Interval


@dataclass(frozen=True, slots=True, eq=False)
class Denoised:
    """An endpoint without its disturbances.

    Attributes:
        runtime: of a request on the endpoint's machines, without network and queue.
        network_s: of a round trip; ``None`` where no round trip was timed.
        drift: one entry per stretch of the campaign, one in all if it was too short to tell.
        probes: those that were used.
        notes: what a reader must know.

    """

    runtime: RuntimeFit
    network_s: Interval | None
    drift: tuple[Drift, ...]
    probes: tuple[Probe, ...]
    notes: tuple[str, ...]

    @property
    def queue_s(self) -> Interval:
        """Front end and scheduling.

        Told from prompt time by what engines do with short prompts (`Priors.log_first`), hence with
        a wide interval.
        """
        return self.runtime.overhead_s


def denoise(
    probes: Sequence[Probe],
    pings_s: Sequence[float] = (),
    tiles: Tiles | None = GPU_TILES,
    priors: Priors = GPU_PRIORS,
) -> Denoised:
    """Separate what ``probes`` saw; raise `InputError` where too little was seen.

    Failed probes are left out here (and counted in a note); the ledger keeps them.

    Args:
        probes: of one campaign.
        pings_s: seconds of round trips without inference.
        tiles: steps of the prompt's growth on the endpoint's machines.
        priors: expectations of the runtime.

    """
    usable = [probe for probe in probes if probe.complete and len(probe.chunks_s) > 1]
    by_size: dict[int, list[Probe]] = {}
    for probe in usable:
        by_size.setdefault(probe.planned_tokens, []).append(probe)
    if len(by_size) < 2:
        raise InputError(
            f"{len(usable)} complete answers of {len(by_size)} prompt sizes are too few: at least "
            "two sizes, each with an answer of two chunks or more, are needed"
        )

    network_s = lower_envelope(pings_s).floor_s if pings_s else None
    away_s = network_s.expected if network_s else 0.0
    profile = _floors(list(by_size.values()), away_s)
    runtime = fit_runtime(profile, tiles, replace(priors, log_overhead=SOME_OVERHEAD))

    notes = _notes(probes, usable)
    if network_s is None:
        notes.append("no round trip was timed, so the queue includes the network")
    return Denoised(
        runtime=runtime,
        network_s=network_s,
        drift=_drift(by_size, away_s),
        probes=tuple(usable),
        notes=tuple(notes),
    )


def fresh_tokens(probe: Probe) -> float:
    """Return prompt tokens that were computed: counted ones less cached ones, else the words."""
    counted = probe.usage.prompt_tokens
    total = probe.prompt_words if counted is None else counted
    return max(total - (probe.usage.cached_tokens or 0), 1.0)


def first_token_s(probe: Probe) -> float:
    """Return seconds to the first generated token, which may have been hidden."""
    ttft_s = probe.ttft_s or 0.0
    return max(ttft_s - (probe.hidden_tokens or 0) * (probe.tpot_s or 0.0), 1e-6)


def last_token_s(probe: Probe) -> float:
    """Return seconds to the last token without stalls between tokens."""
    return max(probe.calm_s, first_token_s(probe))


def _floors(groups: Sequence[Sequence[Probe]], away_s: float) -> RequestProfile:
    """Return the floors of the first and of the last token of each prompt size, less ``away_s``.

    Floors are of moments and not of gaps: a late reader moves moments one way only.
    """
    rows = []
    for group in groups:
        first = lower_envelope([first_token_s(probe) for probe in group]).floor_s
        last = lower_envelope([last_token_s(probe) for probe in group]).floor_s
        prompt_tokens = np.mean([fresh_tokens(probe) for probe in group])
        output_tokens = np.mean([probe.output_tokens for probe in group])

        # What is left is never nothing, and the last token never before the first.
        first_s = max(first.expected - away_s, 0.05 * first.expected)
        last_s = max(last.expected - away_s, 1.001 * first_s)
        for output, seconds, floor in (
            (1.0, first_s, first),
            (max(output_tokens, 2.0), last_s, last),
        ):
            rows.append((prompt_tokens, output, seconds, floor.sd / seconds))

    prompts, outputs, runtimes_s, spread = np.asarray(rows, dtype=np.float64).T
    return RequestProfile(prompts, outputs, runtimes_s, spread)


def _drift(by_size: Mapping[int, Sequence[Probe]], away_s: float) -> tuple[Drift, ...]:
    """Return the lower envelopes of stretches of the campaign against the best of them."""

    def served_s(probe: Probe) -> float:
        return max(last_token_s(probe) - away_s, 1e-6)

    # Each probe over the fastest of its size, in the order of time.
    fastest_s = {size: min(map(served_s, probes)) for size, probes in by_size.items()}
    ratios = sorted(
        (probe.sent_at, served_s(probe) / fastest_s[size])
        for size, probes in by_size.items()
        for probe in probes
    )
    count = min(max(len(ratios) // MIN_PROBES_PER_STRETCH, 1), MAX_STRETCHES)
    stretches = np.array_split(np.asarray(ratios), count)
    floors = [lower_envelope(stretch[:, 1].tolist()).floor_s for stretch in stretches]

    # A floor that may be anything down to 0 is still no less than half of what is expected.
    best = min(floors, key=lambda floor: floor.expected)
    best_lower = max(best.lower, 0.5 * best.expected)
    drift = []
    for stretch, floor in zip(stretches, floors, strict=True):
        expected = floor.expected / best.expected
        lower = min(max(floor.lower / best.upper, 1.0), expected)
        upper = max(floor.upper / best_lower, expected)

        # What the best stretch may have as well is no drift.
        if lower <= 1.0:
            expected = lower = 1.0
        factor = Interval(lower, expected, upper)
        drift.append(Drift(float(stretch[0, 0]), float(stretch[-1, 0]), factor))
    return tuple(drift)


def _notes(probes: Sequence[Probe], usable: Sequence[Probe]) -> list[str]:
    notes = []
    failures = [probe for probe in probes if not probe.complete]
    if failures:
        kinds = sorted({str(probe.failure) for probe in failures})
        notes.append(f"{len(failures)} of {len(probes)} requests failed ({', '.join(kinds)})")

    if any(probe.usage.output_tokens is None for probe in usable):
        notes.append(
            "no usage was reported: chunks are counted as tokens and words as prompt tokens"
        )
    if num_cached := sum(1 for probe in usable if probe.usage.cached_tokens):
        notes.append(
            f"{num_cached} prompts were cached in part; only their other tokens count as prompt"
        )
    if any(probe.hidden_tokens for probe in usable):
        notes.append("reasoning tokens were generated and not sent; the first token precedes them")
    if any(probe.tokens_per_chunk > 1.2 for probe in usable):
        notes.append("chunks carry several tokens, so gaps between single tokens were not seen")
    return notes
