"""The plan: what to buy, all that was weighed, and what else may be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headway.errors import InputError
from headway.plan.candidate import Candidate
from headway.plan.day import Day, DayRow, day_rows
from headway.plan.emit import WITH_PRICE, emit
from headway.plan.features import FeatureRow, features
from headway.plan.measure_first import Benchmark, layout_runs
from headway.plan.mixed import Mix
from headway.plan.problem import Problem, check_priced
from headway.plan.row import PlanRow
from headway.plan.search import Offer
from headway.plan.words import asked
from headway.report.report import Report


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What to buy.

    Attributes:
        problem: what was asked.
        best: the fleet to buy; ``None`` where nothing meets the objectives.
        runner_up: the best of another accelerator, engine or format.
        cost_of_doubt: dollars a month that the asked certainty costs over even odds.
        measure_first: the benchmark that saves most; ``None`` where none pays for itself.
        benchmarks: all of them.
        mixed: a fleet of two kinds that costs less; ``None`` where none does.
        report: all that was weighed; its title is the plan in one sentence.
        offers: what was simulated, in the order of the report.
        layouts: of the best one's accelerator, engine and format, those that may turn out cheapest.

    """

    problem: Problem
    best: PlanRow | None
    runner_up: PlanRow | None
    cost_of_doubt: float
    measure_first: Benchmark | None
    benchmarks: tuple[Benchmark, ...]
    mixed: Mix | None
    report: Report[PlanRow]
    offers: tuple[Offer, ...]
    layouts: tuple[Candidate, ...] = ()

    def features(self) -> Report[FeatureRow]:
        """Return what each feature is worth on the fleet that is bought."""
        best = self._paid
        return Report(
            kind="plan-features",
            title=f"What features are worth on {best.candidate.deployment}",
            question=dict(self.report.question),
            rows=tuple(features(best)),
            notes=(asked(self.problem),),
        )

    def measurements(self) -> Report[Benchmark]:
        """Return what each benchmark that could be made first is worth."""
        return Report(
            kind="plan-benchmarks",
            title="What a benchmark saves before buying",
            question=dict(self.report.question),
            rows=self.benchmarks,
            notes=(asked(self.problem), *layout_runs(self.problem, self.layouts)),
        )

    def day(self, day: Day | None = None) -> Report[DayRow]:
        """Return what scaling the fleet over a day saves, and what a perfect autoscaler costs."""
        best, day = self._paid, day or Day()
        rows = day_rows(best.fleet, best.replicas, day)
        return Report(
            kind="plan-day",
            title=f"Scaled over the day the fleet costs ${rows[1].usd_per_month:,.0f} a month "
            f"instead of ${rows[0].usd_per_month:,.0f}; a perfect autoscaler would cost "
            f"${rows[2].usd_per_month:,.0f}",
            question=dict(self.report.question),
            rows=tuple(rows),
            notes=(
                asked(self.problem) + ", in the busiest hour",
                f"a replica serves {day.cold_start_s(best.fleet) / 60:.1f} minutes after its order"
                f" ({day.provision_s / 60:.1f} to be given accelerators, its weights at "
                f"{day.load_bytes_per_s / 1e9:g} GB/s and node, {day.start_s:g} s to get ready)"
                + (f", {day.loss_per_hour:.1%} of them lost an hour" if day.loss_per_hour else ""),
            ),
        )

    def emit(self, target: str) -> Mapping[str, str]:
        """Return files that start the fleet, by name, for ``vllm``, ``kubernetes`` and others."""
        best = self._paid if target in WITH_PRICE else self._bought
        return emit(target, best.candidate, best.replicas, self.problem.objectives)

    def html(self, path: str | Path | None = None) -> str:
        """Return the report as a page; write it to ``path`` if given."""
        return self.report.html(path)

    @property
    def _bought(self) -> Offer:
        if not self.offers:
            raise InputError("nothing meets the objectives, so there is no fleet to ask about")
        return self.offers[0]

    @property
    def _paid(self) -> Offer:
        """The same, if its price is known."""
        check_priced(self._bought.candidate.deployment.cluster)
        return self._bought

    def __str__(self) -> str:
        return self.report.summary()

    def _repr_html_(self) -> str:
        return self.report._repr_html_()
