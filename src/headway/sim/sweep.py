"""Many runs at once: on threads, or on Ray, with the same bytes as one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, TypeVar

from headway.errors import InputError, need

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_all(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int = 1,
    engine: str = "threads",
) -> list[Result]:
    """``function`` of every task, in order, on ``workers`` threads or on Ray: the same bytes.

    The compiled loop holds no lock of the interpreter, so threads are enough on one machine.
    """
    if engine == "ray":
        return _on_ray(function, tasks, workers)
    if engine != "threads":
        raise InputError(f"a sweep runs on threads or on ray, not on {engine!r}")
    if workers <= 1:
        return [function(task) for task in tasks]
    first = [function(tasks[0])] if tasks else []  # compiles, once
    with ThreadPoolExecutor(workers) as pool:
        return first + list(pool.map(function, tasks[1:]))


def _on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> list[Result]:
    """A few tasks per message, what the function carries sent once."""
    need("ray", "running on Ray", "ray")
    ray: Any = import_module("ray")
    if not ray.is_initialized():
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)

    def several(carried: Callable[[Task], Result], some: list[Task]) -> list[Result]:
        return [carried(task) for task in some]

    remote, carried = ray.remote(several), ray.put(function)
    size = max(1, len(tasks) // (4 * workers))
    parts = [list(tasks[k : k + size]) for k in range(0, len(tasks), size)]
    done = ray.get([remote.remote(carried, part) for part in parts])
    return [result for part in done for result in part]
