"""How long the answer to a prompt will be, and how sure that is."""

from headway.predict.log import Observation, read_log
from headway.predict.prediction import LengthPrediction
from headway.predict.predictor import LengthPredictor, TextPredictor
from headway.predict.storage import default_predictor, load, save
from headway.predict.uncertainty import UncertaintyScores, uncertainty_scores

__all__ = [
    "LengthPrediction",
    "LengthPredictor",
    "Observation",
    "TextPredictor",
    "UncertaintyScores",
    "default_predictor",
    "load",
    "read_log",
    "save",
    "uncertainty_scores",
]
