"""``headway predict``: how long will the answer be, and how sure is that."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table

from headway.cli.predict_tables import print_prediction, print_scores, scored_table
from headway.cli.show import print_rich
from headway.errors import InputError
from headway.predict.default import DEFAULT, default_predictor
from headway.predict.embed import SentenceEmbedding
from headway.predict.explain import reasons, request_reason
from headway.predict.log import read_log, recorded_observations
from headway.predict.observation import Observation
from headway.predict.predictor import FEWEST_ROWS, FIT_STEPS, TextPredictor
from headway.predict.report import baseline_scores, card_for, held_out, scores_by_source
from headway.predict.storage import check_free, load, read_card, save
from headway.predict.uncertainty import uncertainty_scores
from headway.record.store import is_record


class TextOrCommand(click.Group):
    """A group whose first word, where it names no command, is the text of a prompt."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``text`` before anything that is neither a command nor a call for help."""
        if args and args[0] not in self.commands and args[0] != "--help":
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
@click.option("--predictor", "folder", type=click.Path(path_type=Path), help="A trained predictor.")
@click.option("--max-tokens", type=int, help="The request's limit on the answer.")
@click.option("--so-far", type=float, help="Tokens already written: predict what is left.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def text_command(
    text: str,
    model: str,
    tenant: str,
    folder: Path | None,
    max_tokens: int | None,
    so_far: float | None,
    as_json: bool,
) -> None:
    """Predict the answer to TEXT ("-" reads it from standard input)."""
    if text == "-":
        text = sys.stdin.buffer.read(64_000_000).decode("utf-8", "replace")
    predictor = load(folder) if folder is not None else default_predictor()
    request = Observation(text, 0, model, tenant, max_tokens=max_tokens).request(0)
    prediction = predictor.predict([request])[0]
    if so_far is not None:
        prediction = prediction.given_at_least(so_far)
    scores = uncertainty_scores(text)
    why = reasons(predictor, text)
    asked = request_reason(text)
    known = predictor.knows(model)
    if as_json:
        entry: dict[str, Any] = {
            "quantiles_tokens": {f"{level:g}": tokens for level, tokens in prediction.quantiles},
            "mean_tokens": prediction.mean_tokens,
            "uncertainty": {name: getattr(scores, name) for name in scores.__dataclass_fields__},
            "why": [{"words": r.words, "factor": r.factor} for r in why],
            "request": asked,
            "model": model,
            "model_known": known,
            "predictor": str(folder) if folder is not None else "default",
        }
        click.echo(json.dumps(entry))
        return
    print_prediction(prediction, scores, why, asked)
    if folder is None:
        click.echo(
            "This is the default predictor: weak until it has seen your own traffic "
            "(headway predict train).",
            err=True,
        )
    elif not known:
        click.echo(f"Model {model!r} is not in its training log: the doubt is wider.", err=True)


@predict.command("train")
@click.argument("log", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The new folder."
)
@click.option(
    "--hold-out", default=0.2, show_default=True, help="Share of prompts kept to score it; 0: none."
)
@click.option("--seed", default=0, show_default=True, help="Of folds and trees.")
@click.option("--embed", is_flag=True, help="Read prompts with a sentence embedding, too: slower.")
@click.option("--licence", default="not stated", help="Of the log, for the model card.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def train_command(
    log: Path,
    output: Path,
    hold_out: float,
    seed: int,
    embed: bool,
    licence: str,
    as_json: bool,
) -> None:
    """Learn from LOG and write a predictor.

    LOG has one finished request a line, or is a gateway's record that kept its prompts.

    With a hold-out a first predictor is fitted without it and scored on it; what is written has
    learned from all lines.
    """
    if not 0 <= hold_out <= 0.5:
        raise InputError(f"--hold-out is a share from 0 to 0.5, not {hold_out:g}")
    check_free(output)
    embedding = SentenceEmbedding() if embed else None
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[what]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        reading = progress.add_task(
            "reading", total=log.stat().st_size if log.is_file() else None, what=log.name
        )
        observations = _read(log, lambda done: progress.update(reading, completed=done))
        progress.update(reading, visible=False)
        held: dict[str, Any] = {}
        if hold_out > 0:
            train, test = held_out(observations, hold_out, seed)
            if len(train) < FEWEST_ROWS <= len(observations):
                raise InputError(
                    f"--hold-out {hold_out:g} leaves {len(train)} of {len(observations)} requests "
                    f"to learn from, and {FEWEST_ROWS} are needed; give more, or --hold-out 0"
                )
            task = progress.add_task("held-out fit", total=FIT_STEPS, what=f"{len(train)} requests")
            trial = TextPredictor(seed, embedding=embedding).fit(
                train, lambda: progress.advance(task)
            )
            held = {
                "held_out": scores_by_source(trial, test)["all"].as_dict(),
                "in_sample": scores_by_source(trial, train)["all"].as_dict(),
            }
        task = progress.add_task("fit", total=FIT_STEPS, what=f"{len(observations)} requests")
        predictor = TextPredictor(seed, embedding=embedding).fit(
            observations, lambda: progress.advance(task)
        )
    save(predictor, output, card_for(observations, log.name, licence, held))
    if as_json:
        click.echo(json.dumps({"predictor": str(output), **held, "requests": len(observations)}))
        return
    print_scores(held)
    click.echo(f"{output}: learned from {len(observations)} requests.")


@predict.command("evaluate")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--online", is_flag=True, help="Let it learn from each line after predicting it.")
@click.option("--baselines/--no-baselines", default=True, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_command(folder: Path, log: Path, online: bool, baselines: bool, as_json: bool) -> None:
    """Score the predictor in FOLDER on LOG, by source and model, beside the baselines.

    Each half of the log is predicted by baselines that learned from the other half: they have seen
    this log's kind, the predictor need not have.
    """
    predictor = load(folder)
    observations = _read(log)
    with Console(stderr=True).status("predicting"):
        scores = scores_by_source(predictor, observations, online=online)
        beside = baseline_scores(observations) if baselines else {}
    if as_json:
        entry = {
            "predictor": {name: s.as_dict() for name, s in scores.items()},
            "baselines": {name: s.as_dict() for name, s in beside.items()},
            "online": online,
        }
        click.echo(json.dumps(entry))
        return
    table: Table = scored_table({**{f"predictor, {k}": v for k, v in scores.items()}, **beside})
    print_rich(table)


@predict.command("card")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def card_command(folder: Path | None) -> None:
    """Print the model card of the predictor in FOLDER, or of the default one, as JSON."""
    click.echo(json.dumps(read_card(folder or DEFAULT)["card"], indent=1))


def _read(log: Path, tick: Callable[[int], None] | None = None) -> list[Observation]:
    """Finished requests of a log, or of a gateway's record."""
    return recorded_observations(log) if is_record(log) else read_log(log, tick)
