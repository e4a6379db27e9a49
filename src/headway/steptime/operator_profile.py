"""Measured operators of one model on one accelerator: tables in a folder, read and interpolated.

The folder holds what LLMServingSim (MIT) publishes for a card and a model, one table each: times of
dense layers by tokens, of head and sampler by sequences, of attention by (prompt chunk, its
context, decodes, their mean context), and of experts by (tokens, active experts). Rows name
hardware (``hw``), ``model`` and ``tp``; all times are microseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headway.errors import InputError, MissingExtraError, reason
from headway.model.ffn import MoeFfn
from headway.steptime.placed_model import PlacedModel
from headway.steptime.work import Array as Floats

Columns = dict[str, npt.NDArray[np.generic]]

PER_LAYER = {"act_fn": 1, "down_proj": 1, "gate_up_proj": 1, "layernorm": 2, "o_proj": 1}
PER_LAYER |= {"qk_norm": 1, "qkv_proj": 1, "rotary_emb": 1}
USUAL_CONTEXT, USUAL_SPREAD = 256, (0.1, 0.4)  # mean tokens, relative variance, of loads
ONCE = {"embedding": 1, "final_layernorm": 1}


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Times on a grid; linear in every axis, held beyond its ends.

    Attention grows with sequences times context. Between points an octave apart, a line in the
    logarithms of both is up to 12% too long.
    """

    axes: tuple[Floats, ...]
    values: Floats

    @classmethod
    def of(cls, points: list[Floats], values: Floats) -> Grid:
        """Return the grid of scattered points; what is missing takes its nearest neighbour."""
        axes = tuple(np.unique(p) for p in points)
        grid = np.full([len(a) for a in axes], np.nan)
        grid[tuple(np.searchsorted(a, p) for a, p in zip(axes, points, strict=True))] = values

        # Gaps are filled along one axis after the other, from below first.
        for axis in reversed(range(grid.ndim)):
            moved = np.moveaxis(grid, axis, -1)
            for _ in range(moved.shape[-1]):
                for shift in (1, -1):
                    gaps = np.isnan(moved)
                    rolled = np.roll(moved, shift, axis=-1)
                    rolled[..., 0 if shift == 1 else -1] = np.nan
                    moved[gaps] = rolled[gaps]
        return cls(axes, grid)

    def at(self, *where: Floats) -> Floats:
        """Return the times at ``where``, one array per axis; they broadcast."""
        cells, parts = [], []
        for axis, x in zip(self.axes, where, strict=True):
            inside = np.clip(x, axis[0], axis[-1])
            cell = np.clip(np.searchsorted(axis, inside, side="right") - 1, 0, len(axis) - 2)
            cells.append(cell)
            parts.append((inside - axis[cell]) / (axis[cell + 1] - axis[cell]))

        # Every corner of the cell counts by how near it is.
        total = np.zeros(np.broadcast_shapes(*(c.shape for c in cells)))
        for corner in range(2 ** len(self.axes)):
            bits = [(corner >> k) & 1 for k in range(len(self.axes))]
            weight = np.ones_like(total)
            for bit, part in zip(bits, parts, strict=True):
                weight = weight * (part if bit else 1 - part)
            total += weight * self.values[tuple(c + b for c, b in zip(cells, bits, strict=True))]
        return total


@dataclass(frozen=True, slots=True, eq=False)
class Operators:
    """The operators of one deployment, in microseconds.

    Attributes:
        tokens, dense_us: all dense layers of the model together, by tokens of the step.
        sequences, head_us: head and sampler, by sequences that get a token.
        decode: attention of one layer by (sequences, mean context).
        prefill: by (chunk, context before it).
        mixed: by (chunk, context before it, sequences, mean context).
        experts: of one layer by (tokens, active experts); ``None`` for dense models.
        uneven: by sequences, the share by which attention is longer for each unit of the relative
            variance of their contexts; ``None`` without a table of skewed contexts.

    """

    tokens: Floats
    dense_us: Floats
    sequences: Floats
    head_us: Floats
    decode: Grid
    prefill: Grid
    mixed: Grid
    experts: Grid | None
    uneven: tuple[Floats, Floats] | None = None

    @classmethod
    def read(cls, folder: Path, deployment: PlacedModel) -> Operators:
        """Return the tables in ``folder`` that were measured for ``deployment``.

        Raises:
            InputError: a table is missing, or holds nothing for this model, hardware and tp.

        """
        # Dense layers, all of the model together.
        tokens, dense_us = _dense(_table(folder, "dense", deployment), deployment.model.num_layers)

        # Head and sampler.
        head = _table(folder, "per_sequence", deployment)
        sequences = np.unique(head["sequences"]).astype(np.float64)
        head_us = [head["time_us"][head["sequences"] == n].astype(float).sum() for n in sequences]

        # Attention: of decoding sequences alone, of one prompt alone, and of both.
        attention = _table(folder, "attention", deployment)
        names = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
        columns = [attention[name].astype(np.float64) for name in names]
        time_us = attention["time_us"].astype(np.float64)
        no_prompt, no_decode = columns[0] == 0, columns[2] == 0
        both = ~no_prompt & ~no_decode

        # Experts.
        experts = None
        if any(isinstance(group.ffn, MoeFfn) for group in deployment.model.layers):
            moe = _table(folder, "moe", deployment)
            axes = [moe[name].astype(np.float64) for name in ("tokens", "activated_experts")]
            experts = Grid.of(axes, moe["time_us"].astype(np.float64))

        return cls(
            tokens=tokens,
            dense_us=dense_us,
            sequences=sequences,
            head_us=np.array(head_us),
            decode=Grid.of([c[no_prompt] for c in columns[2:]], time_us[no_prompt]),
            prefill=Grid.of([c[no_decode] for c in columns[:2]], time_us[no_decode]),
            mixed=Grid.of([c[both] for c in columns], time_us[both]),
            experts=experts,
            uneven=_uneven(_table(folder, "skew", deployment)) if _paths(folder, "skew") else None,
        )


