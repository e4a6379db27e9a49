"""`headway papers`: published models, exactly as they were published."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.frontier import representative
from headway.cli.options import (
    COUNT,
    FILE,
    FRACTION,
    NUMBER,
    NUMBER_OR_ZERO,
    NUMBERS,
    TIME,
    as_object,
    demand_option,
    find_clusters,
    length_options,
    on_option,
    only,
    pipeline_option,
    precision_option,
    price_option,
)
from headway.cli.show import show
from headway.ideal.estimator import request_profile
from headway.measure.measurement import read_measurements
from headway.model.catalogue import find_model, find_precision
from headway.papers.erdil_2025.accelerators import PublishedAccelerator
from headway.papers.erdil_2025.closed_form import closed_form
from headway.papers.erdil_2025.convert import find_published_accelerators, find_published_model
from headway.papers.erdil_2025.laws import laws_report
from headway.papers.erdil_2025.report import PublishedQuestion, estimate_report, frontier_report
from headway.papers.narayanan_2023.costs import A100_USD_PER_HOUR
from headway.papers.narayanan_2023.published import Estimator, read_tables
from headway.papers.narayanan_2023.report import fit_report, runtime_report
from headway.papers.rt_lm_2023.language_models import find_language_models
from headway.papers.rt_lm_2023.report import cells_report, shown_rows, ways_report
from headway.papers.rt_lm_2023.table import FULL, Settings


@dataclass(frozen=True, slots=True)
class PassOptions:
    """A model and accelerators, by the paper's names or ours, and what shapes a pass."""

    model: str
    on: str
    precision: str | None
    context: float
    speculate: str | None
    acceptance: float
    price: float | None
    pipeline: bool

    @property
    def question(self) -> PublishedQuestion:
        """The question in the paper's quantities."""
        return PublishedQuestion(
            model=find_published_model(self.model, self.precision),
            context_tokens=self.context,
            draft=find_published_model(self.speculate) if self.speculate else None,
            acceptance=self.acceptance,
            pipeline=self.pipeline,
        )

    @property
    def accelerators(self) -> tuple[PublishedAccelerator, ...]:
        """The accelerators in the paper's quantities."""
        return find_published_accelerators(self.on, self.price)


pass_options = as_object(
    "one_pass",
    PassOptions,
    [
        click.argument("model"),
        on_option(),
        precision_option,
        click.option(
            "--context", type=NUMBER_OR_ZERO, default="0", help="Cached tokens of every sequence."
        ),
        click.option("--speculate", metavar="DRAFT", help="Draft model."),
        click.option(
            "--acceptance",
            type=FRACTION,
            default="0.8",
            help="Probability that a drafted token is accepted.",
        ),
        price_option,
        pipeline_option,
    ],
)


@click.group()
def papers() -> None:
    """Ask published models, exactly as they were published."""


@papers.group("erdil-2025")
def erdil_2025() -> None:
    """Inference economics of language models (Erdil 2025, arXiv 2506.04645)."""


@erdil_2025.command()
@pass_options
@demand_option
@click.option("--all", "show_all", is_flag=True, help="Print every point of the front.")
@answer_files
def frontier(
    one_pass: PassOptions, demand: float | None, show_all: bool, files: AnswerFiles
) -> None:
    """Print the published frontier of MODEL: speed per user against cost per token."""
    question = one_pass.question
    if demand is not None:
        question = replace(question, demand_tok_per_s=demand)
    report = frontier_report(question, one_pass.accelerators)
    show(report, files, None if show_all else representative(report))


@erdil_2025.command()
@pass_options
@click.option("--accelerators", type=COUNT, default="1", help="Accelerators of the engine.")
@click.option("--batch", type=COUNT, default="1", help="Sequences in flight in all of it.")
@answer_files
def estimate(one_pass: PassOptions, accelerators: int, batch: int, files: AnswerFiles) -> None:
    """Print one point of the published model, in the fastest layout that it knows."""
    accelerator = only(one_pass.accelerators)
    show(estimate_report(one_pass.question, accelerator, accelerators, batch), files)


@erdil_2025.command()
@click.option("--ours", is_flag=True, help="Fit them to the frontiers of Headway's own model.")
@answer_files
def laws(ours: bool, files: AnswerFiles) -> None:
    """Fit speed against parameters, bandwidth, precision and generation of hardware."""
    show(laws_report(ours=ours), files)


