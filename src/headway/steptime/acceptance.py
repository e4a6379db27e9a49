"""Who drafts and how many drafted tokens are accepted: by model where published, else pooled.

The figures and their sources stand in ``coefficients/acceptance.toml``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model
from headway.steptime.speculative import Speculation, mtp_draft

POOLED = "pooled"
OWN_HEADS = "mtp"
ASSUMED = 0.8  # of a draft model's tokens, where nobody says


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Probability that the first drafted token is accepted, and how it decays with each further.

    ``spread`` is the 80% half-width of the logarithm of the tokens per pass.
    """

    first: float
    decay: float
    spread: float
    source: str


def acceptance_of(model: ModelArchitecture) -> Acceptance:
    """Return what is published for the heads of ``model``, or of all models together."""
    published = _published()
    return published.get(model.name, published[POOLED])


def speculation_by(
    draft: str, model: ModelArchitecture, acceptance: float | None = None, bonus_token: bool = True
) -> Speculation:
    """Return ``draft`` as the drafter of ``model``.

    Args:
        draft: "mtp" for the model's own heads, or the name of a draft model.
        model: which verifies.
        acceptance: probability that a drafted token is accepted; by default what is published of
            the model's heads or of others', and 0.8 for a draft model.
        bonus_token: whether a verifying pass yields one more token.

    Raises:
        InputError: the model has no heads of its own, or no model has that name.

    """
    if draft != OWN_HEADS:
        rate = ASSUMED if acceptance is None else acceptance
        return Speculation(find_model(draft), rate, bonus_token)

    heads = mtp_draft(model)
    if acceptance is not None:
        return Speculation(heads, acceptance, bonus_token, shares_weights=True)
    published = acceptance_of(model)
    return Speculation(
        heads,
        published.first,
        bonus_token,
        shares_weights=True,
        decay=published.decay,
        spread=published.spread,
        source=published.source,
    )


@cache
def _published() -> dict[str, Acceptance]:
    file = Path(__file__).parent / "coefficients" / "acceptance.toml"
    entries = tomllib.loads(file.read_text("utf-8"))
    return {name: Acceptance(**entry) for name, entry in entries.items()}
