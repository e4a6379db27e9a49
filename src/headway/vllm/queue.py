"""Waiting requests in the order of a policy, behind the methods of vLLM's request queues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from headway.schedule.order import rank
from headway.schedule.view import Floats, View
from headway.vllm.keys import ARRIVAL, NUM_ROWS, KeyWriter


class PolicyQueue:
    """What waits, sorted again whenever somebody looks and something has changed.

    Policies make a key from nothing but a request's own row, so each is asked once for every
    request; a look sorts numbers. Whoever has waited for ``patience_s`` goes first.

    Args:
        writer: asks the policy for keys.
        view: returns what the policy may know of some requests.
        clock: seconds on the clock of the requests' arrivals.
        patience_s: see above.

    """

    def __init__(
        self,
        writer: KeyWriter,
        view: Callable[[Sequence[Any]], View],
        clock: Callable[[], float],
        patience_s: float,
    ) -> None:
        """Start empty."""
        self._writer, self._view, self._clock = writer, view, clock
        self._patience_s = patience_s
        self._table: Floats = np.zeros((NUM_ROWS, 64))
        self._requests: list[Any] = []  # as in the table; those behind it are new
        self._num_keyed = 0
        self._places: dict[str, int] = {}
        self._line: list[Any] | None = None  # the last look, the first to go at the end
        self._num_in_time, self._num_starts = 0, 0

    def look_again(self) -> None:
        """Let the next look sort anew: time has passed."""
        self._line = None

    def add_request(self, request: Any) -> None:
        """Let ``request`` wait."""
        self._places[request.request_id] = len(self._requests)
        self._requests.append(request)
        self._line = None

    def prepend_request(self, request: Any) -> None:
        """Let ``request`` wait; its place follows from the policy."""
        self.add_request(request)

    def prepend_requests(self, requests: Iterable[Any]) -> None:
        """Let all ``requests`` wait."""
        for request in requests:
            self.add_request(request)

    def peek_request(self) -> Any:
        """Return who goes next; raise `IndexError` where nobody waits."""
        line = self._look()
        return line[self._next_place(line)]

    def pop_request(self) -> Any:
        """Take out who goes next; raise `IndexError` where nobody waits."""
        line = self._look()
        request = line.pop(self._next_place(line))
        self._drop(request)
        self._num_starts += 1
        self._num_in_time = max(self._num_in_time - 1, 0)
        return request

    def remove_request(self, request: Any) -> None:
        """Take out ``request``, wherever it stands."""
        self._drop(request)
        self._line = None

    def remove_requests(self, requests: Iterable[Any]) -> None:
        """Take out those of ``requests`` that wait."""
        for request in list(requests):
            if request.request_id in self._places:
                self.remove_request(request)

    def column(self, request: Any) -> Floats:
        """Return what the policy says of ``request``, which waits, (`NUM_ROWS`,)."""
        self._take_in()
        return self._table[:, self._places[request.request_id]]

    def __bool__(self) -> bool:
        return bool(self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._look()[::-1])

    def _look(self) -> list[Any]:
        """Return the line, the first to go at its end."""
        if self._line is None:
            self._take_in()
            n, now_s = len(self._requests), self._clock()
            columns = self._table[:, :n]
            rows, self._num_in_time = rank(self._writer.keys(columns), columns[ARRIVAL], now_s)

            # Who has waited too long goes first.
            arrival_s = columns[ARRIVAL, rows]
            impatient = now_s - arrival_s > self._patience_s
            if impatient.any():
                rows = rows[np.lexsort((np.where(impatient, arrival_s, 0.0), ~impatient))]
                self._num_in_time = n
            self._line = [self._requests[row] for row in rows[::-1].tolist()]
        return self._line

    def _next_place(self, line: list[Any]) -> int:
        """Return where in ``line`` the next one stands: at its end, or the first of the late."""
        dues = self._writer.dues
        every = 0 if dues is None else dues.late_every
        is_turn_of_late = every > 0 and self._num_starts % every == 0
        num_late = len(line) - self._num_in_time
        return num_late - 1 if is_turn_of_late and num_late > 0 else -1

    def _take_in(self) -> None:
        """Ask the policy for the keys of those that are new."""
        n, start = len(self._requests), self._num_keyed
        if start == n:
            return
        if n > self._table.shape[1]:
            self._table = np.concatenate([self._table, np.zeros((NUM_ROWS, n))], axis=1)
        self._table[:, start:n] = self._writer.columns(self._view(self._requests[start:]))
        self._num_keyed = n

    def _drop(self, request: Any) -> None:
        """Let the last of the table stand where ``request`` stood."""
        self._take_in()
        place = self._places.pop(request.request_id)
        last = self._requests.pop()
        self._num_keyed -= 1
        if last is not request:
            self._requests[place], self._places[last.request_id] = last, place
            self._table[:, place] = self._table[:, len(self._requests)]
