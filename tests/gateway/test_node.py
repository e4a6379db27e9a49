"""OpenAI's official client for Node makes of us what it makes of the engine behind us."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import Live
from tests.gateway.test_models import Other

SCRIPT = Path(__file__).with_name("node_client.mjs")


def told_by(url: str, folder: Path) -> dict[str, Any]:
    """Return what the client makes of the server at ``url``."""
    # Modules are looked for from where the script lies.
    script = folder / SCRIPT.name
    shutil.copy(SCRIPT, script)
    modules = folder / "node_modules"
    if not modules.exists():
        modules.symlink_to(os.environ["NODE_MODULES"])
    command = subprocess.run(
        ["node", script, url], capture_output=True, text=True, timeout=60, check=True
    )
    told: dict[str, Any] = json.loads(command.stdout)
    return told


@pytest.mark.skipif(
    shutil.which("node") is None or "NODE_MODULES" not in os.environ,
    reason="needs node, and NODE_MODULES, a folder in which npm has installed openai",
)
def test_nodes_client_finds_no_difference(live: Live, tmp_path: Path) -> None:
    engine = Other(model="org/name")
    direct = f"http://127.0.0.1:{live.run(engine.start())}/v1"
    live.engines.append(engine)
    gateway = f"http://127.0.0.1:{live.gateway(direct)}/v1"
    fleet = live.gateways[0].scheduler.fleet
    live.until(lambda: bool(fleet.engines[direct].models))

    ours, engines = told_by(gateway, tmp_path), told_by(direct, tmp_path)
    assert ours.pop("model")["id"] == "org/name"  # the engine itself has no page of each model
    assert ours.pop("no model")["type"] == engines["no model"]["type"] == "NotFoundError"
    for name, answer in ours.items():
        assert answer == engines[name], name
    assert len(ours["chat stream"]) > 2
    assert ours["embedding"]["model"] == "org/name"
