"""A load on a deployment, answered: times, throughput, dollars and joules, with intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.errors import DoesNotFitError
from headway.money.tariff import Tariff
from headway.report.report import Report
from headway.serving.answer_doubt import AnswerDoubt
from headway.serving.closed_loop import ClosedLoop
from headway.serving.explain import ExplainedRow, explain
from headway.serving.load_steps import LoadShape
from headway.serving.load_times import LoadTimes
from headway.serving.quantity import Quantity
from headway.serving.served_load import ServedLoad, serve_loop
from headway.steptime.deployment import Deployment
from headway.steptime.time_estimate import Basis
from headway.steptime.work import Array


@dataclass(frozen=True, slots=True, eq=False)
class ServingEstimate:
    """The answer; arrays of the broadcast shape.

    Attributes:
        deployment, loop: the question.
        served: the load in counts and steps.
        ttft_s: median time to first token, queueing included.
        tpot_s: mean time per output token after the first.
        e2e_s: arrival to last token.
        output_tok_per_s: of the whole engine.
        power_w: of one accelerator; ``None`` where its TDP is not published.
        joules_per_token: of all accelerators per output token; ``None`` with the power.
        doubt: what the intervals rest on.
        tariff: what an accelerator costs; ``None`` where no price is known.

    """

    deployment: Deployment
    loop: ClosedLoop
    served: ServedLoad
    ttft_s: Quantity
    tpot_s: Quantity
    e2e_s: Quantity
    output_tok_per_s: Quantity
    power_w: Array | None
    joules_per_token: Quantity | None
    doubt: AnswerDoubt
    tariff: Tariff | None

    @property
    def shape(self) -> LoadShape:
        """The load in counts."""
        return self.served.shape

    @property
    def times(self) -> LoadTimes:
        """Expected times and rates of a request."""
        return self.served.times

    @property
    def basis(self) -> Basis:
        """The weakest of what the times rest on."""
        return self.doubt.basis

    @property
    def tok_per_s_per_user(self) -> Quantity:
        """Output tokens per second that one user sees after the first."""
        return self.tpot_s.inverse()

    @property
    def output_tok_per_s_per_accelerator(self) -> Quantity:
        """Output tokens per second of one accelerator."""
        return self.output_tok_per_s.scaled(1 / self.shape.num_accelerators)

    @property
    def total_tok_per_s(self) -> Array:
        """Prompt and output tokens per second of the whole engine."""
        return np.asarray(self.times.requests_per_s * self.shape.total_tokens)

    @property
    def prompt_share(self) -> Array:
        """Fraction of the engine's time that prompts take: what their tokens must pay."""
        shape, times = self.shape, self.times
        decoding_s = np.where(shape.mixes > 0, times.decode_step_s, 0.0)
        own_s = np.maximum(times.mixed_step_s - decoding_s, 0.0)
        busy_s = own_s * shape.prompt_steps / shape.prompts_per_step
        return np.asarray(np.minimum(times.requests_per_s * busy_s, 1.0))

    @property
    def usd_per_s(self) -> Array | None:
        """Dollars of all accelerators for one second under this load; ``None`` without a price."""
        if self.tariff is None:
            return None
        power_w = np.zeros(()) if self.power_w is None else self.power_w
        return np.asarray(self.shape.num_accelerators * self.tariff.usd_per_loaded_s(power_w))

    @property
    def usd_per_mtok_output(self) -> Quantity | None:
        """Dollars per million output tokens, all cost on them; idle hours as the tariff says."""
        usd_per_s = self.usd_per_s
        return None if usd_per_s is None else self.output_tok_per_s.inverse(usd_per_s * 1e6)

    @property
    def usd_per_mtok_blended(self) -> Quantity | None:
        """Dollars per million tokens of prompt and output; idle hours as the tariff says."""
        output = self.usd_per_mtok_output
        share = self.shape.output_tokens / self.shape.total_tokens
        return None if output is None else output.scaled(share)

    def explain(self) -> Report[ExplainedRow]:
        """Return where the time of a token goes, and what would change it."""
        return explain(self.deployment, self.loop, self.tpot_s, self.doubt)


def serve(
    deployment: Deployment, loop: ClosedLoop, tariff: Tariff | None = None
) -> ServingEstimate:
    """Return what ``loop`` takes on ``deployment``.

    Args:
        deployment: what serves; its layout may be arrays.
        loop: the load; its arrays broadcast against the layout.
        tariff: what an accelerator costs; the cluster's price, always busy, by default.

    Raises:
        DoesNotFitError: not one sequence fits anywhere.

    """
    served = serve_loop(deployment, loop)
    shape, times = served.shape, served.times
    fastest, slowest = served.fastest, served.slowest
    if np.all(shape.starved):
        longest = float(np.max(loop.mean_context_tokens))
        deployment.check_fit(int(np.max(deployment.parallelism.dp)), longest)
        raise DoesNotFitError(f"{deployment} does not fit", 0.0)

    # Times, from which the rates follow; no machine with this data sheet is faster.
    doubt = AnswerDoubt.of(deployment, loop, shape=shape, times=times, step=served.decode)
    ttft_s = doubt.around("ttft", times.ttft_s, fastest.ttft_s, slowest.ttft_s)
    tpot_s = doubt.around("tpot", times.tpot_s, fastest.tpot_s, slowest.tpot_s)
    output_tok_per_s = doubt.around(
        "throughput",
        times.requests_per_s * shape.output_tokens,
        slowest.requests_per_s * shape.output_tokens,
        fastest.requests_per_s * shape.output_tokens,
    )
    perfect = served.perfect
    if perfect is not None:
        ttft_s, tpot_s = ttft_s.at_least(perfect.ttft_s), tpot_s.at_least(perfect.tpot_s)
        output_tok_per_s = output_tok_per_s.at_most(perfect.requests_per_s * shape.output_tokens)
    e2e_s = replace(
        tpot_s,
        expected=times.e2e_s,
        lower=ttft_s.lower + tpot_s.lower * shape.gaps,
        upper=ttft_s.upper + tpot_s.upper * shape.gaps,
    )

    # Joules: power of the steady state, over a run with its start and its end.
    power_w = power_of(deployment, served)
    joules = None
    if power_w is not None:
        run_w = deployment.calibration.power.run * power_w * shape.num_accelerators
        joules = doubt.around(
            "energy",
            run_w / output_tok_per_s.expected,
            run_w / (fastest.requests_per_s * shape.output_tokens),
            run_w / (slowest.requests_per_s * shape.output_tokens),
        )

    price = deployment.cluster.usd_per_accelerator_hour
    return ServingEstimate(
        deployment=deployment,
        loop=loop,
        served=served,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        e2e_s=e2e_s,
        output_tok_per_s=output_tok_per_s,
        power_w=power_w,
        joules_per_token=joules,
        doubt=doubt,
        tariff=Tariff(price) if tariff is None and price is not None else tariff,
    )


def power_of(deployment: Deployment, served: ServedLoad) -> Array | None:
    """Return the watts of one accelerator, from how much of its peaks the load uses."""
    accelerator, use = deployment.cluster.accelerator, served.peak_use
    if accelerator.tdp_w is None or use is None:
        return None
    return deployment.calibration.power.power_w(accelerator, *use)
