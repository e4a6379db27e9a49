"""A predictor as a folder: ``card.json`` says what it is, ``weights.npz`` holds the numbers.

No pickle is written or read, so a stranger's folder can be opened: sizes are checked before
anything is unpacked, and every array's type, shape and range before it is used. A folder is
written beside its place and moved there whole.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headway.errors import InputError
from headway.predict.embedding import is_packaged
from headway.predict.packing import packed, unpacked
from headway.predict.predictor import TextPredictor

DEFAULT = Path(__file__).parent / "default_predictor"
FORMAT = 1
CARD, WEIGHTS = "card.json", "weights.npz"
MAX_CARD_BYTES = 4_000_000
MAX_PACKED_BYTES = 64_000_000
MAX_UNPACKED_BYTES = 256_000_000


def save(predictor: TextPredictor, folder: Path, card: Mapping[str, Any]) -> None:
    """Write ``predictor`` with its model ``card`` to ``folder``, whole or not at all.

    Raises:
        InputError: the folder exists and is no predictor, or cannot be written.
    """
    check_free(folder)
    arrays, names = packed(predictor)
    text = json.dumps(
        {"format": FORMAT, "card": dict(card), "names": names}, indent=1, sort_keys=True
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            (fresh / CARD).write_text(text + "\n", encoding="utf-8")
            with (fresh / WEIGHTS).open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
            if folder.exists():
                os.replace(folder, Path(scratch) / "old")
            os.replace(fresh, folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error


def check_free(folder: Path) -> None:
    """Raise `InputError` where `save` would overwrite what is no predictor: ask before training."""
    if folder.exists() and not (folder.is_dir() and _is_ours(folder)):
        raise InputError(f"{folder} exists and is no predictor; choose another name")


def load(folder: Path, *, embed: bool = True) -> TextPredictor:
    """Return the predictor in ``folder``.

    Args:
        folder: as `save` wrote it.
        embed: whether a predictor with a sentence embedding uses it; else its words speak alone.

    Raises:
        MissingExtraError: it has an embedding, which is not installed.
        InputError: it is no predictor of this version, too large, damaged or forged.
    """
    names = read_card(folder)["names"]
    arrays = _arrays(folder / WEIGHTS)
    try:
        return unpacked(arrays, names, embed=embed)
    except (KeyError, ValueError, TypeError, IndexError, OverflowError, AttributeError) as error:
        raise InputError(f"{folder} is damaged: {str(error)[:120]}") from error


def default_predictor(*, embed: bool | None = None) -> TextPredictor:
    """Return a fresh copy of the predictor that ships: weak until it has seen your own traffic.

    Args:
        embed: whether it reads prompts with a sentence embedding, too, which ranks unknown prompts
            better and costs some twenty milliseconds a prompt; by default where that is installed.

    """
    return load(DEFAULT, embed=is_packaged() if embed is None else embed)


def read_card(folder: Path) -> dict[str, Any]:
    """Return what ``card.json`` says: ``format``, ``card`` and ``names``."""
    path = folder / CARD
    try:
        if not path.is_file():
            raise InputError(f"{folder} is no predictor: it has no {CARD}")
        if path.stat().st_size > MAX_CARD_BYTES:
            raise InputError(f"{path} is larger than {MAX_CARD_BYTES} bytes and is not read")
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {path}: {str(error)[:120]}") from error

    if not isinstance(stored, dict) or not all(
        isinstance(stored.get(k), dict) for k in ("card", "names")
    ):
        raise InputError(f"{path} is no predictor's card")
    if stored.get("format") != FORMAT:
        raise InputError(
            f"{folder} has format {str(stored.get('format'))[:20]}, not {FORMAT}: train it anew"
        )
    return stored


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        if path.stat().st_size > MAX_PACKED_BYTES:
            raise InputError(f"{path} is larger than {MAX_PACKED_BYTES} bytes and is not read")

        # The sizes that the archive states bound what is unpacked: zipfile reads no more.
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > 64 or sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
                raise InputError(
                    f"{path} unpacks to more than {MAX_UNPACKED_BYTES} bytes and is not read"
                )

        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        MemoryError,
    ) as error:
        raise InputError(f"cannot read {path}: {str(error)[:120]}") from error
    except Exception as error:  # NumPy and zlib raise their own kinds on damaged headers
        raise InputError(f"cannot read {path}: {type(error).__name__}") from error


def _is_ours(folder: Path) -> bool:
    return {entry.name for entry in folder.iterdir()} <= {CARD, WEIGHTS}
