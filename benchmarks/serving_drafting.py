"""Measured deployments that draft tokens (MTP) against the model.

InferenceX says that a row drafts, not how much: its public scripts do. TensorRT-LLM drafts 3
tokens, 1 with data-parallel attention; SGLang drafts 3, and 2 for DeepSeek-R1 on B200. Acceptance
is what ships. Coefficients come from the rows that do not draft: all of them, or, held out, those
of other accelerators or of other models only. Only the two constants of what drafting itself adds
were fitted to these rows; `grid` fits them anew without each accelerator and each model.

    python benchmarks/serving_drafting.py ../shared/data/measured/measured.csv.gz
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tools.held_out import fit_points
from tools.serving_coefficients import take

from headway.errors import InputError
from headway.serving.estimate import serve
from headway.serving.serving_point import (
    ServingPoint,
    corrected_times,
    stack_points,
    subject,
)
from headway.steptime.acceptance import Acceptance, acceptance_of
from headway.steptime.calibration import shipped
from headway.steptime.placed_model import Drafting
from headway.steptime.speculative import Speculation, mtp_draft
from headway.steptime.work import Array
from headway.steptime.worktable import DRAFT_S, DRAFT_SEQUENCE_S
from tools import published_points as data


def drafted_by(row: data.Row, point: ServingPoint) -> int:
    """Tokens drafted per pass, as the scripts of the collection set them."""
    if point.engine == "tensorrt-llm":
        return 1 if row["dp_attn"] in ("1", "1.0") else 3
    return 2 if (point.model, point.hardware) == ("deepseek-r1", "b200") else 3


def read(path: Path, left_out: Counter[str]) -> Iterator[ServingPoint]:
    for row in data.rows_of(path):
        if row["spec_decode"] != "mtp" or row["mode"] != "agg":
            continue
        plain = {**row, "spec_decode": "none"}
        reason = data._doubt(plain)
        if reason is None:
            try:
                point = data._point(plain)
                reason = data.impossible(point)
            except InputError as error:
                reason = str(error)[:60]
        if reason is not None:
            left_out[reason] += 1
            continue
        speculation = speculation_of(point, acceptance_of(point.deployment.model))
        drafting = Drafting(speculation, tokens=drafted_by(row, point))
        yield replace(point, deployment=point.deployment.with_drafting(drafting))


def drafted_tokens(point: ServingPoint) -> float:
    drafting = point.deployment.drafting
    return 0.0 if drafting is None else float(drafting.tokens)


def speculation_of(point: ServingPoint, known: Acceptance) -> Speculation:
    draft = mtp_draft(point.deployment.model)
    return Speculation(
        draft, known.first, shares_weights=True, decay=known.decay, spread=known.spread
    )


def held_out(
    points: Sequence[ServingPoint],
    asked: Sequence[ServingPoint],
    group: Callable[[ServingPoint], str],
) -> tuple[Array, Array]:
    """Seconds per token and tokens per second of ``asked``, fitted to other groups' ``points``."""
    table, asked_table = stack_points(points), stack_points(asked)
    names = np.array([group(point) for point in asked])
    tpot, rate = np.zeros(len(asked)), np.zeros(len(asked))
    for name in sorted(set(names)):
        rows = np.array([i for i, p in enumerate(points) if group(p) != name], dtype=np.int64)
        fit = fit_points([points[int(i)] for i in rows], take(table, rows))
        here = np.flatnonzero(names == name).astype(np.int64)
        times = fit.times([asked[int(i)] for i in here], take(asked_table, here))
        tpot[here] = times.tpot_s
        rate[here] = times.requests_per_s * asked_table.shape.total_tokens[here]
    return tpot, rate


def shown(label: str, truth: Array, said: Array) -> str:
    known = np.isfinite(truth)
    ratio = said[known] / truth[known]
    off = np.abs(ratio - 1)
    return (
        f"| {label} | {known.sum()} | {off.mean() * 100:.1f}% | {np.median(off) * 100:.1f}% | "
        f"{np.mean(off <= 0.25) * 100:.0f}% | {np.expm1(np.median(np.log(ratio))) * 100:+.0f}% |"
    )


