"""How many drafted tokens are accepted, where nobody says: by model where published, else pooled.

The figures and their sources stand in ``coefficients/acceptance.toml``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from headway.model.architecture import ModelArchitecture

POOLED = "pooled"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Probability that the first drafted token is accepted, and how it decays with each further.

    ``spread`` is the 80% half-width of the logarithm of the tokens per pass.
    """

    first: float
    decay: float
    spread: float
    source: str


@cache
def _published() -> dict[str, Acceptance]:
    text = (resources.files("headway.steptime") / "coefficients" / "acceptance.toml").read_text(
        "utf-8"
    )
    return {name: Acceptance(**entry) for name, entry in tomllib.loads(text).items()}


def acceptance_of(model: ModelArchitecture) -> Acceptance:
    """What is published for the heads of ``model``, or of all models together."""
    found = _published()
    return found.get(model.name, found[POOLED])
