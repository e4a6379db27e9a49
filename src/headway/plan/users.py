"""People who ask, read, think and ask again: a closed loop, simulated by loops that are open."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from headway.errors import InputError
from headway.plan.demand import NUM_REQUESTS, Demand, Drawn, Run, longest
from headway.schedule.route import LEAST_LOADED, PREFIX_AFFINE, Placement
from headway.sim.outcome import simulate_trace
from headway.sim.site import Site, alone_ns
from headway.steptime.work import Array
from headway.units import check_positive
from headway.workload.lengths import JointLengths
from headway.workload.oracle import BlockHashes, Floats, Ints, Trace

HASH_TOKENS = 128  # of a block of a conversation that a prefix cache may hold
ROUNDS = 40  # of a closed loop at most, until what users wait agrees with when they ask
SETTLED = 0.005  # relative change of a user's mean cycle below which a run is typical
COMPANY = 1.3  # an answer in company over one alone, to begin with
EXACT_S = 1e-3  # mean change of a cycle below which it is the loop itself


@dataclass(frozen=True, eq=False)
class Users(Drawn):
    """People in a closed loop, each of whom reads and thinks before the next turn.

    Attributes:
        users: people.
        think_s: mean of the exponentially distributed time between an answer and the next turn.
        lengths: of what a user adds in a turn, and of the answer.
        turns: of a conversation, which a prompt carries along; after the last, a new one begins.
        e2e_guess_s: what an answer takes, roughly: it sets how long a run is.
        placement_rule: how requests find their replica; where their prefix is, unless given.

    """

    users: int
    think_s: float
    lengths: JointLengths
    turns: int = 1
    e2e_guess_s: float = 10.0
    max_context_tokens: int | None = None
    placement_rule: Placement | None = None
    _crowds: dict[int, _Crowd] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_positive(self.users, "users", maximum=1e6)
        check_positive(self.turns, "turns of a conversation", maximum=1000)
        if not 0 <= self.think_s <= 1e6:
            raise InputError(f"think time must lie between 0 and 1e6 s, not {self.think_s:g}")

    @property
    def words(self) -> str:
        """How many people, and how long they think."""
        turns = f" in conversations of {self.turns} turns" if self.turns > 1 else ""
        return f"{self.users} users who think {self.think_s:g} s{turns}"

    @property
    def placement(self) -> Placement:
        """Conversations return to where their prefix is."""
        if self.placement_rule is not None:
            return self.placement_rule
        return PREFIX_AFFINE if self.turns > 1 else LEAST_LOADED

    @property
    def duration_s(self) -> float:
        """Of a run: so long that `NUM_REQUESTS` come, and four turns of each user at least."""
        cycle_s = self.think_s + self.e2e_guess_s
        return cycle_s * max(NUM_REQUESTS / self.users, 4.0)

    @property
    def num_turns(self) -> int:
        """Turns that are drawn for each user: enough for answers far faster than the guess."""
        shortest_s = max(self.think_s, 0.2 * self.e2e_guess_s)
        return math.ceil(1.5 * self.duration_s / shortest_s) + 3

    @cached_property
    def typical(self) -> _Crowd:
        """Turns of the first seed."""
        return self.crowd(0)

    @property
    def cached_fraction(self) -> float:
        """What earlier turns of a conversation sent, of all prompt tokens."""
        crowd = self.typical
        old = 1 - float(crowd.added_tokens.sum()) / float(crowd.prompt_tokens.sum())
        return max(old, 0.0)

    @property
    def longest_tokens(self) -> int:
        """The longest conversation."""
        tokens = longest(self.lengths) * self.turns
        return min(tokens, self.max_context_tokens or tokens)

    def share(self, concurrency: Array, requests_per_s: Array) -> Array:
        """Return the part of the users: those who wait for an answer and those who think."""
        return (concurrency + requests_per_s * self.think_s) / self.users

    def requests_per_s(self, e2e_s: Array) -> Array:
        """Return the rate of a closed loop by Little's law."""
        return self.users / (self.think_s + np.asarray(e2e_s, dtype=np.float64))

    def scaled(self, volume: float) -> Demand:
        """Return ``volume`` times as many people."""
        return replace(self, users=max(round(self.users * volume), 1))

    def crowd(self, seed: int) -> _Crowd:
        """Return what the users of ``seed`` will ask, drawn once."""
        if seed not in self._crowds:
            self._crowds[seed] = _Crowd.draw(self, seed)
        return self._crowds[seed]

    def run(self, site: Site, seed: int = 0, volume: float = 1.0, exact: bool = False) -> Run:
        """Serve the users of ``seed``, ``volume`` times as many.

        A user's next request comes when the answer to the last one has ended and the user has
        thought: rounds of simulation, each with the arrivals that follow from the round before.
        Round k is exact for the first k turns of every user. A few rounds have the right rate and
        mix, which is enough unless ``exact``; waits half way between two rounds settle sooner.
        """
        num_users = max(round(self.users * volume), 1)
        crowd = self.crowd(seed).of(num_users)
        e2e_s = COMPANY * _alone_s(crowd, site)
        mean_s = float(e2e_s.mean())
        for _ in range(ROUNDS):
            arrival_s = crowd.arrivals(e2e_s)
            order = np.argsort(arrival_s, axis=None, kind="stable")
            order = order[: int((arrival_s < self.duration_s).sum())]
            trace = crowd.trace(order, arrival_s, self.turns)
            outcome = simulate_trace(trace, site)

            # What did not end waits for ever; a user who waits so long asks no more.
            waited_s = np.nan_to_num(outcome.records.e2e_s, nan=self.duration_s)
            path_s = float(np.abs(waited_s - e2e_s.ravel()[order]).mean())
            change_s, mean_s = abs(float(waited_s.mean()) - mean_s), float(waited_s.mean())
            e2e_s.ravel()[order] = waited_s if exact else np.sqrt(waited_s * e2e_s.ravel()[order])
            settled = change_s < SETTLED * (self.think_s + mean_s)
            if path_s < EXACT_S or (settled and not exact):
                break
        return Run(trace, outcome)


