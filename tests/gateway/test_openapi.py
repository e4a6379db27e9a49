"""The API holds to its own description, whatever is sent: no 500 that is ours."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.gateway.conftest import Live, get

from headway.gateway.config import ServiceClass
from headway.http.openai import PATHS
from headway.workload.request import Slo


def run(port: int, folder: Path, *options: str, phases: str = "coverage") -> None:
    if find_spec("schemathesis") is None:
        pytest.skip("schemathesis is not installed: pip install 'headway[dev]'")
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    done = subprocess.run(
        [*command, "run", f"http://127.0.0.1:{port}/openapi.json", "--no-color", "--seed", "1",
         "--phases", *phases.split(" "), *options],
        capture_output=True, text=True, timeout=580, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "generated" in done.stdout


@pytest.mark.parametrize(
    ("phases", "examples"),
    [
        # One of the three that generate, one that is passed on, and what is asked of the gateway.
        ("coverage --include-path-regex (chat|models|queue|embed|health|{id})", 1),
        pytest.param("examples,coverage,fuzzing", 60, marks=pytest.mark.slow),
    ],
)
def test_every_answer_is_as_described(
    live: Live, tmp_path: Path, phases: str, examples: int
) -> None:
    port = live.gateway(live.engine(), classes=(ServiceClass("urgent", Slo(ttft_s=0.5)),))
    # What the description does not allow is for the engine to judge: it is passed on.
    options = ("--checks", "all", "--exclude-checks", "negative_data_rejection")
    run(port, tmp_path, "--max-examples", str(examples), *options, phases=phases)


@pytest.mark.slow
def test_engines_that_fail_are_never_our_fault(live: Live, tmp_path: Path) -> None:
    """Statuses of an engine are passed on; what stays is that every answer has its shape."""
    port = live.gateway(live.engine(), retries=0)
    live.engines[0].faults.extend(["status-500", "html-500"] * 500)
    described = "response_schema_conformance,content_type_conformance,status_code_conformance"
    run(port, tmp_path, "--max-examples", "2", "--checks", described)


def test_it_describes_all_that_is_served(live: Live) -> None:
    port = live.gateway(live.engine(), classes=(ServiceClass("urgent", Slo(ttft_s=0.5)),))
    tree = json.loads(get(port, "/openapi.json")[2])
    assert tree["paths"].keys() >= set(PATHS)
    assert tree["components"]["parameters"]["class"]["schema"]["enum"] == ["urgent", ""]
    for path, item in tree["paths"].items():
        for method in item:
            status = get(port, path.replace("{model}", "fake").replace("{id}", "r1"))[0]
            # An engine that has no answer of that name says so.
            expected = 405 if method == "post" else 404 if "{id}" in path else 200
            assert status == expected, path
