"""A request's place in an engine, which is taken when it is sent there and given back once."""

from __future__ import annotations

from headway.gateway.scheduler.engine import EngineState


class Place:
    """One request's part of what an engine has to do.

    Attributes:
        engine: that it was sent to.

    """

    __slots__ = ("_is_open", "_prompt_tokens", "_tokens", "engine")

    def __init__(self, engine: EngineState, *, tokens: float, prompt_tokens: float) -> None:
        """Take it.

        Args:
            engine: that the request is sent to.
            tokens: that the answer is expected to have.
            prompt_tokens: that must be computed first.

        """
        self.engine = engine
        self._tokens = tokens
        self._prompt_tokens = prompt_tokens
        self._is_open = True
        engine.begin(tokens, prompt_tokens)

    def prefill(self) -> None:
        """Its prompt is computed, or wanted no more."""
        self.engine.prefill(self._prompt_tokens)
        self._prompt_tokens = 0.0

    def release(self, *, answered: bool = False) -> bool:
        """Give it back; ``answered`` tells that the engine works.

        Returns whether it was still taken.
        """
        if not self._is_open:
            return False
        self._is_open = False
        self.prefill()
        self.engine.finish(self._tokens, answered=answered)
        return True