def main() -> None:
    left_out: Counter[str] = Counter()
    path = Path(sys.argv[1])
    asked = list(read(path, left_out))
    points, _ = data.read_points(path)
    print(f"{len(asked)} points that draft; left out {dict(left_out)}")
    tpot = np.array([p.tpot_s or np.nan for p in asked])
    rate = np.array([p.total_tok_per_s or np.nan for p in asked])

    inside = []
    tokens = []
    for p in asked:
        found = serve(p.deployment, p.load)
        low, high = float(found.tpot_s.lower), float(found.tpot_s.upper)
        inside.append(low <= (p.tpot_s or np.nan) <= high)
        without = serve(p.deployment.with_drafting(None), p.load).times
        tokens.append(float(found.times.tpot_s / without.tpot_s))
    print(f"80% interval of the time per token holds {np.mean(inside) * 100:.0f}%")
    print(f"drafting changes the modelled time per token by x{np.median(tokens):.2f} in the median")
    splits: Mapping[str, Callable[[ServingPoint], str]] = {
        "in sample but for drafting": lambda p: "",
        "accelerator left out": lambda p: p.hardware,
        "model left out": lambda p: p.model,
    }
    print("| quantity, split | points | MAPE | median | within 25% | bias |")
    print("|---|---|---|---|---|---|")
    first: Array = tpot
    for split, group in splits.items():
        fits = group if split.endswith("left out") else _nobody
        said_tpot, said_rate = held_out(points, asked, fits)
        first = said_tpot if fits is _nobody else first
        print(shown(f"TPOT, {split}", tpot, said_tpot))
        print(shown(f"throughput, {split}", rate, said_rate))
    grid(asked)
    for grouping in (_engine, _hardware, _model, _drafted):
        for name in sorted({grouping(p) for p in asked}):
            here = np.array([grouping(p) == name for p in asked])
            print(shown(f"TPOT, {name}", tpot[here], first[here]))


def grid(asked: Sequence[ServingPoint]) -> None:
    """Print errors with the two constants chosen on a grid, each group by the others."""
    table = stack_points(asked)
    calibration = shipped()
    theta = np.exp(np.stack([calibration.logs(subject(p)) for p in asked]))
    weights = [calibration.weights(subject(p)) for p in asked]
    tpot = np.array([p.tpot_s for p in asked])
    drafted = np.array([drafted_tokens(p) for p in asked])
    errors: dict[tuple[float, float], Array] = {}
    for step_s in (0.0, 2.5e-4, 5e-4, 7.5e-4, 1e-3, 1.5e-3):
        for sequence_s in (0.0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4):
            added_s = step_s - DRAFT_S + (sequence_s - DRAFT_SEQUENCE_S) * table.decode.sequences
            more = drafted * added_s
            decode = replace(table.decode, waiting_s=table.decode.waiting_s + more)
            mixed = replace(table.mixed, waiting_s=table.mixed.waiting_s + more * table.shape.mixes)
            times = corrected_times(replace(table, decode=decode, mixed=mixed), theta, weights)
            errors[step_s, sequence_s] = np.abs(times.tpot_s / tpot - 1)
    for name, group in {"accelerator": _hardware, "model": _model, "engine": _engine}.items():
        names = np.array([group(p) for p in asked])
        off = np.zeros(len(asked))
        for left in sorted(set(names)):
            best = min(errors, key=lambda found: float(errors[found][names != left].mean()))
            off[names == left] = errors[best][names == left]
            print(f"without {left}: {best[0] * 1e3:g} ms a step, {best[1] * 1e6:g} us a sequence")
        print(
            f"constants fitted without the {name}: mean error {off.mean() * 100:.1f}%, "
            f"median {np.median(off) * 100:.1f}%, within 25% {np.mean(off <= 0.25) * 100:.0f}%"
        )


def _nobody(point: ServingPoint) -> str:
    return "asked" if point.deployment.drafting else "others"


def _engine(point: ServingPoint) -> str:
    return point.engine


def _hardware(point: ServingPoint) -> str:
    return point.hardware


def _model(point: ServingPoint) -> str:
    return point.model


def _drafted(point: ServingPoint) -> str:
    return f"{point.engine} {point.model} {drafted_tokens(point):g} drafted"


if __name__ == "__main__":
    main()
