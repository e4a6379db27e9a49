"""A Grafana dashboard of a plan: every objective with its bound, beside load and replicas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headway.errors import InputError
from headway.workload.objective import Objective

RANGE = "5m"
# Histograms of the quantities that objectives bound, and gauges of the load, by engine.
HISTOGRAMS = {
    "vllm": {
        "ttft": "vllm:time_to_first_token_seconds",
        "tpot": "vllm:request_time_per_output_token_seconds",
        "e2e": "vllm:e2e_request_latency_seconds",
    },
    "sglang": {
        "ttft": "sglang:time_to_first_token_seconds",
        "tpot": "sglang:inter_token_latency_seconds",
        "e2e": "sglang:e2e_request_latency_seconds",
    },
}
GAUGES = {
    "vllm": ("vllm:num_requests_running", "vllm:num_requests_waiting"),
    "sglang": ("sglang:num_running_reqs", "sglang:num_queue_reqs"),
}
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT = 12, 8


def dashboard(
    engine: str, title: str, objectives: Sequence[Objective], usd_per_hour: float
) -> dict[str, Any]:
    """Return the dashboard of a fleet, as Grafana imports it.

    Args:
        engine: whose metrics are asked.
        title: of the dashboard.
        objectives: each a panel with its bound as a line.
        usd_per_hour: of one replica.

    Raises:
        InputError: the metrics of the engine are not known.

    """
    if engine not in HISTOGRAMS:
        raise InputError(
            f"the metrics of {engine} are not known; plan with --engine vllm or sglang"
        )
    running, waiting = GAUGES[engine]
    panels = [_objective_panel(engine, objective) for objective in objectives]
    panels.append(_panel("Requests", {"running": f"sum({running})", "waiting": f"sum({waiting})"}))
    replicas = f"count({running})"
    panels.append(_panel("Replicas", {"replicas": replicas}))
    panels.append(_panel("$ per hour", {"$ per hour": f"{replicas} * {usd_per_hour:.4f}"}))

    for number, panel in enumerate(panels):
        x, y = WIDTH * (number % 2), HEIGHT * (number // 2)
        panel |= {"id": number + 1, "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT}}
    return {
        "title": title,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus"}],
        },
        "panels": panels,
    }


def _objective_panel(engine: str, objective: Objective) -> dict[str, Any]:
    """Return the statistic that is bounded over time, red from its bound on."""
    name, window = HISTOGRAMS[engine][objective.quantity], f"[{RANGE}]"
    if objective.percentile is None:
        query = f"sum(rate({name}_sum{window})) / sum(rate({name}_count{window}))"
    else:
        level = objective.percentile / 100
        query = f"histogram_quantile({level:g}, sum by (le) (rate({name}_bucket{window})))"

    panel = _panel(str(objective), {objective.statistic: query})
    panel["fieldConfig"]["defaults"] = {
        "unit": "s",
        "custom": {"thresholdsStyle": {"mode": "line+area"}},
        "thresholds": {
            "mode": "absolute",
            "steps": [
                {"color": "green", "value": None},
                {"color": "red", "value": objective.bound_s},
            ],
        },
    }
    return panel


def _panel(title: str, queries: dict[str, str]) -> dict[str, Any]:
    return {
        "title": title,
        "type": "timeseries",
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {}, "overrides": []},
        "targets": [
            {"refId": letter, "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for letter, (legend, query) in zip("ABC", queries.items(), strict=False)
        ],
    }
