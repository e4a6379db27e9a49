"""Estimates as reports: one row for every load and layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.report.estimate import Estimate
from headway.report.report import Report
from headway.serving.estimate import ServingEstimate
from headway.serving.load import Load
from headway.serving.quantity import Quantity, span
from headway.serving.row import CONCURRENCY_CHARTS, ServingRow
from headway.serving.token_prices import ApiPrices, break_even_load, break_even_prices
from headway.steptime.deployment import Deployment
from headway.steptime.time_estimate import Basis
from headway.steptime.work import Number
from headway.units import HOUR_S

NOTES = (
    "steady state of a closed loop; prompts are billed",
    "with an engine, intervals hold 80% of the points that were left out of its fit; without one, "
    "they run from what the data sheet allows to poor kernels",
)


def estimate(
    deployment: Deployment, load: Load, api: ApiPrices | None = None
) -> Report[ServingRow]:
    """Return what ``load`` takes on ``deployment``, one row for every concurrency and layout.

    Args:
        deployment: what serves.
        load: what is asked of it.
        api: prices of an API, to say from which share of the load the deployment is cheaper.

    Raises:
        DoesNotFitError: not one sequence fits.
        InputError: the load exceeds what the model or the deployment takes.

    """
    served = load.served_by(deployment)
    rows, loop = tuple(rows_of(served, api)), served.loop
    prompt, output, concurrency = map(
        span, (loop.prompt_tokens, loop.output_tokens, loop.concurrency)
    )
    return Report(
        kind="estimate",
        title=f"{deployment}: {prompt} tokens in, {output} out, {concurrency} at once",
        question={
            "model": deployment.model.name,
            "on": deployment.cluster.name,
            "precision": str(deployment.precision),
            "layout": str(deployment.parallelism),
            "engine": deployment.engine,
            "prompt_tokens": prompt,
            "output_tokens": output,
            "concurrency": concurrency,
            "cached_fraction": span(loop.cached_fraction),
        },
        rows=rows,
        notes=(*NOTES, *notes_of(served)),
        sources=sources_of(deployment),
        charts=CONCURRENCY_CHARTS if len(rows) > 1 else (),
    )


def sources_of(deployment: Deployment) -> dict[str, str]:
    """Return where the numbers of the hardware and of the engine were read."""
    sources = deployment.cluster.citations
    if deployment.engine is not None:
        sources["calibration"] = deployment.calibration.origin
    return sources


def notes_of(served: ServingEstimate) -> Iterator[str]:
    """Yield what a reader must know besides the numbers of one deployment."""
    cluster = served.deployment.cluster.name
    if served.deployment.cluster.price is not None:
        yield f"{cluster}: {served.deployment.cluster.price}"
    yield f"{cluster}: basis {served.basis.value}; {served.doubt.words}"
    queued = served.shape.seats < served.shape.concurrency
    if np.any(queued):
        running = float(np.max(served.shape.seats[queued]))
        yield f"{cluster}: at most {running:g} requests run at once; the others queue"
        yield from _preemption_note(served)

    if served.deployment.sorted_logits:
        yield f"{cluster}: for every token, {served.deployment.sorted_logits:,} numbers are sorted"
    elif served.deployment.top_p:
        yield f"{cluster}: choosing tokens by top-p is not known to cost this engine anything"

    drafting = served.deployment.drafting
    if drafting is not None and drafting.speculation.source:
        speculation = drafting.speculation
        yield (
            f"acceptance is assumed, {speculation.acceptance:g} for the first drafted token: "
            f"{speculation.source}"
        )


def _preemption_note(served: ServingEstimate) -> Iterator[str]:
    """Say where answers outgrow the cache, so that engines stop requests that they started."""
    stops = float(np.max(served.shape.stops))
    if stops >= 0.1:
        yield (
            f"{served.deployment.cluster.name}: engines start by prompts alone; where answers "
            f"outgrow the cache, a request is stopped {stops:.2g} times, waits, and what it had is "
            "computed again: counted in all times"
        )


def rows_of(served: ServingEstimate, api: ApiPrices | None = None) -> Iterator[ServingRow]:
    """Yield one row for every element of the broadcast shape, in the order of the arrays."""
    usd_per_s, blended = served.usd_per_s, served.usd_per_mtok_blended
    prices = None if usd_per_s is None else break_even_prices(served)
    load_share = None if api is None else break_even_load(served, api)
    components, use = served.served.decode.components, served.served.peak_use
    deployment, counts, times = served.deployment, served.shape, served.times
    binds = None if components is None else components.binds

    for place in np.ndindex(times.e2e_s.shape):
        at = _Place(place, times.e2e_s.shape)
        count = at.number(counts.num_accelerators)
        yield ServingRow(
            accelerator=deployment.cluster.name,
            num_accelerators=int(count),
            layout=at.layout(deployment),
            model=deployment.model.name,
            precision=str(deployment.precision),
            engine=deployment.engine,
            concurrency=at.count(counts.concurrency),
            running=at.count(counts.seats),
            draft=at.draft(deployment),
            tokens_per_pass=at.number(counts.tokens_per_pass),
            tok_per_s_per_user=at.estimate(served.tok_per_s_per_user),
            ttft_s=at.estimate(served.ttft_s),
            ttft_p95_s=at.number(times.ttft_p95_s),
            mean_ttft_s=at.number(times.mean_ttft_s),
            queue_s=at.number(times.queue_s),
            tpot_s=at.estimate(served.tpot_s),
            e2e_s=at.estimate(served.e2e_s),
            requests_per_s=at.number(times.requests_per_s),
            output_tok_per_s_per_accelerator=at.estimate(served.output_tok_per_s_per_accelerator),
            total_tok_per_s_per_accelerator=at.number(served.total_tok_per_s) / count,
            usd_per_hour=None if usd_per_s is None else at.number(usd_per_s) * HOUR_S,
            usd_per_mtok_output=at.maybe_estimate(served.usd_per_mtok_output),
            usd_per_mtok_blended=None if blended is None else at.number(blended.expected),
            break_even_usd_per_mtok_input=None if prices is None else at.number(prices.input),
            break_even_usd_per_mtok_cached_input=(
                None if prices is None else at.number(prices.cached_input)
            ),
            break_even_usd_per_mtok_output=None if prices is None else at.number(prices.output),
            break_even_load=at.maybe(load_share),
            power_w=at.maybe(served.power_w),
            joules_per_output_token=at.maybe_estimate(served.joules_per_token),
            decode_step_s=at.number(times.decode_step_s),
            arithmetic_s=None if components is None else at.number(components.arithmetic_s),
            memory_s=None if components is None else at.number(components.memory_s),
            network_s=None if components is None else at.number(components.network_s),
            latency_s=None if components is None else at.number(components.latency_s),
            mfu=None if use is None else at.number(use[0]),
            mbu=None if use is None else at.number(use[1]),
            binds=None if binds is None else str(np.broadcast_to(binds, at.shape)[place]),
            outside_octaves=at.number(served.doubt.octaves),
            basis=at.basis(served.doubt.bases).value,
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """One element of arrays that broadcast to ``shape``."""

    index: tuple[int, ...]
    shape: tuple[int, ...]

    def number(self, values: Number) -> float:
        return float(np.broadcast_to(values, self.shape)[self.index])

    def count(self, values: Number) -> float:
        """A number, as an integer where it is whole."""
        number = self.number(values)
        return int(number) if number == int(number) else number

    def basis(self, bases: npt.NDArray[np.object_]) -> Basis:
        basis: Basis = np.broadcast_to(bases, self.shape)[self.index]
        return basis

    def maybe(self, values: Number | None) -> float | None:
        return None if values is None else self.number(values)

    def estimate(self, quantity: Quantity) -> Estimate:
        return Quantity(
            expected=np.asarray(self.number(quantity.expected)),
            lower=np.asarray(self.number(quantity.lower)),
            upper=np.asarray(self.number(quantity.upper)),
            level=quantity.level,
            bases=np.asarray(self.basis(quantity.bases), dtype=object),
        ).at()

    def maybe_estimate(self, quantity: Quantity | None) -> Estimate | None:
        return None if quantity is None else self.estimate(quantity)

    def layout(self, deployment: Deployment) -> str:
        """The layout in the form of deployments' names: ``tp4pp2``, ``tp8(2 rows)``."""
        parallelism = deployment.parallelism
        degrees = {
            name: self.number(getattr(parallelism, name)) for name in ("tp", "pp", "dp", "ep")
        }
        text = "".join(
            f"{name}{degree:g}" for name, degree in degrees.items() if degree > 1 or name == "tp"
        )
        rows = self.number(parallelism.rows)
        return text if rows == 1 else f"{text}({rows:g} rows)"

    def draft(self, deployment: Deployment) -> str | None:
        """Drafted tokens and where: ``3``, ``3 @ tp2``, ``3 @ +tp2`` (accelerators of its own)."""
        drafting = deployment.drafting
        if drafting is None or not self.number(drafting.tokens):
            return None
        tokens, tp = self.number(drafting.tokens), self.number(drafting.tp)
        if not tp:
            return f"{tokens:g}"
        plus = "+" if self.number(drafting.apart) else ""
        return f"{tokens:g} @ {plus}tp{tp:g}"
