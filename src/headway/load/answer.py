"""What came back, with the times at which it did."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headway.errors import InputError
from headway.workload.record import DONE, FAILED, RequestRecord

CANCELLED = "cancelled, as planned"
GIVEN_UP = "given up: no whole answer in time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request that was sent; times are seconds of the monotonic clock.

    Attributes:
        number: of the request in its plan.
        due_s: when it should have been sent; every latency counts from here.
        sent_s: when it was.
        token_s: when each event with content came.
        prompt_tokens: the server's count, else as planned.
        output_tokens: the server's count, else events with content.
        status: of HTTP; 0 where there was no answer.
        problem: what went wrong; empty where nothing did.

    """

    number: int
    due_s: float
    sent_s: float
    token_s: tuple[float, ...]
    prompt_tokens: int
    output_tokens: int
    status: int
    problem: str = ""

    def __post_init__(self) -> None:
        if not self.problem and not self.token_s:
            raise InputError(f"request {self.number} went well but has no token")

    @property
    def is_cancelled(self) -> bool:
        """Whether its client went away, as was planned."""
        return self.problem == CANCELLED

    @property
    def is_given_up(self) -> bool:
        """Whether it was waited for as long as the run's bound says, and no longer."""
        return self.problem == GIVEN_UP

    @property
    def late_s(self) -> float:
        """By how much it was sent later than it should have been: the generator's own fault."""
        return self.sent_s - self.due_s

    def record(self, start_s: float) -> RequestRecord:
        """Return it as all of Headway reads it, on a clock that is 0 at ``start_s``.

        What failed has no times: they would flatter the server.
        """
        failed = bool(self.problem)
        return RequestRecord(
            id=str(self.number),
            arrival_s=self.due_s - start_s,
            token_s=() if failed else tuple(t - start_s for t in self.token_s),
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            status=FAILED if failed else DONE,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run.

    Attributes:
        start_s: when it began, on the monotonic clock.
        answers: in the order of their numbers.
        num_cut: requests under way when somebody stopped the run: they are left out.
        num_not_sent: requests whose turn never came.

    """

    start_s: float
    answers: tuple[Answer, ...]
    num_cut: int = 0
    num_not_sent: int = 0

    @property
    def records(self) -> list[RequestRecord]:
        """The answers as records, on a clock that is 0 at the start."""
        return [answer.record(self.start_s) for answer in self.answers]

    def without_cancelled(self) -> Outcome:
        """Return the run without those whose clients went away as planned."""
        return replace(self, answers=tuple(a for a in self.answers if not a.is_cancelled))

    def after(self, warmup_s: float) -> Outcome:
        """Return the run without what was due in its first ``warmup_s``."""
        if warmup_s <= 0:
            return self
        start_s = self.start_s + warmup_s
        answers = tuple(a for a in self.answers if a.due_s >= start_s)
        return replace(self, start_s=start_s, answers=answers)

    @property
    def problems(self) -> dict[str, int]:
        """How often which problem came up, the most frequent first."""
        counts: dict[str, int] = {}
        for answer in self.answers:
            if answer.problem and not answer.is_cancelled:
                counts[answer.problem] = counts.get(answer.problem, 0) + 1
        return dict(sorted(counts.items(), key=lambda pair: -pair[1]))
