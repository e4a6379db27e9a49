"""The entry point: finds the command, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from io import TextIOWrapper
from typing import NoReturn

import click

from headway.errors import HeadwayError, MissingError, UnknownNameError

_STDOUT_IS_GONE = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EBADF)
GROUPS = {
    "Decide": {
        "plan": "What to buy for a demand, how sure that is, and what to measure first.",
        "frontier": "Speed per user against $ per million tokens, over all layouts and loads.",
        "estimate": "A load on one deployment: times, dollars, joules, each with an interval.",
        "explain": "Where each millisecond of a served token goes, and what would change it.",
        "possible": "Whether a claimed speed and price can be true, and which bound it breaks.",
        "what-if": "Which change of hardware, price or model size would reach a target.",
    },
    "Measure": {
        "profile": "Measure an engine on this machine, or an API from outside, in few runs.",
        "calibrate": "Your own benchmark results on top of the shipped calibration.",
        "validate": "Held-out error and interval coverage of the serving model.",
        "ideal": "Idealized runtime, dollars and joules per request on reference hardware.",
        "compare": "What was profiled, an engine or an API, against that reference.",
        "tradeoff": "Capability against efficiency: Pareto set, ranks, picture.",
    },
    "Schedule": {
        "predict": "How long an answer will be, with its uncertainty; train, evaluate.",
        "simulate": "Replay a trace or a workload against policies, with laws checked.",
        "trace": "Read public traces and logs into Headway's own form.",
    },
    "Serve": {
        "serve": "An OpenAI-compatible gateway that orders requests by predicted length.",
        "engine": "A real engine on this machine, with random weights, to try all this on.",
        "load": "Ask a server as users do, and measure it honestly.",
        "report": "Show a saved answer, a gateway's record, or another tool's results.",
    },
    "Look up": {
        "catalogue": "Models and accelerators that are known by name, with sources.",
        "prices": "What accelerators cost, from whom, and when that was read.",
    },
    "Papers": {"papers": "Published models, exactly as they were published."},
}
COMMANDS = {name: help for group in GROUPS.values() for name, help in group.items()}


class _Lazy(click.Group):
    """A group that imports a command's module only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"headway.cli.{name}"), name)
        assert isinstance(command, click.Command)  # each module defines the command it is named for
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UnknownNameError("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for group, commands in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(width), help) for name, help in commands.items()])


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.command(cls=_Lazy, context_settings=SETTINGS)
@click.version_option(package_name="headway")
def headway() -> None:
    """Say how fast, how cheaply and in what order a language model should be served."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    0: answered; 1: the answer is no; 2: bad input; 3: something needed is missing (an extra, a
    server); 130: interrupted.
    """
    # A terminal may know ASCII only.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    try:
        code = headway.main(args=arguments, prog_name="headway", standalone_mode=False)
        if sys.stdout is not None:  # it is where it was closed (>&-)
            sys.stdout.flush()

    # Standard output is gone: nobody reads on, or its disk is full.
    except BrokenPipeError:
        _drop_stdout()
        sys.exit(0)
    except OSError as error:
        if error.filename is not None or error.errno not in _STDOUT_IS_GONE:
            raise
        _drop_stdout()
        _fail(f"cannot write to standard output: {error.strerror}", 2)

    # What was asked cannot be answered.
    except MissingError as error:
        _fail(str(error), 3)
    except HeadwayError as error:
        _fail(str(error), 2)

    # What was asked cannot be understood.
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "headway"
        _fail(f"{error.format_message().rstrip('.')} (see {command} --help)", 2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)

    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", 130)
    sys.exit(code if isinstance(code, int) else 0)


def _drop_stdout() -> None:
    # What is still buffered would be flushed, and fail again, when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> NoReturn:
    printable = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    click.echo(f"headway: {printable}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
