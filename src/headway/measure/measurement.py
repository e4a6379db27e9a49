"""The one form of a measured time: what ran, where, what it did, and every trial.

A request-level measurement runs ``batch`` alike requests from their prompts to their last tokens; a
step-level one is a single forward pass. What could not be measured is ``None``, never 0.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar

import numpy as np

from headway.errors import InputError
from headway.measure.trials import Envelope, Interval, lower_envelope
from headway.report.files import write_atomically
from headway.user_file import read_text
from headway.workload.step import Step

VERSION = 1
MAX_BYTES = 1_000_000_000


class Clock(Enum):
    """What counted the seconds; process CPU time is for one thread on a shared machine."""

    WALL = "wall"
    PROCESS_CPU = "process_cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class Setup:
    """What ran where.

    Attributes:
        model: name of the model or of its configuration.
        engine: software and version, such as "transformers 5.23.0".
        device: "cpu", "cuda:0 NVIDIA H200", or the address of an endpoint.
        num_accelerators: devices the model is spread over.
        dtype: of weights and arithmetic, as the engine calls it.
        threads: on a CPU; ``None`` elsewhere.
        host: processor and operating system.
        config: the `config.json` that the model was built from; ``None`` where it is not known.

    """

    model: str
    engine: str
    device: str
    num_accelerators: int = 1
    dtype: str | None = None
    threads: int | None = None
    host: str = ""
    config: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        if not self.model or not self.engine or self.num_accelerators < 1:
            raise InputError("a setup names its model and its engine, on 1 accelerator or more")


@dataclass(frozen=True, slots=True)
class RequestLoad:
    """``batch`` alike requests at once, each of ``prompt_tokens`` and ``output_tokens``."""

    kind: ClassVar[str] = "request"
    batch: int
    prompt_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        if min(self.batch, self.prompt_tokens, self.output_tokens) < 1:
            raise InputError(f"batch, prompt and output are at least 1 each, not {self}")

    @property
    def passes(self) -> tuple[Step, ...]:
        """The prefill pass and, as one array, the decode passes."""
        prefill = Step.prefill(self.batch, [self.prompt_tokens])
        if self.output_tokens == 1:
            return (prefill,)
        contexts = self.prompt_tokens + np.arange(self.output_tokens - 1)
        return prefill, Step.decode(self.batch, contexts)


@dataclass(frozen=True, slots=True)
class StepLoad:
    """One forward pass of ``batch`` alike sequences.

    Each adds ``scheduled_tokens`` to the ``computed_tokens`` that are cached; `Step` says more.
    """

    kind: ClassVar[str] = "step"
    batch: int
    scheduled_tokens: int
    computed_tokens: int

    def __post_init__(self) -> None:
        if min(self.batch, self.scheduled_tokens) < 1 or self.computed_tokens < 0:
            raise InputError(f"a step has 1 sequence and 1 new token at least, not {self}")

    @property
    def passes(self) -> tuple[Step, ...]:
        """The one pass."""
        counts = (self.batch, self.scheduled_tokens, self.computed_tokens, 1)
        return (Step(*(np.asarray([count], dtype=np.float64) for count in counts)),)


@dataclass(frozen=True, slots=True)
class JoinLoad:
    """One request that joins ``batch`` decoding ones, runs beside them, and leaves.

    It lasts from the step in which the request's prompt of ``prompt_tokens`` is computed to the one
    after its last token: what a change of the batch costs an engine is in it.
    ``context_tokens`` are cached for each of the others when it joins.
    """

    kind: ClassVar[str] = "join"
    batch: int
    context_tokens: int
    prompt_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        if min(self.batch, self.context_tokens, self.prompt_tokens, self.output_tokens) < 1:
            raise InputError(f"batch, context, prompt and output are at least 1 each, not {self}")

    @property
    def passes(self) -> tuple[Step, ...]:
        """The pass with the prompt, those beside the others, and the first without it."""
        others, own = self.context_tokens, self.prompt_tokens
        joining = Step.decode(self.batch, [others]).with_group(Step.prefill(1, [own]))
        alone = Step.decode(self.batch, [others + self.output_tokens])
        if self.output_tokens == 1:
            return joining, alone

        later = np.arange(self.output_tokens - 1)
        beside = Step.decode(self.batch, others + 1 + later)
        return joining, beside.with_group(Step.decode(1, own + later)), alone


Load = RequestLoad | StepLoad | JoinLoad
LOADS: dict[str, type[Load]] = {kind.kind: kind for kind in (RequestLoad, StepLoad, JoinLoad)}


@dataclass(frozen=True, slots=True)
class Measurement:
    """Repeated timings of one load.

    Attributes:
        setup: what ran where.
        load: what it did.
        trials_s: every timed trial, in order; warm-up is not among them.
        clock: what counted the seconds.
        measured_at: ISO date and time, UTC.
        energy_j: of one trial, mean over them; ``None`` where there is no meter, or the trials were
            too short for it.
        meter: what counted the joules, and what all it saw.
        pass_floors_s: sum of the undisturbed times of its passes, where they were timed apart: on a
            busy machine a long request is never undisturbed as a whole, each of its passes is once.
        peak_memory_bytes: of the device, or of the process on a CPU; ``None`` where not known.

    """

    setup: Setup
    load: Load
    trials_s: tuple[float, ...]
    clock: Clock
    measured_at: str
    energy_j: float | None = None
    meter: str | None = None
    peak_memory_bytes: float | None = None
    pass_floors_s: Interval | None = None

    def __post_init__(self) -> None:
        if not self.trials_s or not all(math.isfinite(t) and t > 0 for t in self.trials_s):
            raise InputError("a measurement needs one trial at least, all finite and above 0")

    @property
    def min_s(self) -> float:
        """The fastest trial."""
        return min(self.trials_s)

    @property
    def mean_s(self) -> float:
        """The mean of the trials."""
        return sum(self.trials_s) / len(self.trials_s)

    @property
    def envelope(self) -> Envelope:
        """The undisturbed time with its interval."""
        whole, floor_s = lower_envelope(self.trials_s), self.pass_floors_s
        if floor_s is None or floor_s.expected >= whole.floor_s.expected:
            return whole
        return Envelope(floor_s, self.mean_s - floor_s.expected, whole.num_trials)

    def to_line(self) -> str:
        """Return one line of JSON without a line break."""
        tree = {"headway_measurement": VERSION, **asdict(self)}
        tree |= {"clock": self.clock.value, "kind": self.load.kind}
        return json.dumps(tree, allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> Measurement:
        """Read what `to_line` wrote; raise `InputError` for anything else."""
        try:
            tree = json.loads(line)
            if tree.pop("headway_measurement") != VERSION:
                raise ValueError(f"not of version {VERSION}")

            floors = tree.pop("pass_floors_s", None)
            load_type = LOADS[tree.pop("kind")]
            return cls(
                setup=Setup(**tree.pop("setup")),
                load=load_type(**tree.pop("load")),
                trials_s=tuple(tree.pop("trials_s")),
                clock=Clock(tree.pop("clock")),
                pass_floors_s=None if floors is None else Interval(**floors),
                **tree,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not a measurement: {error}") from None


def write_measurements(path: Path, measurements: Iterable[Measurement]) -> None:
    """Write ``path`` as JSON lines, whole or not at all."""
    write_atomically(path, "".join(f"{m.to_line()}\n" for m in measurements))


def read_measurements(path: Path) -> tuple[Measurement, ...]:
    """Read JSON lines; raise `InputError` with the number of the first bad line."""
    lines = read_text(path, "what headway profile wrote", MAX_BYTES)
    measurements = []
    for number, line in enumerate(lines.splitlines(), 1):
        if line.strip():
            try:
                measurements.append(Measurement.from_line(line))
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from None

    if not measurements:
        raise InputError(f"{path} holds no measurement")
    return tuple(measurements)


def this_host() -> str:
    """Return the processor and operating system of this machine."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
