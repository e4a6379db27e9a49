"""``headway predict``: how long will the answer be, and how sure is that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import COUNT, FRACTION
from headway.cli.show import show
from headway.errors import need
from headway.predict.answer import prediction_report
from headway.predict.embedding import SentenceEmbedding
from headway.predict.evaluate import evaluate
from headway.predict.log import Observation, read_log, recorded_observations
from headway.predict.storage import check_free, load, save

FOLDER = click.Path(path_type=Path)
MAX_TEXT_BYTES = 64_000_000


class TextOrCommand(click.Group):
    """A group whose first word, where it names no command, is the text of a prompt."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``text`` before anything that is neither a command nor a call for help."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["text", *args]
        return super().parse_args(ctx, args)


@click.group(cls=TextOrCommand, no_args_is_help=True)
def predict() -> None:
    """Predict how long an answer will be, from the prompt alone.

    `headway predict "some text"` predicts; the commands below train and evaluate.
    """


@predict.command("text")
@click.argument("text")
@click.option("--model", default="", help="Who will answer, as the training log spells it.")
@click.option("--tenant", default="", help="On whose behalf, as the training log spells it.")
@click.option("--predictor", type=FOLDER, help="A trained predictor.")
@click.option("--max-tokens", type=COUNT, help="The request's limit on the answer.")
@click.option(
    "--so-far", "written_tokens", type=COUNT, default=0, help="Tokens that are written already."
)
@answer_files
def text_command(text: str, files: AnswerFiles, **question: Any) -> None:
    """Predict the answer to TEXT ("-" reads it from standard input)."""
    if text == "-":
        text = sys.stdin.buffer.read(MAX_TEXT_BYTES).decode("utf-8", "replace")
    show(prediction_report(text, **question), files)


@predict.command("train")
@click.argument("log")
@click.option("-o", "output", required=True, type=FOLDER, metavar="FOLDER", help="The new folder.")
@click.option(
    "--hold-out",
    type=FRACTION,
    default="20%",
    help="Fraction of prompts that are left out to score it; 0: none.",
)
@click.option("--seed", default=0, help="Of folds and trees.")
@click.option("--embed", is_flag=True, help="Read prompts with a sentence embedding, too: slower.")
@click.option("--licence", default="not stated", help="Of the log, for the model card.")
@answer_files
def train_command(
    log: str,
    output: Path,
    hold_out: float,
    seed: int,
    embed: bool,
    licence: str,
    files: AnswerFiles,
) -> None:
    """Learn from LOG and write a predictor.

    LOG has one finished request a line, or is a gateway's record that kept its prompts.

    With a hold-out a first predictor is fitted without it and scored on it; what is written has
    learned from all lines.
    """
    need("sklearn", "training a predictor", "train")
    from headway.predict.training import card_for, train, training_report, training_scores

    check_free(output)
    embedding = SentenceEmbedding() if embed else None
    observations = _observations(log)
    with _progress() as tick:
        scores = training_scores(
            observations, hold_out=hold_out, seed=seed, embedding=embedding, tick=tick
        )
        predictor = train(observations, seed=seed, embedding=embedding, tick=tick)
    save(predictor, output, card_for(observations, Path(log).name, licence, scores))
    show(training_report(observations, scores, output), files)


@predict.command("evaluate")
@click.argument("folder", type=FOLDER)
@click.argument("log")
@click.option("--online", is_flag=True, help="Let it learn from each line after predicting it.")
@click.option(
    "--baselines/--no-baselines",
    default=True,
    help="Whether baselines that learn from half of LOG are scored beside it.",
)
@answer_files
def evaluate_command(
    folder: Path, log: str, online: bool, baselines: bool, files: AnswerFiles
) -> None:
    """Score the predictor in FOLDER on LOG, by source and model, beside simple baselines."""
    predictor = load(folder)
    show(evaluate(predictor, _observations(log), online=online, baselines=baselines), files)


@predict.command("card")
@click.argument("folder", required=False, type=FOLDER)
@answer_files
def card_command(folder: Path | None, files: AnswerFiles) -> None:
    """Print what the predictor in FOLDER, or the default one, was trained on."""
    from headway.predict.training import card_report

    show(card_report(folder), files)


def _observations(log: str) -> list[Observation]:
    """Return the finished requests of a log, or of a gateway's record."""
    from headway.record.store import is_record

    return recorded_observations(log) if is_record(log) else read_log(Path(log))


@contextmanager
def _progress() -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import Progress

    from headway.predict.fitting import FIT_STEPS

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("training", total=2 * FIT_STEPS)
        yield lambda: progress.advance(task)
