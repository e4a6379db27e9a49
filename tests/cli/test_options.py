"""Options that several commands share read the same words everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import COUNTS, FRACTION, RATE, TIME, length_options, together
from headway.errors import InputError


def command(callback: Any) -> click.Command:
    options = together(
        [
            click.option("--batch", type=COUNTS),
            click.option("--think", type=TIME, default="2s", show_default=True),
            click.option("--cached", type=FRACTION),
            click.option("--rate", type=RATE),
            length_options(output="400"),
            answer_files,
        ]
    )
    return click.command()(options(callback))


def call(*arguments: str) -> dict[str, Any]:
    values: dict[str, Any] = {}

    def remember(**options: Any) -> None:
        values.update(options)

    command(remember).main(list(arguments), standalone_mode=False)
    return values


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (("--batch", "1,64,256"), "batch", (1, 64, 256)),
        (("--batch", "1..8"), "batch", (1, 2, 4, 8)),
        (("--think", "500ms"), "think", 0.5),
        ((), "think", 2.0),
        (("--cached", "30%"), "cached", 0.3),
        (("--rate", "600/min"), "rate", 10.0),
        (("--prompt", "2k"), "prompt", 2000),
        (("--isl", "2k"), "prompt", 2000),
        (("--osl", "1k"), "output", 1000),
        ((), "output", 400),
        (("--json",), "files", AnswerFiles(json="-")),
        (("--csv", "a.csv"), "files", AnswerFiles(csv=Path("a.csv"))),
    ],
)
def test_a_word_means_the_same_everywhere(
    arguments: tuple[str, ...], name: str, value: object
) -> None:
    assert call(*arguments)[name] == value


def test_a_message_names_the_option() -> None:
    with pytest.raises(InputError, match="--think must be a time such as 500ms, 2s or 5m"):
        call("--think", "soon")


def test_help_shows_aliases_and_defaults() -> None:
    text = CliRunner().invoke(command(lambda **options: None), ["--help"]).output
    assert "--prompt, --isl" in text
    assert "[default: 2s]" in text