@dataclass(frozen=True, slots=True, eq=False)
class _Crowd:
    """What users will ask, one row per user and one column per turn.

    Attributes:
        start_s: when each begins, shape (users,).
        pause_s: after each answer.
        added_tokens: what the user writes; ``prompt_tokens`` holds the conversation before it, too.
        conversations: number of the conversation that each turn belongs to.

    """

    start_s: Floats
    pause_s: Floats
    added_tokens: Ints
    prompt_tokens: Ints
    output_tokens: Ints
    conversations: Ints

    @classmethod
    def draw(cls, users: Users, seed: int) -> _Crowd:
        """Draw twice as many people as there are, so that a run may have more."""
        shape = (2 * users.users + 1, users.num_turns)
        streams = [np.random.default_rng([seed, 20, k]) for k in range(4)]
        pause_s = streams[0].exponential(1.0, shape) * users.think_s
        start_s = streams[1].random(shape[0]) * (users.think_s + users.e2e_guess_s)
        added, output = users.lengths.sample(streams[2], shape[0] * shape[1])
        added, output = added.reshape(shape), output.reshape(shape)

        # A user comes in at some turn of a conversation; what went before is as long as usual.
        place = streams[3].integers(users.turns, size=shape[0])
        usual = int(added.mean() + output.mean())
        history = place * usual
        limit = users.max_context_tokens or 2**40
        prompt, conversations = np.empty_like(added), np.empty_like(added)
        number = np.arange(shape[0]) * shape[1]
        for turn in range(shape[1]):
            full = history + added[:, turn] + output[:, turn] > limit
            is_new = (place >= users.turns) | full
            history = np.where(is_new, 0, history)
            place, number = np.where(is_new, 0, place), number + is_new

            room = np.maximum(limit - output[:, turn], 1)
            added[:, turn] = np.minimum(added[:, turn], room)
            prompt[:, turn] = history + added[:, turn]
            conversations[:, turn] = number
            history, place = prompt[:, turn] + output[:, turn], place + 1
        return cls(
            start_s=start_s,
            pause_s=pause_s,
            added_tokens=added,
            prompt_tokens=prompt,
            output_tokens=output,
            conversations=conversations,
        )

    def of(self, num_users: int) -> _Crowd:
        """Return the first ``num_users``, at most all who were drawn."""
        columns = (getattr(self, name)[:num_users] for name in self.__slots__)
        return _Crowd(*columns)

    def arrivals(self, e2e_s: Floats) -> Floats:
        """Return when each turn comes, where answers take ``e2e_s``."""
        cycles_s = np.cumsum((e2e_s + self.pause_s)[:, :-1], axis=1)
        later_s = self.start_s[:, None] + cycles_s
        return np.concatenate([self.start_s[:, None], later_s], axis=1)

    def trace(self, order: Ints, arrival_s: Floats, turns: int) -> Trace:
        """Return the turns ``order`` (flat numbers, as they come) as a trace."""
        prompt = self.prompt_tokens.ravel()[order]
        prefixes = None
        if turns > 1:
            prefixes = _conversation_blocks(self.conversations.ravel()[order], prompt)
        return Trace(
            arrival_s=arrival_s.ravel()[order],
            prompt_tokens=prompt,
            output_tokens=self.output_tokens.ravel()[order],
            name="users",
            prefixes=prefixes,
        )


def _alone_s(crowd: _Crowd, site: Site) -> Floats:
    """Return what every answer would take on an empty replica of ``site``."""
    pool, prompt = site.pools[0], crowd.prompt_tokens.ravel()
    prefill_ns, decode_ns = alone_ns(prompt, crowd.output_tokens.ravel(), pool, site.pools[-1])
    total_ns = pool.table.overhead_ns(prompt) + prefill_ns + decode_ns
    return np.asarray(total_ns.reshape(crowd.prompt_tokens.shape) * 1e-9, dtype=np.float64)


def _conversation_blocks(conversations: Ints, prompt_tokens: Ints) -> BlockHashes:
    """Return blocks that the prompts of one conversation share, as far as the shorter goes."""
    counts = prompt_tokens // HASH_TOKENS
    first = np.concatenate([[0], np.cumsum(counts)])
    place = np.arange(first[-1]) - np.repeat(first[:-1], counts)

    # Numbers of blocks: those of one conversation lie behind each other.
    _, number = np.unique(conversations, return_inverse=True)
    longest = np.zeros(number.max() + 1, dtype=np.int64)
    np.maximum.at(longest, number, counts)
    base = np.concatenate([[0], np.cumsum(longest)[:-1]])
    return BlockHashes(first, np.repeat(base[number], counts) + place, HASH_TOKENS)
