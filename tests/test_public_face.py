"""What `import headway` gives: every name, imported when it is first used, in a few lines."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import headway as hw

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", hw.__all__)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(hw, name)
    assert value.__doc__
    assert name in dir(hw)


def test_the_face_is_small() -> None:
    assert len(hw.__all__) <= 30


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(AttributeError, match="frontier"):
        hw.fronteer  # noqa: B018  # the access is the test


def test_importing_it_imports_nothing_else() -> None:
    check = (
        "import sys, headway;"
        "print(sorted(m for m in sys.modules if m.startswith(('headway.', 'numpy', 'click'))))"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_one_deployment_in_three_lines() -> None:
    deployment = hw.deployment("llama-3.3-70b@8xh100:tp8", precision="fp8", engine="vllm")
    served = deployment.serve(hw.Load(prompt=2000, output=400, concurrency=[1, 8, 64]))
    assert served.tpot_s.expected.shape == (3,)
    assert deployment.step_time(batch=[1, 16, 64], context=4096).expected_s.shape == (3,)


def test_a_frontier_names_its_points() -> None:
    front = hw.frontier("llama-3.1-8b", on=["h100", "mi300x"], max_accelerators=8)
    assert front.preferred in front.rows
    assert front.fastest.tok_per_s_per_user.expected >= front.preferred.tok_per_s_per_user.expected
    assert "preferred" in str(front)
    assert "<svg" in front._repr_html_()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_every_example_imports_the_face_only(path: Path) -> None:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    assert not {name for name in modules if name.startswith("headway.")}
