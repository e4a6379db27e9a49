"""vLLM's asynchronous scheduler with a queue of ours, and running requests that make way.

Imported inside vLLM only. What is overridden: the queue of waiting requests, `schedule` (before
each step, time has passed: the queue sorts again, and a running request may lose its slot to one
that waits) and the end of a request. The rest is vLLM's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.request import Request, RequestStatus

from headway.schedule.view import Floats, View
from headway.vllm.keys import KeyWriter
from headway.vllm.lengths import Lengths
from headway.vllm.preemption import Preemption
from headway.vllm.queue import PolicyQueue
from headway.vllm.row import Rows
from headway.vllm.settings import Settings
from headway.vllm.version import check


class Scheduler(AsyncScheduler):
    """Stock vLLM where the version is unknown; see the module."""

    clock = staticmethod(time.time)  # that of the requests' arrivals

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take the settings from vLLM's additional configuration."""
        super().__init__(*args, **options)
        self.queue: PolicyQueue | None = None
        if not check():
            return

        settings = Settings.of(self.vllm_config.additional_config)
        self.lengths = Lengths()
        self.rows = Rows(settings, self.lengths)
        self.first_token_s: dict[str, float] = {}
        writer = KeyWriter(settings.order)
        self.queue = PolicyQueue(writer, self.view, self.clock, settings.patience_s)
        self.preemption = Preemption(writer, self.ahead, settings.max_preemptions)
        self.waiting = self.queue

    def view(self, requests: Sequence[Request]) -> View:
        """Return what a policy may know of ``requests``."""
        return self.rows.view(requests, self.first_token_s)

    def ahead(self, request: Request, produced_tokens: Floats) -> View:
        """Return what will be known of ``request`` once it produced so much."""
        first_s = self.first_token_s.get(request.request_id)
        return self.rows.ahead(request, first_s, produced_tokens)

    def schedule(self, *args: Any, **options: Any) -> Any:
        """Sort the queue, make way where that is due, and schedule as vLLM does."""
        if self.queue is not None:
            self.queue.look_again()
            if self.queue and len(self.running) >= self.max_num_active_reqs:
                self._make_way()
        return super().schedule(*args, **options)

    def _make_way(self) -> None:
        candidates = self.preemption.candidates(self.running)
        if not candidates or self.queue is None:
            return
        front = self.queue.column(self.queue.peek_request())
        victim = self.preemption.victim(front, candidates, self.clock())
        if victim is None:
            return
        self.running.remove(victim)
        self._preempt_request(victim, time.monotonic())
        # As vLLM does where it preempts outside of its loop: nothing of it is in the batch.
        self.prev_step_scheduled_req_ids.discard(victim.request_id)

    def _update_request_with_output(
        self, request: Request, new_token_ids: list[int], is_stale: bool = False
    ) -> tuple[list[int], bool]:
        is_first = request.num_output_tokens == 0
        tokens, stopped = super()._update_request_with_output(request, new_token_ids, is_stale)
        if self.queue is not None and is_first and tokens:
            self.first_token_s[request.request_id] = self.clock()
        return tokens, stopped

    def _free_request(self, request: Request, *args: Any, **options: Any) -> Any:
        if self.queue is not None:
            self.first_token_s.pop(request.request_id, None)
            self.preemption.forget(request)
            if request.status == RequestStatus.FINISHED_STOPPED:
                self.lengths.note(request.num_output_tokens)
        return super()._free_request(request, *args, **options)
