"""Many runs at once, on threads or on Ray, with the same results as one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, TypeVar

from headway.errors import UnknownNameError, need

Task = TypeVar("Task")
Result = TypeVar("Result")
EXECUTORS = ("threads", "ray")


def run_all(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    executor: str = "threads",
    workers: int = 1,
) -> list[Result]:
    """Return ``function`` of every task, in order, whoever runs them.

    The compiled loop holds no lock of the interpreter, so threads are enough on one machine.
    """
    if executor not in EXECUTORS:
        raise UnknownNameError("executor", executor, EXECUTORS)
    if executor == "ray":
        return _on_ray(function, tasks, workers)
    if workers <= 1:
        return [function(task) for task in tasks]

    first = [function(tasks[0])] if tasks else []  # compiles, once
    with ThreadPoolExecutor(workers) as pool:
        return first + list(pool.map(function, tasks[1:]))


def _on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> list[Result]:
    """Run a few tasks per message; what the function carries is sent once."""
    need("ray", "running on Ray", "ray")
    ray: Any = import_module("ray")
    if not ray.is_initialized():
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)

    def run_part(carried: Callable[[Task], Result], part: list[Task]) -> list[Result]:
        return [carried(task) for task in part]

    remote, carried = ray.remote(run_part), ray.put(function)
    size = max(1, len(tasks) // (4 * workers))
    parts = [list(tasks[k : k + size]) for k in range(0, len(tasks), size)]
    results = ray.get([remote.remote(carried, part) for part in parts])
    return [result for part in results for result in part]
