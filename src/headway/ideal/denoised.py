"""What an endpoint does when nothing disturbs it, and what disturbed it, from timed probes.

The published method takes the minimum of total times and calls the rest overhead. Streaming tells
more: time to first token and time per token are separate, so each gets its own lower envelope;
round trips without inference give the network; the shortest prompts against a decode step give
the queue; what is left is contention, and what of it moves slowly with the clock is drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.ideal.prompt_curve import Tiles
from headway.ideal.request_profile import FloatArray, RequestProfile
from headway.ideal.runtime_fit import RuntimeFit
from headway.ideal.runtime_form import SOME_OVERHEAD, Priors
from headway.measure.endpoint.probe import Probe
from headway.measure.interval import Interval
from headway.measure.trials import lower_envelope

LEAST_PROBES_PER_BIN = 8
MOST_BINS = 24


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
        queue_s: front end and scheduling; told from prompt time by what engines do with short
            prompts (`Priors.log_first`), hence with a wide interval.
        drift: one entry per stretch of the campaign, one in all if it was too short to tell.
        probes: those that were used.
        notes: what a reader must know.

    """

    runtime: RuntimeFit
    network_s: Interval | None
    queue_s: Interval
    drift: tuple[Drift, ...]
    probes: tuple[Probe, ...]
    notes: tuple[str, ...]

    @property
    def overhead_s(self) -> float:
        """Network and queue together."""
        return self.queue_s.expected + (self.network_s.expected if self.network_s else 0.0)

    def floor_s(self, prompt_tokens: FloatArray, output_tokens: FloatArray) -> FloatArray:
        """Seconds of undisturbed requests as the user sees them, network and queue included."""
        return self.overhead_s + self.runtime.predict(prompt_tokens, output_tokens)


def denoise(
    probes: Sequence[Probe],
    pings_s: Sequence[float] = (),
    tiles: Tiles | None = None,
    priors: Priors | None = None,
) -> Denoised:
    """Separate what ``probes`` saw; raise `InputError` where too little was seen.

    Failed probes are left out here (and counted in a note); the ledger keeps them.
    """
    used = [probe for probe in probes if probe.complete and len(probe.chunks_s) > 1]
    by_size: dict[str, list[Probe]] = {}
    for probe in used:
        by_size.setdefault(probe.id.split("/")[1], []).append(probe)
    if len(by_size) < 2:
        raise InputError(
            f"{len(used)} complete answers of {len(by_size)} prompt sizes are too few: at least "
            "two sizes, each with an answer of two chunks or more, are needed"
        )
    network_s = lower_envelope(pings_s).floor_s if pings_s else None
    away_s = network_s.expected if network_s else 0.0
    prompts, outputs, firsts, first_doubt, wholes, whole_doubt = _envelopes(list(by_size.values()))
    prompt_s = np.maximum(firsts - away_s, 0.05 * firsts)
    whole_s = np.maximum(wholes - away_s, 1.001 * prompt_s)
    profile = RequestProfile(
        np.concatenate([prompts, prompts]),
        np.concatenate([np.ones_like(prompts), np.maximum(outputs, 2.0)]),
        np.concatenate([prompt_s, whole_s]),
        np.concatenate([first_doubt / prompt_s, whole_doubt / whole_s]),
    )
    priors = replace(priors or Priors(), log_overhead=SOME_OVERHEAD)
    runtime = RuntimeFit(tiles, priors).fit(profile)
    notes = _notes(list(probes), used)
    if network_s is None:
        notes.append("no round trip was timed, so the queue includes the network")
    drift = _drift(used, list(by_size), away_s)
    return Denoised(runtime, network_s, runtime.overhead_s_, drift, tuple(used), tuple(notes))


def fresh_tokens(probe: Probe) -> float:
    """Prompt tokens that had to be computed: counted ones less cached ones, else the words."""
    counted = probe.usage.prompt_tokens
    return max(
        (probe.prompt_words if counted is None else counted) - (probe.usage.cached_tokens or 0), 1.0
    )


