"""Tools make what ships and are not part of it."""

import ast
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"


def test_nothing_that_ships_imports_tools() -> None:
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules.append(node.module or "")
            assert not any(module.split(".")[0] == "tools" for module in modules), path
