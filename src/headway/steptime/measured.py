"""Step times as the sum of measured operators: a `StepTimeModel` with nothing fitted to runs.

What no operator shows is the exchange between ranks. Ranks that split a layer (tp) all-reduce
twice per layer; ranks with attention of their own (dp) step together, the slowest sets the pace,
and gather and scatter the tokens of all of them around the experts, which moves what one
all-reduce moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.model.ffn import MoeFfn
from headway.steptime.operator_profile import Operators
from headway.steptime.placed_model import PlacedModel
from headway.steptime.roofline import bound_of
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Basis, TimeEstimate
from headway.steptime.work import Array as Floats
from headway.workload.step import Step


@dataclass(frozen=True, slots=True)
class Exchange:
    """Time of one all-reduce: fixed, and per byte of the tensor."""

    fixed_s: float
    byte_s: float


# Two RTX PRO 6000 over PCIe: the line through aiconfigurator's table (Apache-2.0) of the all-reduce
# of vLLM 0.19.0 in a captured graph, measured on another machine; sizes there are counts of 16-bit
# numbers (`benchmarks/sim_fidelity.py`). Tables of newer drivers are three times as fast.
PCIE_PAIR = Exchange(2.2e-5, 6.52e-11)


@dataclass(frozen=True, slots=True, eq=False)
class OperatorStepTime:
    """Sums of measured operators for a placed model.

    Attributes:
        placed: what runs; its ranks with attention of their own (dp) step together.
        operators: as measured.
        exchange: between ranks.

    """

    placed: PlacedModel
    operators: Operators
    exchange: Exchange = PCIE_PAIR

    def __post_init__(self) -> None:
        layout = self.placed.parallelism
        if int(layout.pp) > 1 or int(layout.num_accelerators) > 2:
            raise InputError(
                "measured operators are put together for one or two ranks without a pipeline, not "
                f"for {layout}; leave the operators out"
            )

    @property
    def request_overhead(self) -> RequestOverhead:
        """No operator shows it, and nothing is added."""
        return RequestOverhead()

    def step_time(self, step: Step) -> TimeEstimate:
        """Return the time of ``step``: decodes in its first group, prompts in a second, if any."""
        shape = np.broadcast_shapes(*(a.shape for a in (step.num_sequences, step.scheduled_tokens)))
        number, new, old = (
            np.broadcast_to(a, shape)
            for a in (step.num_sequences, step.scheduled_tokens, step.computed_tokens)
        )

        # Ranks with attention of their own step together: the busiest sets the pace.
        groups = int(self.placed.parallelism.dp)
        decodes, context = number[..., 0] / groups, old[..., 0]
        uneven_s = None
        if shape[-1] == 1:
            attention = self._decode_attention_us(decodes, context)
            us = self._layers_us(padded(decodes), decodes, attention)
            total = padded(decodes) * groups
            if self.operators.uneven is not None:
                share = np.interp(decodes, *self.operators.uneven)
                uneven_s = self.placed.model.num_layers * attention * share * 1e-6
        else:
            prompts = number[..., 1]
            busiest = np.ceil(prompts / groups) if groups > 1 else prompts
            us = self._mixed_us(decodes, context, busiest, new[..., 1], old[..., 1])
            total = decodes * groups + prompts * new[..., 1]

        us = us + self._experts_us(total)
        seconds = us * 1e-6 + self._exchange_s(total)
        return TimeEstimate(
            expected_s=seconds,
            lower_s=seconds,
            upper_s=seconds,
            basis=Basis.MEASURED,
            bound=bound_of(self.placed.forward(step), self.placed.cluster),
            spread_s=uneven_s,
        )

    def _decode_attention_us(self, decodes: Floats, context: Floats) -> Floats:
        """A layer of one rank's step without prompts, in a graph that was captured for more."""
        tokens = padded(decodes)
        return self.operators.decode.at(tokens, context * decodes / tokens)

    def _mixed_us(
        self, decodes: Floats, context: Floats, prompts: Floats, chunk: Floats, before: Floats
    ) -> Floats:
        """One rank's step with prompts: several short ones cost what so many of their mean do."""
        alone = self.operators.prefill.at(chunk, before)
        first = np.where(
            decodes > 0,
            self.operators.mixed.at(chunk, before, np.maximum(decodes, 1), context),
            alone,
        )
        launch = self.operators.prefill.values.min()  # of a kernel: shared by the prompts of a step
        attention = first + (prompts - 1) * np.maximum(alone - 0.8 * launch, 0.0)
        return self._layers_us(decodes + prompts * chunk, decodes + prompts, attention)

    def _layers_us(self, tokens: Floats, sampled: Floats, attention_us: Floats) -> Floats:
        table = self.operators
        most = table.tokens[-1]
        dense = np.interp(tokens, table.tokens, table.dense_us) * np.maximum(tokens / most, 1.0)
        head = np.interp(sampled, table.sequences, table.head_us)
        return np.asarray(dense + head + self.placed.model.num_layers * attention_us)

    def _experts_us(self, tokens: Floats) -> Floats:
        """All layers' experts: a rank computes its share of what the tokens of all ranks choose."""
        if self.operators.experts is None:
            return np.zeros_like(tokens)
        us, ways = np.zeros_like(tokens), int(self.placed.parallelism.ep)
        for group in self.placed.model.layers:
            if isinstance(group.ffn, MoeFfn):
                of, chosen = group.ffn.num_experts, group.ffn.num_experts_per_token
                # As many differ as independent, even choices make; real routing is a little uneven.
                active = of / ways * (1 - (1 - chosen / of) ** tokens)
                us = us + group.count * self.operators.experts.at(tokens / ways, active)
        return us

    def _exchange_s(self, tokens: Floats) -> Floats:
        layout, model = self.placed.parallelism, self.placed.model
        bytes_ = tokens * model.hidden_size * self.placed.precision.activations.bytes
        per_layer = 2 if int(layout.tp) > 1 else int(int(layout.dp) > 1)
        times = model.num_layers * per_layer
        return np.asarray(times * (self.exchange.fixed_s + self.exchange.byte_s * bytes_))


def padded(decodes: Floats) -> Floats:
    """Sequences of the captured graph that runs ``decodes``: 1, 2, 4, 8, 16, 24, ... (vLLM)."""
    small = 2.0 ** np.ceil(np.log2(np.maximum(decodes, 1.0)))
    return np.asarray(np.where(decodes <= 8, small, np.ceil(decodes / 8) * 8))
