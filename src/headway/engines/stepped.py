"""What engines share whose every step is one call: loads become requests, and steps are timed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from headway.errors import InputError, UnsupportedError
from headway.measure.harness import MAX_REPEATS, Run
from headway.measure.measurement import Load, RequestLoad, StepLoad


class SteppedEngine(ABC):
    """An engine that takes requests and runs one forward pass of all of them at each step.

    A step of the engine is a step of the profile: the requests are admitted first, and then one
    step is timed.
    """

    name: str
    max_step_tokens: int
    max_sequences: int = 256

    @abstractmethod
    def step(self) -> None:
        """Run one forward pass."""

    @abstractmethod
    def has_work(self) -> bool:
        """Return whether a request is not finished."""

    @abstractmethod
    def add(self, prompt_tokens: int, output_tokens: int) -> None:
        """Take one request with a prompt that was never seen."""

    def prepare(self, load: Load) -> Run:
        """See `headway.measure.harness.Engine`."""
        if isinstance(load, RequestLoad):
            self._admit(load.batch, load.prompt_tokens, load.output_tokens)
            return self._passes
        if not isinstance(load, StepLoad):
            raise UnsupportedError(f"this engine times whole requests and single steps, not {load}")
        if not load.computed_tokens:
            self._admit(load.batch, load.scheduled_tokens, output_tokens=1)
            return self._drain
        if load.scheduled_tokens > 1:
            raise UnsupportedError(
                f"{self.name} takes no half of a prompt: a step begins with nothing cached or adds "
                f"one token, unlike {load}"
            )

        # A step in the middle: the first after a prefill and the last of a request do more.
        self._admit(load.batch, max(load.computed_tokens - 1, 1), output_tokens=3 + MAX_REPEATS)
        self.step()
        self.step()
        return self.step

    def _admit(self, batch: int, prompt_tokens: int, output_tokens: int) -> None:
        if batch * prompt_tokens > self.max_step_tokens or batch > self.max_sequences:
            raise InputError(
                f"a step of this engine takes {self.max_step_tokens} tokens and "
                f"{self.max_sequences} sequences at most, not {batch} of {prompt_tokens}"
            )
        self._drain()
        for _ in range(batch):
            self.add(prompt_tokens, output_tokens)

    def _passes(self) -> Iterator[None]:
        while self.has_work():
            self.step()
            yield

    def _drain(self) -> None:
        for _ in self._passes():
            pass
