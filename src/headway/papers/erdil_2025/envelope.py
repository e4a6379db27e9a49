"""The back of the envelope on catalogue numbers: the fastest cluster, its speed and its cost."""

from __future__ import annotations

from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.papers.erdil_2025.closed_form import ClosedForm, critical_batch
from headway.report.report import Report, Row
from headway.steptime.deployment import native
from headway.units import check_positive

HOP_S = 1e-6


def closed_form(
    model: ModelArchitecture, precision: Precision, cluster: Cluster, hop_s: float = HOP_S
) -> Report:
    """Equations 2 and 12 to 18 of Erdil 2025 for ``model`` on ``cluster`` at data-sheet rates.

    A sequence alone reads all active weights; every layer reduces 4 times over rings of
    sqrt(accelerators) with ``hop_s`` per hop, half as often where its blocks run in parallel.

    Raises:
        InputError: a hop that takes no time, or a cluster without a price.
    """
    check_positive(hop_s, "time of a hop in seconds", maximum=1.0)
    used = native(precision, cluster.accelerator)
    chip = cluster.accelerator
    peak = chip.flops_per_s(used.activations)
    read_s = model.active_params * used.weights.bytes / chip.memory_bandwidth_bytes_per_s
    reductions = 2 if model.parallel_blocks else 4
    form = ClosedForm(read_s, model.num_layers * reductions * hop_s)
    batch = critical_batch(used.weights.bytes, peak, chip.memory_bandwidth_bytes_per_s)
    price = cluster.usd_per_accelerator_s * 1e6
    floor = 2 * model.active_params / peak * price
    row: Row = {
        "accelerator": cluster.name,
        "model": model.name,
        "active_params": model.active_params,
        "read_s": read_s,
        "hops_s": form.hops_s,
        "critical_batch": batch,
        "num_accelerators": form.num_accelerators,
        "step_s": form.latency_s,
        "tok_per_s_per_user": 1 / form.latency_s,
        "approximate_step_s": form.approximate_latency_s,
        "usd_per_mtok": form.accelerator_s_per_token(batch) * price,
        "usd_per_mtok_floor": floor,
        "basis": "assumed",
    }
    return Report(
        kind="closed-form",
        title=f"{model.name} in {used} on {cluster.name}, on the back of the envelope",
        question={
            "model": model.name,
            "on": cluster.name,
            "precision": str(precision),
            "hop_s": hop_s,
        },
        rows=(row,),
        notes=(
            "full data-sheet rates, no network bandwidth, no KV cache, real-valued cluster: an "
            "order of magnitude, not a plan",
        ),
        sources={"formulas": "Erdil 2025, arXiv 2506.04645, equations 2 and 12 to 18"},
    )
