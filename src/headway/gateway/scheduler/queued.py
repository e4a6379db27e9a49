"""A request as the scheduler knows it: where it waits, what is predicted of it, how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from headway.gateway.config import NO_CLASS, ServiceClass
from headway.gateway.scheduler.budgets import Reservation
from headway.gateway.scheduler.engine import EngineState
from headway.gateway.scheduler.ticket import Ticket
from headway.http.openai import error_body
from headway.predict.prediction import LEVELS
from headway.workload.request import Request

UNKNOWN_TOKENS = 256.0
_P50, _P90 = LEVELS.index(0.5), LEVELS.index(0.9)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served, and what its client is told.

    Attributes:
        status: of HTTP.
        message: for people.
        code: for programs.
        retry_after_s: when to try again; ``None`` where that would not help.
        lines: further header lines.

    """

    status: int
    message: str
    code: str
    retry_after_s: float | None = None
    lines: bytes = b""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What goes with it, ``lines`` aside."""
        headers = [("Content-Type", "application/json")]
        if self.retry_after_s is not None:
            headers.append(("Retry-After", str(max(1, round(self.retry_after_s)))))
        if self.status == 401:
            headers.append(("WWW-Authenticate", "Bearer"))
        return headers

    @property
    def body(self) -> bytes:
        """An error in OpenAI's shape."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        if self.status == 429:
            kind = "rate_limit_error"
        return error_body(self.message, kind, self.code)


class Carrier(Protocol):
    """Whoever carries a request's bytes, told what the scheduler decides."""

    def start(self, engine: EngineState) -> None:
        """Send it to ``engine``, now."""
        ...

    def refuse(self, refusal: Refusal) -> None:
        """End it before it has reached an engine."""
        ...

    def shut(self) -> None:
        """End it because the gateway stops."""
        ...

    def outcome(self, status: str, reason: str = "", code: int | None = None) -> Outcome:
        """Return how far its answer came, with ``status``."""
        ...


class QueuedRequest(Ticket):
    """A request between its arrival and its end.

    Attributes:
        request: as predictors and policies see it.
        api: of OpenAI's, chat, completions or responses.
        stream: whether its answer is wanted as a stream.
        client_id: the client's own name for it, to find it before a header comes back.
        text_characters: of its prompt; 0 where that is not of text alone.
        carrier: sends it when it is its turn; nobody once it has ended.
        home: the pool that it was meant for when it arrived.
        pool: the pool that it waits for or runs in.
        pinned: whether the client chose the pool.
        priority: for the engine's own queue, when annotating.
        sent_s: when it was first sent to an engine.
        attempts: engines that it was sent to.
        tried: their addresses; the last attempt's is `engine_url`.
        company: requests that the last engine had then, with this one.
        service_class: that the client has named.
        hint_tokens: of its answer, as its client expects; ``None`` if it does not say.
        generates: whether its answer is text, whose length can be predicted.
        reservation: what its tenant's budgets hold for it.
        limit_lines: header lines that tell its tenant what is left.
        is_renamed: whether engines call its model otherwise than the client does.
        session: of the client's, whose requests go to one engine where that costs nothing.
        blocks: of its prompt, see `headway.gateway.scheduler.prefixes`.
        cached_tokens: of its prompt that the last engine was believed to hold.
        prefill_tokens: of its prompt that are to be computed, as far as that is trusted.
        expected_tokens: the mean of its prediction; a guess until there is one.
        quantiles: of it, at `LEVELS`; ``None`` until there is one.
        predicted_s: when the predictor began and ended with it, on the loop's clock.
        prompt_hash: for the record; empty until its first row.

    """

    __slots__ = (
        "api", "attempts", "blocks", "cached_tokens", "carrier", "client_id", "company",
        "engine_url", "expected_tokens", "generates", "hint_tokens", "home", "is_renamed",
        "limit_lines", "pinned", "pool", "predicted_s", "prefill_tokens", "priority",
        "prompt_hash", "quantiles", "request", "reservation", "sent_s", "service_class", "session",
        "stream", "text_characters", "tried",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        *,
        api: str = "",
        stream: bool = False,
        client_id: str = "",
        text_characters: int = 0,
        weight: float = 1.0,
        session: str = "",
        service_class: ServiceClass = NO_CLASS,
        generates: bool = True,
        hint_tokens: float | None = None,
    ) -> None:
        """Wait from the arrival of ``request`` on, without a prediction yet."""
        super().__init__(request.arrival_s, lane=request.tenant, weight=weight)
        self.request = request
        self.api = api
        self.stream = stream
        self.client_id = client_id
        self.text_characters = text_characters
        self.carrier: Carrier | None = None

        self.home = self.pool = ""
        self.pinned = False
        self.priority: int | None = None
        self.sent_s: float | None = None
        self.attempts = 0
        self.tried: set[str] = set()
        self.engine_url = ""
        self.company = 0
        self.session = session
        self.service_class = service_class
        self.generates = generates
        self.hint_tokens = hint_tokens
        self.is_renamed = False
        self.reservation = Reservation()
        self.limit_lines = b""
        self.blocks: tuple[int, ...] = ()
        self.cached_tokens = 0.0
        self.prefill_tokens = float(request.prompt_tokens)

        self.expected_tokens = min(UNKNOWN_TOKENS, request.max_tokens or UNKNOWN_TOKENS)
        self.quantiles: list[float] | None = None
        self.predicted_s: tuple[float, float] | None = None
        self.prompt_hash = ""

    def has_outlived(self, now_s: float) -> bool:
        """Return whether it has waited for longer than its class does."""
        ttl_s = self.service_class.ttl_s
        return ttl_s is not None and now_s - self.arrival_s > ttl_s

    @property
    def ended(self) -> bool:
        """Whether nobody carries it any more."""
        return self.carrier is None

    @property
    def p50_tokens(self) -> float | None:
        """The median of its prediction; ``None`` until there is one."""
        return None if self.quantiles is None else self.quantiles[_P50]

    @property
    def p90_tokens(self) -> float | None:
        """What 9 of 10 such answers are shorter than; ``None`` until there is a prediction."""
        return None if self.quantiles is None else self.quantiles[_P90]

    def note_attempt(self, engine: EngineState, now_s: float) -> None:
        """It goes to ``engine`` now."""
        self.waits = False
        self.attempts += 1
        self.engine_url = engine.url
        self.tried.add(engine.url)
        self.company = engine.num_in_flight
        if self.sent_s is None:
            self.sent_s = now_s

    def note_return(self) -> None:
        """It was sent nowhere after all, and waits again."""
        self.waits = True
        self.sent_s = None
        self.engine_url = ""
        self.tried.clear()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended; times on the loop's clock.

    Attributes:
        status: of the record: done, rejected or failed.
        reason: why it was not done; empty if it was.
        code: the HTTP status that the client was sent; ``None`` if it had gone.
        first_s, last_s: when the first and the last token were seen.
        prompt_tokens, cached_tokens: the engine's counts; ``None`` where it did not say.
        output_tokens: the engine's count, else the events that were seen.

    """

    status: str
    reason: str = ""
    code: int | None = None
    first_s: float | None = None
    last_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int = 0
    cached_tokens: int | None = None
