"""What clients may call a model, what engines call it, and what is asked for while it is away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headway.errors import InputError

MAX_FALLBACKS = 4  # one after the other


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name that clients ask for.

    Attributes:
        name: as clients spell it.
        serves: the model that engines are asked for instead; empty: the same name.
        fallback: a name that is taken instead while no engine that has the model is up.

    """

    name: str
    serves: str = ""
    fallback: str = ""

    def __post_init__(self) -> None:
        if not self.serves and not self.fallback:
            raise InputError(f"model {self.name} needs serves or fallback, each a model's name")
        if self.fallback == self.name:
            raise InputError(f"model {self.name} cannot fall back to itself")


def engine_name(names: Mapping[str, ModelName], asked: str, is_up: Callable[[str], bool]) -> str:
    """Return what an engine is asked for by a client that has ``asked``.

    Args:
        names: by what clients say.
        asked: the name that the client has given.
        is_up: whether an engine that has a model is worth sending anything to.

    """
    model = asked
    for _ in range(MAX_FALLBACKS):
        name = names.get(model)
        if name is None:
            return model
        served = name.serves or model
        if not name.fallback or is_up(served):
            return served
        model = name.fallback
    return model