@erdil_2025.command("closed-form")
@click.argument("model")
@on_option("Catalogue name or your own .toml file.")
@precision_option
@click.option("--hop", type=TIME, default="1us", help="One hop of a reduction.")
@price_option
@answer_files
def closed_form_command(
    model: str, on: str, precision: str | None, hop: float, price: float | None, files: AnswerFiles
) -> None:
    """Print the fastest cluster N*, the least time per token, and what that costs."""
    formats = find_precision(model, precision)
    show(closed_form(find_model(model), formats, only(find_clusters(on, price)), hop), files)


@papers.group("narayanan-2023")
def narayanan_2023() -> None:
    """Idealized runtimes of language models (Narayanan et al. 2023, arXiv 2305.02440)."""


@narayanan_2023.command()
@click.argument("tables", type=FILE)
@click.argument("models", nargs=-1)
@length_options(several=True, prompt="512", output="64")
@click.option("--accelerators", type=COUNT, help="How many a request has to itself: what it costs.")
@click.option(
    "--price",
    type=NUMBER,
    default=str(A100_USD_PER_HOUR),
    help="$ per accelerator-hour: the paper's, of an A100.",
)
@answer_files
def runtime(
    tables: Path,
    models: tuple[str, ...],
    prompt: tuple[int, ...],
    output: tuple[int, ...],
    accelerators: int | None,
    price: float,
    files: AnswerFiles,
) -> None:
    """Print the runtime of requests by TABLES, HELM's inference_*_runtimes.json."""
    report = runtime_report(
        read_tables(tables),
        [(p, o) for p in prompt for o in output],
        models=models,
        num_accelerators=accelerators,
        usd_per_hour=price,
    )
    show(report, files)


@narayanan_2023.command()
@click.argument("profile", type=FILE)
@click.option(
    "--estimator",
    type=click.Choice([estimator.value for estimator in Estimator]),
    default=Estimator.E1.value,
    help="E1: behind the tables that HELM ships; E2: behind its authors' notebook.",
)
@answer_files
def fit(profile: Path, estimator: str, files: AnswerFiles) -> None:
    """Fit a published table to PROFILE, measurements by headway profile."""
    measurements = read_measurements(profile)
    show(fit_report(request_profile(measurements), Estimator(estimator)), files)


@papers.group("rt-lm")
def rt_lm() -> None:
    """Uncertainty-aware serving of language models (RT-LM, Li et al. 2023, arXiv 2309.06619)."""


@rt_lm.command("table")
@click.option("--full", is_flag=True, help="Six loads, three skills, four shares: many minutes.")
@click.option("--models", metavar="NAMES", help="Some of them, comma-separated.")
@click.option("--load", "loads", type=NUMBERS, help="Over saturation, such as 0.7,1.3.")
@click.option("--skill", "skills", type=NUMBERS, help="Kendall's tau of predictions: 0.12,0.35.")
@click.option("--seeds", type=COUNT, help="Runs of everything. Default: 5.")
@click.option("--num-requests", type=COUNT, help="Requests of a run. Default: 800.")
@click.option("--max-batch", type=COUNT, help="Requests of one batch. Default: 8.")
@click.option("--slower", type=NUMBER, help="How many times, the second engine. Default: 4.")
@click.option("--cells", "by_cell", is_flag=True, help="A row per cell and way to serve.")
@click.option("--all", "show_all", is_flag=True, help="Print every way to serve.")
@answer_files
def rt_lm_table(
    full: bool,
    models: str | None,
    by_cell: bool,
    show_all: bool,
    files: AnswerFiles,
    **settings: Any,
) -> None:
    """Try the claims of RT-LM: orders, consolidation and offload in static batches.

    Five models, two platforms and three variances of the length, below and over saturation, with
    predictions of a stated skill and the same predictions dealt out at random.
    """
    options = {name: value for name, value in settings.items() if value is not None}
    if models is not None:
        options["models"] = find_language_models(models)
    question = replace(FULL if full else Settings(), **options)

    if by_cell:
        show(cells_report(question), files)
    else:
        report = ways_report(question)
        show(report, files, None if show_all else shown_rows(report))
