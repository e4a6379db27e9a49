"""``headway engine`` as a person meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from headway.cli.engine import engine
from headway.errors import HeadwayError
from headway.load.client import first_model


def test_it_serves_until_it_is_told_to_stop() -> None:
    line = [sys.executable, "-m", "headway.cli.main", "engine", "--runtime", "timed", "--port", "0",
            "--on", "llama-3.1-8b@h100:tp1"]  # fmt: skip
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        assert said.startswith("headway: llama-3.1-8b@h100:tp1 on http://127.0.0.1:")
        assert first_model(said.split()[-1]) == "llama-3.1-8b@h100:tp1"
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runtime", "timed"], "what the runtime timed needs"),
        (["--on", "llama-3.1-8b@h100:tp1"], "no other takes"),
        (["--max-num-seqs", "64", "--max-num-batched-tokens", "32"], "at least"),
        (["--model", "tiny-randm"], "unknown model|optional package"),
        (["--model", "mixtral-8x7b"], "llama and mistral only|optional package"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments: list[str], message: str) -> None:
    with pytest.raises(HeadwayError, match=message):
        engine.main(arguments, standalone_mode=False)
