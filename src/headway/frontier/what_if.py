"""What would reach a target: each property of the hardware, its price and the model, alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from headway.errors import DoesNotFitError, InputError
from headway.frontier.answer import question_of
from headway.frontier.possible import cheapest
from headway.frontier.question import Question
from headway.frontier.scaled_model import scaled
from headway.frontier.search import Points, search
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.report.column import column
from headway.report.report import Report
from headway.units import GB, HOUR_S

MAX_CHANGE = 1024.0
MAX_SCALE = 1000.0
FACTOR_STEP = 1.01


@dataclass(frozen=True, slots=True)
class Target:
    """At least ``tok_per_s`` for every user, at no more than ``usd_per_mtok_output`` (or inf)."""

    tok_per_s: float
    usd_per_mtok_output: float

    def __post_init__(self) -> None:
        for value, what in ((self.tok_per_s, "speed"), (self.usd_per_mtok_output, "cost")):
            if not (0 < value < 1e12 or (what == "cost" and value == math.inf)):
                raise InputError(f"the target {what} must be above 0, not {value:g}")

    def __str__(self) -> str:
        if self.usd_per_mtok_output == math.inf:
            return f"{self.tok_per_s:g} tok/s/user"
        return f"{self.tok_per_s:g} tok/s/user at ${self.usd_per_mtok_output:g}/Mtok"

    def points(self, question: Question, cluster: Cluster) -> Points | None:
        """Return the deployments that meet the target, ``None`` where none does."""
        try:
            points = search(question, cluster.by_the_hour)
        except DoesNotFitError:
            return None
        enough = points.tok_per_s_per_user >= self.tok_per_s
        enough &= points.usd_per_mtok_output <= self.usd_per_mtok_output
        return points.take(enough) if enough.any() else None

    def is_reached(self, question: Question, cluster: Cluster) -> bool:
        """Return whether some deployment meets the target."""
        return self.points(question, cluster) is not None


@dataclass(frozen=True, slots=True)
class Change:
    """One property, changed alone until the target is reached."""

    what: str = column("property", "what is changed, all else as it is")
    factor: float | None = column(
        "factor", f"smallest change that is enough; -: none within {MAX_CHANGE:g}"
    )
    today: float = column("today", "the property as it is")
    needed: float | None = column("needed", "what it would have to be; a model: may be at most")
    unit: str = column("unit", "of both")


def what_if(question: Question, cluster: Cluster, target: Target) -> Report[Change]:
    """Return, for each property alone, the change that reaches ``target``.

    The last row is the model: the largest of its shape that reaches the target. Where no price is
    known, the target is the speed alone.
    """
    notes = ["each row alone is enough; the model's shape stays, wider and deeper alike"]
    if cluster.is_priced:
        notes.append(f"{cluster.name}: {cluster.price}")
    else:
        notes.append(
            f"no price is known for {cluster.name}: the target is its speed at any cost; give one "
            "with --price"
        )
        target = replace(target, usd_per_mtok_output=math.inf)
    rows = list(changes(question, cluster, target))

    try:
        model = largest(question, cluster, target)
        rows.append(_model_change(question.model, model))
    except InputError as error:
        notes.append(str(error))
        model = None

    if model is not None:
        points = target.points(replace(question, model=model), cluster)
        assert points is not None  # the largest model reaches the target
        active = f"{model.active_params / 1e9:.3g} billion active parameters"
        notes.append(
            f"the largest model, {model.num_layers} layers of {model.hidden_size} and {active}: "
            f"{cheapest(points, cluster)}"
        )
    return Report(
        kind="what-if",
        title=f"What brings {question.model.name} on {cluster.name} to {target}",
        question=question_of(question, [cluster])
        | {
            "tok_per_s_per_user": target.tok_per_s,
            "usd_per_mtok_output": (
                target.usd_per_mtok_output if math.isfinite(target.usd_per_mtok_output) else None
            ),
        },
        rows=tuple(rows),
        notes=tuple(notes),
        sources=cluster.citations,
    )


def changes(question: Question, cluster: Cluster, target: Target) -> Iterator[Change]:
    """Yield, for each property in turn, the smallest change of it alone that reaches ``target``."""
    for knob in KNOBS:
        # Kernel launches are the data sheet's model's; an engine's are in its measured times.
        if knob is KERNEL_LATENCY and question.engine is not None:
            continue
        if knob is PRICE and not cluster.is_priced:
            continue

        today, strength = knob.value(question, cluster), _strength(knob, question, cluster, target)
        factor = 1 / strength if strength and knob.smaller_is_better else strength
        needed = None if factor is None else today * factor
        yield Change(what=knob.what, factor=factor, today=today, needed=needed, unit=knob.unit)


def _strength(knob: Knob, question: Question, cluster: Cluster, target: Target) -> float | None:
    """Return how many times better the property must be, ``None`` where nothing is enough."""

    def reaches(inverse: float) -> bool:
        return target.is_reached(*knob.turn(question, cluster, 1 / inverse))

    if reaches(1.0):
        return 1.0
    return 1 / _bisect(reaches, 1 / MAX_CHANGE, 1.0) if reaches(1 / MAX_CHANGE) else None


def largest(like: Question, cluster: Cluster, target: Target) -> ModelArchitecture | None:
    """Return the largest model shaped like that of ``like`` that reaches ``target``, if any does.

    It is the result of a bisection on the logarithm of the scale, to 1% in parameters, between a
    thousandth and a thousand times the model.

    Raises:
        InputError: the model drafts with heads of its own, which a scaled one does not have.

    """
    if like.speculation is not None and like.speculation.shares_weights:
        raise InputError("a scaled model has no drafting heads; name a draft model instead")

    def reaches(factor: float) -> bool:
        return target.is_reached(replace(like, model=scaled(like.model, factor)), cluster)

    low, high = 1 / MAX_SCALE, MAX_SCALE
    if not reaches(low):
        return None
    return scaled(like.model, high if reaches(high) else _bisect(reaches, low, high))


_Case = tuple[Question, Cluster]


@dataclass(frozen=True, slots=True)
class Knob:
    """A property that can be changed alone.

    Attributes:
        unit: in which ``value`` reads it.
        turn: returns the question and the cluster with a property so many times better.

    """

    what: str
    unit: str
    value: Callable[[Question, Cluster], float]
    turn: Callable[[Question, Cluster, float], _Case]
    smaller_is_better: bool = False


def _bandwidth(question: Question, cluster: Cluster, strength: float) -> _Case:
    chip = cluster.accelerator
    rate = chip.memory_bandwidth_bytes_per_s * strength
    return question, replace(cluster, accelerator=replace(chip, memory_bandwidth_bytes_per_s=rate))


def _arithmetic(question: Question, cluster: Cluster, strength: float) -> _Case:
    chip = cluster.accelerator
    rates = {dtype: rate * strength for dtype, rate in chip.peak_flops_per_s.items()}
    return question, replace(cluster, accelerator=replace(chip, peak_flops_per_s=rates))


def _memory(question: Question, cluster: Cluster, strength: float) -> _Case:
    chip = cluster.accelerator
    larger = replace(chip, memory_bytes=chip.memory_bytes * strength)
    return question, replace(cluster, accelerator=larger)


def _link_bandwidth(question: Question, cluster: Cluster, strength: float) -> _Case:
    links = tuple(
        replace(link, bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * strength)
        for link in cluster.links
    )
    return question, replace(cluster, links=links)


def _link_latency(question: Question, cluster: Cluster, strength: float) -> _Case:
    links = tuple(replace(link, latency_s=link.latency_s / strength) for link in cluster.links)
    return question, replace(cluster, links=links)


def _kernel_latency(question: Question, cluster: Cluster, strength: float) -> _Case:
    own = question.efficiency
    return replace(question, efficiency=replace(own, kernel_s=own.kernel_s / strength)), cluster


def _price(question: Question, cluster: Cluster, strength: float) -> _Case:
    return question, cluster.at_price(cluster.usd_per_accelerator_s * HOUR_S / strength)


KERNEL_LATENCY = Knob(
    what="kernel latency",
    unit="us",
    value=lambda question, cluster: question.efficiency.kernel_s * 1e6,
    turn=_kernel_latency,
    smaller_is_better=True,
)
PRICE = Knob(
    what="price",
    unit="$/h",
    value=lambda question, cluster: cluster.usd_per_accelerator_s * HOUR_S,
    turn=_price,
    smaller_is_better=True,
)
KNOBS = (
    Knob(
        what="memory bandwidth",
        unit="TB/s",
        value=lambda question, cluster: cluster.accelerator.memory_bandwidth_bytes_per_s / 1e12,
        turn=_bandwidth,
    ),
    Knob(
        what="arithmetic rate",
        unit="TFLOP/s",
        value=lambda question, cluster: (
            cluster.accelerator.flops_per_s(question.native_on(cluster).activations) / 1e12
        ),
        turn=_arithmetic,
    ),
    Knob(
        what="memory capacity",
        unit="GB",
        value=lambda question, cluster: cluster.accelerator.memory_bytes / GB,
        turn=_memory,
    ),
    Knob(
        what="link bandwidth",
        unit="GB/s",
        value=lambda question, cluster: cluster.links[0].bandwidth_bytes_per_s / GB,
        turn=_link_bandwidth,
    ),
    Knob(
        what="link latency",
        unit="us",
        value=lambda question, cluster: cluster.links[0].latency_s * 1e6,
        turn=_link_latency,
        smaller_is_better=True,
    ),
    KERNEL_LATENCY,
    PRICE,
)


def _model_change(today: ModelArchitecture, model: ModelArchitecture | None) -> Change:
    return Change(
        what="model",
        factor=None if model is None else model.total_params / today.total_params,
        today=today.total_params / 1e9,
        needed=None if model is None else model.total_params / 1e9,
        unit="billion parameters",
    )


def _bisect(reaches: Callable[[float], bool], low: float, high: float) -> float:
    """Return the largest value that reaches, to 1%, given that ``low`` does and ``high`` not."""
    while high / low > FACTOR_STEP:
        middle = math.sqrt(low * high)
        if reaches(middle):
            low = middle
        else:
            high = middle
    return low