def generated_s(probe: Probe) -> float:
    """Time to the first generated token, which may have been hidden."""
    seen = probe.ttft_s or 0.0
    return max(seen - (probe.hidden_tokens or 0) * (probe.tpot_s or 0.0), 1e-6)


def undisturbed_s(probe: Probe) -> float:
    """Time to the last token without stalls between tokens."""
    return max(probe.calm_s, generated_s(probe))


def _envelopes(groups: list[list[Probe]]) -> tuple[FloatArray, ...]:
    """Per size: fresh and output tokens, floors of first and last token, each with its doubt.

    Floors are of moments and not of gaps: a late reader moves moments one way only.
    """
    rows = []
    for group in groups:
        first = lower_envelope([generated_s(probe) for probe in group]).floor_s
        whole = lower_envelope([undisturbed_s(probe) for probe in group]).floor_s
        rows.append(
            (
                np.mean([fresh_tokens(probe) for probe in group]),
                np.mean([probe.output_tokens for probe in group]),
                first.expected,
                (first.upper - first.lower) / 3.3,
                whole.expected,
                (whole.upper - whole.lower) / 3.3,
            )
        )
    order = np.argsort([row[0] for row in rows])
    return tuple(np.asarray(rows, dtype=np.float64)[order].T)


def _drift(used: list[Probe], sizes: list[str], away_s: float) -> tuple[Drift, ...]:
    """Lower envelopes of stretches of the campaign against the best of them."""
    ordered = sorted(used, key=lambda probe: probe.sent_at)

    def served_s(probe: Probe) -> float:
        return max(undisturbed_s(probe) - away_s, 1e-6)

    least = {
        size: min(served_s(p) for p in ordered if p.id.split("/")[1] == size) for size in sizes
    }
    ratios = [(p.sent_at, served_s(p) / least[p.id.split("/")[1]]) for p in ordered]
    count = min(max(len(ratios) // LEAST_PROBES_PER_BIN, 1), MOST_BINS)
    stretches = [list(part) for part in np.array_split(np.asarray(ratios), count)]
    floors = [lower_envelope([float(ratio) for _, ratio in part]).floor_s for part in stretches]
    best = min(floors, key=lambda floor: floor.expected)
    found = []
    # A floor that may be anything down to 0 is still no less than half of what is expected.
    least_best = max(best.lower, 0.5 * best.expected)
    for part, floor in zip(stretches, floors, strict=True):
        factor = Interval(
            min(max(floor.lower / best.upper, 1.0), floor.expected / best.expected),
            floor.expected / best.expected,
            max(floor.upper / least_best, floor.expected / best.expected),
        )
        if factor.lower <= 1.0:
            # What the best stretch may have as well is no drift.
            factor = Interval(1.0, 1.0, factor.upper)
        found.append(Drift(float(part[0][0]), float(part[-1][0]), factor))
    return tuple(found)


def _notes(probes: list[Probe], used: list[Probe]) -> list[str]:
    notes = []
    failed = [probe for probe in probes if not probe.complete]
    if failed:
        kinds = sorted({str(probe.failure) for probe in failed})
        notes.append(f"{len(failed)} of {len(probes)} requests failed ({', '.join(kinds)})")
    if any(probe.usage.output_tokens is None for probe in used):
        notes.append(
            "no usage was reported: chunks are counted as tokens and words as prompt tokens"
        )
    if cached := [probe for probe in used if probe.usage.cached_tokens]:
        notes.append(
            f"{len(cached)} prompts were cached in part; only their other tokens count as prompt"
        )
    if any(probe.hidden_tokens for probe in used):
        notes.append("reasoning tokens were generated and not sent; the first token precedes them")
    if any(probe.tokens_per_chunk > 1.2 for probe in used):
        notes.append("chunks carry several tokens, so gaps between single tokens were not seen")
    return notes
