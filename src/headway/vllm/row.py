"""What a policy may know of one request of vLLM, as a row of a `View`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headway.schedule.hints import TENANT, TIER, TPOT, TTFT, VALUE
from headway.schedule.view import Floats, View
from headway.vllm.lengths import Lengths
from headway.vllm.settings import Settings


class Rows:
    """Requests as policies see them."""

    def __init__(self, settings: Settings, lengths: Lengths) -> None:
        """Keep what all rows share."""
        self._settings, self._lengths = settings, lengths
        self._tenants: dict[str, int] = {}

    def view(self, requests: Sequence[Any], first_token_s: dict[str, float]) -> View:
        """Return what is known of ``requests``, those that have begun with what they produced.

        A request whose first token came, at ``first_token_s`` by its id, is due when its TPOT
        objective would have the next one.
        """
        view = self._arrived(requests)
        produced = np.array([one.num_output_tokens for one in requests], dtype=np.float64)
        if not np.any(produced):
            return view

        first_s = np.array([first_token_s.get(one.request_id, math.nan) for one in requests])
        return _under_way(view, first_s, produced)

    def ahead(self, request: Any, first_s: float | None, produced_tokens: Floats) -> View:
        """Return what will be known of ``request`` once it produced so much, a row for each."""
        rows = np.zeros(len(produced_tokens), dtype=np.int64)
        first = np.full(len(rows), math.nan if first_s is None else first_s)
        return _under_way(self._arrived([request]).take(rows), first, produced_tokens)

    def _arrived(self, requests: Sequence[Any]) -> View:
        """Return what was known of ``requests`` when they came."""
        rows = [self._row(request) for request in requests]
        arrival_s, prompt, first_deadline_s, tpot_s, tiers, value, tenants, quantiles = zip(
            *rows, strict=True
        )
        return View(
            arrival_s=np.array(arrival_s),
            prompt_tokens=np.array(prompt, dtype=np.float64),
            quantiles=np.array(quantiles),
            deadline_s=np.full(len(rows), math.inf),
            produced_tokens=np.zeros(len(rows)),
            tenants=np.array(tenants, dtype=np.int64),
            first_deadline_s=np.array(first_deadline_s),
            tpot_s=np.array(tpot_s),
            tiers=np.array(tiers, dtype=np.int64),
            value=np.array(value),
            service=self._settings.service,
        )

    def _row(self, request: Any) -> tuple[Any, ...]:
        parameters = request.sampling_params
        extra = (parameters and parameters.extra_args) or {}
        ttft_s = _positive(extra.get(TTFT), self._settings.ttft_s)
        tpot_s = _positive(extra.get(TPOT), self._settings.tpot_s)
        tenant = self._tenants.setdefault(str(extra.get(TENANT, "")), len(self._tenants))
        return (
            request.arrival_time,
            request.num_prompt_tokens,
            request.arrival_time + ttft_s,
            tpot_s,
            int(_positive(extra.get(TIER), 0)) if extra.get(TIER) else 0,
            _positive(extra.get(VALUE), 1.0),
            tenant,
            self._lengths.of(extra, request.max_tokens),
        )


def _under_way(view: View, first_s: Floats, produced_tokens: Floats) -> View:
    """Return ``view`` of requests that produced so much; ``first_s`` is NaN before a token."""
    next_due_s = first_s + view.tpot_s * produced_tokens
    due_s = np.where(np.isnan(first_s), view.first_deadline_s, next_due_s)
    return replace(view, first_deadline_s=due_s).after(produced_tokens)


def _positive(value: Any, default: float | None) -> float:
    """Return ``value`` where it is a number above 0, else ``default``; infinite for ``None``."""
    fallback = math.inf if default is None else default
    if isinstance(value, int | float) and value > 0 and math.isfinite(value):
        return float(value)
    return fallback
