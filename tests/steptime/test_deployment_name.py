from __future__ import annotations

import pytest

from headway.errors import InputError
from headway.steptime.deployment_name import parse_deployment


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("llama-3.1-8b@h100", (1, 1)),
        ("llama-3.1-8b@4xh100", (4, 1)),
        ("llama-3.1-8b@h100:tp2pp2", (2, 2)),
        ("llama-3.1-8b@4xh100:tp2,pp2", (2, 2)),
    ],
)
def test_a_name_says_model_hardware_and_layout(text: str, degrees: tuple[int, int]) -> None:
    deployment = parse_deployment(text)
    assert (deployment.model.name, deployment.cluster.name) == ("llama-3.1-8b", "h100")
    layout = deployment.parallelism
    assert (float(layout.tp), float(layout.pp)) == degrees


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("llama-3.1-8b", "MODEL@HARDWARE:LAYOUT"),
        ("llama-3.1-8b@h100:xp2", "a layout is degrees"),
        ("llama-3.1-8b@8xh100:tp4", "takes 4 accelerators"),
        ("nothing@h100:tp1", "unknown model"),
    ],
)
def test_other_text_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        parse_deployment(text)
