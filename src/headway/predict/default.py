"""The predictor that ships: weak, and honest about it, until it has seen the user's own traffic.

`python -m tools.train_default_predictor` makes the folder;
its card names the data and the licences.
"""

from __future__ import annotations

from pathlib import Path

from headway.predict.predictor import TextPredictor
from headway.predict.storage import load

DEFAULT = Path(__file__).parent / "default_predictor"


def default_predictor() -> TextPredictor:
    """Return a fresh copy of the default predictor."""
    return load(DEFAULT)
