"""Workload profiles that ship: what a public trace looks like, without the trace.

A profile holds quantile tables of the lengths, the burstiness of arrivals and how much of a prompt
was seen before. `generate` draws a trace of any size and rate from it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources

import numpy as np

from headway.errors import InputError, UnknownNameError
from headway.workload.arrivals import arrivals
from headway.workload.lengths import FINE_LEVELS, JointLengths
from headway.workload.oracle import BlockHashes, Floats, Ints, Trace

TRIES = 24  # earlier prompts that are looked at for a prefix


@dataclass(frozen=True, slots=True)
class Sharing:
    """How much of a prompt's leading blocks earlier prompts had, by equal shares of length.

    Attributes:
        block_tokens: of one hashed block.
        fraction: rows of seen fractions at `FINE_LEVELS`, shortest prompts first.
        reach: how many requests back a prefix may come from.

    """

    block_tokens: int
    fraction: tuple[tuple[float, ...], ...]
    reach: int = 2000

    def sample(self, random: np.random.Generator, prompts: Ints) -> BlockHashes:
        """Return hashes for ``prompts``: each takes its leading blocks from an earlier one."""
        # Each prompt's share by length, whose table says how much of it is not new.
        ranks = np.argsort(np.argsort(prompts, kind="stable"))
        shares = np.minimum(ranks * len(self.fraction) // len(prompts), len(self.fraction) - 1)

        lists: list[list[int]] = []
        next_hash = 0
        for prompt, share in zip(prompts, shares, strict=True):
            blocks = int(prompt) // self.block_tokens
            fraction = float(np.interp(random.random(), FINE_LEVELS, self.fraction[share]))
            num_old = round(fraction * blocks)

            # The longest of a few earlier prompts lends its leading blocks.
            prefix: list[int] = []
            for _ in range(TRIES if num_old and lists else 0):
                other = lists[max(0, len(lists) - 1 - int(random.integers(self.reach)))]
                if len(other) > len(prefix):
                    prefix = other[:num_old]
                if len(prefix) == num_old:
                    break

            num_new = blocks - len(prefix)
            lists.append(prefix + list(range(next_hash, next_hash + num_new)))
            next_hash += num_new
        return BlockHashes.of_lists(lists, self.block_tokens)


@dataclass(frozen=True, slots=True)
class Profile:
    """One workload.

    Attributes:
        name: how it is asked for.
        rate_rps: of the original.
        gap_cv: variation of gaps between arrivals.
        rate_cv: variation of the rate from minute to minute.
        tick_s: clock of the original, 0 for a fine one.
        lengths: joint tables.
        sharing: of prefixes; ``None`` where the original does not tell.
        source: whose trace, where to find it, under which licence.

    """

    name: str
    rate_rps: float
    gap_cv: float
    rate_cv: float
    tick_s: float
    lengths: JointLengths
    sharing: Sharing | None
    source: str

    def generate(self, seed: int, count: int, rate_rps: float | None = None) -> Trace:
        """Return ``count`` requests at ``rate_rps``, the original's rate by default.

        Arrivals, lengths and prefixes have a stream each: another rate leaves the lengths alone.
        """
        streams = [np.random.default_rng([seed, k]) for k in range(3)]
        times = arrivals(
            streams[0],
            count,
            rate_rps or self.rate_rps,
            gap_cv=self.gap_cv,
            rate_cv=self.rate_cv,
            tick_s=self.tick_s,
        )
        prompts, outputs = self.lengths.sample(streams[1], count)
        prefixes = None if self.sharing is None else self.sharing.sample(streams[2], prompts)
        return Trace(times, prompts, outputs, self.name, prefixes)

    def to_json(self) -> str:
        """The profile as text."""
        return json.dumps(asdict(self), indent=None, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read a profile; raise `InputError` unless ``text`` is one."""
        try:
            tree = json.loads(text)
            tables = tree.pop("lengths")
            sharing = tree.pop("sharing")
            return cls(
                **tree,
                lengths=JointLengths(
                    tuple(tables["prompt"]), tuple(tuple(row) for row in tables["output"])
                ),
                sharing=None
                if sharing is None
                else Sharing(
                    sharing["block_tokens"],
                    tuple(tuple(row) for row in sharing["fraction"]),
                    sharing["reach"],
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"damaged workload profile: {error!r}") from None


def profile_names() -> tuple[str, ...]:
    """The profiles that ship."""
    folder = resources.files("headway.workload") / "profiles"
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".json")))


def find_profile(name: str) -> Profile:
    """The profile called ``name``; raise `UnknownNameError` with the nearest names."""
    if name not in profile_names():
        raise UnknownNameError("workload profile", name, profile_names())
    text = (resources.files("headway.workload") / "profiles" / f"{name}.json").read_text("utf-8")
    return Profile.from_json(text)


def seen_fractions(prefixes: BlockHashes) -> Floats:
    """Return what fraction of each prompt's blocks, from its first on, an earlier prompt had."""
    earlier: set[int] = set()
    fractions = np.zeros(len(prefixes.first) - 1)
    for i in range(len(fractions)):
        own = prefixes.hashes[prefixes.first[i] : prefixes.first[i + 1]].tolist()
        count = 0
        while count < len(own) and own[count] in earlier:
            count += 1
        fractions[i] = count / len(own) if own else 0.0
        earlier.update(own)
    return fractions
