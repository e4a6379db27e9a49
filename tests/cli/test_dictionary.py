"""One word per thing: every command of the command line is walked, and held to the dictionary.

The dictionary is the table of options in docs/cli.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from headway.cli.main import COMMANDS, GROUPS, headway

# They serve until they are stopped: there is no answer to write.
SERVERS = {"serve", "engine"}
WORDS = {
    "--requests": "--num-requests",
    "--deployment": "--on MODEL@8xH100:tp4pp2",
    "--times": "--engine or --calibration",
    "--out": "-o",
    "--outputs": "--output 64,256",
    "--prompts": "--prompt 1k,8k",
    "--batches": "--batch 1..64",
    "--ray": "--executor",
    "--slo-ttft": "--slo",
    "--slo-tpot": "--slo",
    "--accelerator": "--on",
    "--hardware": "--on",
    "--price-usd": "--price",
    "--model-name": "--model",
    "--as": "headway papers",
    "--published": "headway papers",
}

OWN_WORDS = {"serve": {"--as"}}  # as whom it serves: a picker is no gateway


def walk(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        path = f"{name} {word}".strip()
        if isinstance(command, click.Group):
            yield from walk(command, path)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield path, command


ALL = dict(walk(headway))
OPTIONS = [
    (path, option)
    for path, command in ALL.items()
    for option in command.params
    if isinstance(option, click.Option)
]


def violations() -> Iterator[tuple[str, str, str]]:
    """Yield each command, word, and what is wrong with it."""
    for path, command in ALL.items():
        words = [flag for option in command.params for flag in option.opts]
        if path.split()[0] not in SERVERS and "--json" not in words:
            yield path, "--json", "missing: every command has it"
        if not command.help:
            yield path, "help", "missing"

    for path, option in OPTIONS:
        flags = set(option.opts)
        for flag in flags & WORDS.keys() - OWN_WORDS.get(path, set()):
            yield path, flag, f"is written {WORDS[flag]}"
        for long, short in (("--prompt", "--isl"), ("--output", "--osl")):
            if (long in flags) != (short in flags):
                yield path, long, f"and {short} are one option: the tokens of a request"
        for flag in flags:
            if not flag.startswith("--") and flag not in ("-o", "-h"):
                yield path, flag, "is short; only -o and -h are"
        if "--engine" in flags and not (option.help or "").startswith("Serving engine"):
            yield path, "--engine", "is for serving engines; what computes here is a --runtime"
        if "--json" in flags and option.flag_value != "-":
            yield path, "--json", "alone is standard output: use answer_files"
        if not option.help:
            yield path, option.opts[0], "has no help"


def test_every_command_keeps_to_the_dictionary() -> None:
    assert [" ".join(words) for words in violations()] == []


def test_every_command_stands_in_one_group() -> None:
    order = ["Decide", "Measure", "Schedule", "Serve", "Look up", "Papers"]
    assert list(GROUPS) == [group for group in order if group in GROUPS]
    assert sum(map(len, GROUPS.values())) == len(COMMANDS)
    assert {path.split()[0] for path in ALL} == set(COMMANDS)


@pytest.mark.parametrize("path", list(ALL))
def test_a_command_says_what_it_does(path: str) -> None:
    command = ALL[path]
    assert command.help
    first = command.help.strip().splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 100
