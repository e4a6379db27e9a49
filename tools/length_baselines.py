"""What others' predictors see of a prompt, under scikit-learn's models: RT-LM and Clairvoyant.

Each says a location of ln(1 + tokens); the residuals of its own training rows, one fifth of which
it did not learn from, give the quantiles around it. Models are not told apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from headway.predict.lexicon import word_classes
from headway.predict.log import Observation
from headway.predict.prediction import LEVELS, MAX_TOKENS, LengthPrediction
from headway.predict.text import considered
from headway.predict.tokens import WORD, tokenized
from headway.predict.uncertainty import score_matrix
from headway.workload.request import Request

Floats = NDArray[np.float64]
_AT_ONCE = 256

_VERBS = ("what", "write", "explain", "summarize", "how", "list", "implement", "compare",
          "describe", "generate", "why", "define")  # fmt: skip
_CODE = ("function", "class", "implement", "algorithm", "code", "script", "program", "python",
         "java", "sql", "api", "debug", "method")  # fmt: skip
_LENGTH = ("brief", "short", "concise", "detailed", "in detail", "in one sentence", "long",
           "comprehensive", "in-depth", "words")  # fmt: skip
_FORMAT = ("table", "list", "json", "csv", "markdown", "bullet", "xml", "yaml", "html", "format")
_CLAUSES = frozenset(
    ("that", "which", "who", "whom", "whose", "where", "when", "while", "because", "although",
     "though", "since", "unless", "if", "whether", "after", "before", "until", "as", "so", "than")
)  # fmt: skip


@dataclass
class PeerPredictor:
    """A location from a few numbers per prompt, with the spread of its residuals.

    Attributes:
        rows: the numbers that are read off prompts, [prompts, numbers].
        regressor: makes an unfitted model of scikit-learn's.
    """

    rows: Callable[[Sequence[str]], Floats]
    regressor: Callable[[], Any]

    def fit(self, observations: Sequence[Observation]) -> Self:
        """Learn from finished requests."""
        rows = self.rows([o.prompt for o in observations])
        goal = np.log1p(np.array([o.output_tokens for o in observations], dtype=np.float64))
        order = np.random.default_rng(0).permutation(len(observations))
        test, train = order[: len(order) // 5], order[len(order) // 5 :]

        part = self.regressor().fit(rows[train], goal[train])
        self.offsets_ = np.quantile(goal[test] - part.predict(rows[test]), LEVELS)
        self.model_ = self.regressor().fit(rows, goal)
        return self

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        """Return the distribution of the output tokens of each request."""
        if not requests:
            return []
        located = self.model_.predict(self.rows([r.prompt for r in requests]))
        logs = np.clip(located[:, None] + self.offsets_, 0.0, math.log1p(MAX_TOKENS))
        return [
            LengthPrediction(tuple(zip(LEVELS, row, strict=True)), r.max_tokens)
            for row, r in zip(np.expm1(logs).tolist(), requests, strict=True)
        ]

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn nothing: a baseline stays as it was fitted."""


def rules_ridge() -> PeerPredictor:
    """Return RT-LM as a linear model: its six uncertainty scores and the input's length."""
    return PeerPredictor(
        rule_rows, lambda: _scaled(import_module("sklearn.linear_model").Ridge(alpha=1.0))
    )


def rules_network() -> PeerPredictor:
    """Return RT-LM as remembered: a network of 100-200-200-100 units on the same seven numbers.

    The sizes are recollection, not citation: of the paper only the abstract was to be had.
    """

    def network() -> Any:
        return _scaled(
            import_module("sklearn.neural_network").MLPRegressor(
                hidden_layer_sizes=(100, 200, 200, 100), early_stopping=True, random_state=0
            )
        )

    return PeerPredictor(rule_rows, network)


def lexical_trees() -> PeerPredictor:
    """Return Clairvoyant's 19 lexical features under boosted trees.

    After its paper (arXiv 2606.07248, section 4.2): six numbers and the first word in 13 classes.
    The word lists are given there by examples only and were filled up here; the three-class
    XGBoost is replaced by a regression, so that it ranks within a class too.
    """

    def trees() -> Any:
        return import_module("sklearn.ensemble").HistGradientBoostingRegressor(
            max_iter=200, learning_rate=0.05, max_depth=4, max_leaf_nodes=None,
            l2_regularization=5.0, max_features=0.6, early_stopping=False, random_state=0,
        )  # fmt: skip

    return PeerPredictor(lambda prompts: np.array([lexical_row(p) for p in prompts]), trees)


PEERS: Mapping[str, Callable[[], PeerPredictor]] = {
    "RT-LM rules, ridge": rules_ridge,
    "RT-LM rules, network": rules_network,
    "Clairvoyant's 19 features": lexical_trees,
}


def _scaled(model: Any) -> Any:
    pipeline, scaler = import_module("sklearn.pipeline"), import_module("sklearn.preprocessing")
    return pipeline.make_pipeline(scaler.StandardScaler(), model)


def lexical_row(prompt: str) -> list[float]:
    """Return the 19 numbers of one prompt; only its considered part is read."""
    text = considered(prompt).text.lower()
    words = [word.strip(".,:;!?\"'()[]") for word in text.split()]
    first = words[0] if words else ""
    vocabulary = set(words)
    row = [
        float(len(prompt) // 4),
        float(any(word in vocabulary for word in _CODE)),
        float(any(phrase in text for phrase in _LENGTH)),
        float(text.rstrip().endswith("?")),
        float(any(word in vocabulary for word in _FORMAT)),
        float(sum(word in _CLAUSES for word in words)),
    ]
    leading = [float(first == verb) for verb in _VERBS]
    return [*row, *leading, float(not any(leading))]


def rule_rows(prompts: Sequence[str]) -> Floats:
    """Return the six uncertainty scores and the words of each prompt, [prompts, 7]."""
    parts = []
    for i in range(0, len(prompts), _AT_ONCE):
        tokens = tokenized([considered(prompt).text for prompt in prompts[i : i + _AT_ONCE]])
        words = np.add.reduceat(tokens.kind[tokens.starts] == WORD, tokens.heads, dtype=np.float64)
        parts.append(np.column_stack([score_matrix(tokens, word_classes(tokens)), np.log1p(words)]))
    return np.concatenate(parts)