def _uneven(table: Columns) -> tuple[Floats, Floats]:
    """Return sequences, and what their uneven contexts cost: the median slope from no spread.

    A row holds ``nb`` of ``n`` contexts that are ``skew`` times as long as the others, and the
    times of these and of as many that are all as long as their mean. Those count that are as long
    and as uneven as loads are. Single times are up to a third off, medians are not.
    """
    names = ("n", "nb", "skew", "kv_mean", "t_mean_us", "t_skew_us")
    number, long, skew, context, even_us, uneven_us = (
        table[name].astype(np.float64) for name in names
    )
    share = long / number
    spread = share * (1 - share) * ((skew - 1) / (1 + share * (skew - 1))) ** 2
    is_usual = (table["regime"] == "pure") & (context >= USUAL_CONTEXT)
    is_usual &= (spread >= USUAL_SPREAD[0]) & (spread <= USUAL_SPREAD[1])

    slope = (uneven_us / even_us - 1) / np.maximum(spread, USUAL_SPREAD[0])
    sequences = np.unique(number[is_usual])
    slopes = [np.median(slope[is_usual & (number == one)]) for one in sequences]
    return sequences, np.maximum(slopes, 0.0)


def _dense(table: Columns, num_layers: int) -> tuple[Floats, Floats]:
    """Return numbers of tokens, and the microseconds of all dense layers of the model for each."""
    tokens = np.unique(table["tokens"]).astype(np.float64)
    dense_us = np.zeros(len(tokens))
    for count, operators in ((num_layers, PER_LAYER), (1, ONCE)):
        for operator, times in operators.items():
            rows = table["layer"] == operator
            if rows.any():
                order = np.argsort(table["tokens"][rows])
                own_tokens = table["tokens"][rows][order].astype(np.float64)
                own_us = table["time_us"][rows][order].astype(np.float64)
                dense_us += count * times * np.interp(tokens, own_tokens, own_us)
    return tokens, dense_us


def _table(folder: Path, name: str, deployment: PlacedModel) -> Columns:
    """Return the rows for ``deployment`` of the one table in ``folder`` called ``*name``."""
    paths = _paths(folder, name)
    if len(paths) != 1:
        raise InputError(
            f"{folder} must hold one table *{name}.parquet of measured operators, not {len(paths)}"
        )

    # Rows of this hardware, model and layout.
    columns = _columns(paths[0])
    tp = int(deployment.parallelism.tp)
    hardware, model = deployment.cluster.accelerator.name, deployment.model.name
    try:
        own = _named(columns["hw"], hardware) & (columns["tp"].astype(np.int64) == tp)
        own &= _named(columns["model"], model)
    except KeyError as error:
        raise InputError(f"{paths[0]} lacks column {error.args[0]!r}") from None

    if not own.any():
        pairs = sorted({f"{m} on {h}, tp{int(t)}" for h, m, t in zip(
            columns["hw"], columns["model"], columns["tp"], strict=True)})  # fmt: skip
        raise InputError(
            f"{paths[0]} holds nothing for {model} on {hardware} with tp{tp}; it has "
            + "; ".join(pairs[:6])
        )
    return {key: values[own] for key, values in columns.items()}


def _paths(folder: Path, name: str) -> list[Path]:
    return sorted([*folder.glob(f"*{name}.parquet"), *folder.glob(f"*{name}.csv")])


def _columns(path: Path) -> Columns:
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet  # type: ignore[import-untyped]  # ships no types

            table = parquet.read_table(path)
            return {name: np.array(table[name].to_pylist()) for name in table.column_names}
        raw = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
        return {name: np.atleast_1d(raw[name]) for name in raw.dtype.names or ()}
    except ImportError:
        raise MissingExtraError("reading Parquet", "parquet") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} as a table: {reason(error)}") from None


def _named(column: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.bool_]:
    """Return which rows mean ``name``: the shortest that begins with it, punctuation aside."""
    plain_name = _plain(name)
    spelled = {str(value): _plain(str(value).rsplit("/", 1)[-1]) for value in set(column.tolist())}
    close = sorted((s for s in spelled.values() if s.startswith(plain_name)), key=len)
    return np.array([bool(close) and spelled[str(value)] == close[0] for value in column.tolist()])


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
