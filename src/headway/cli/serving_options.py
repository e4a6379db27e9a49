"""Options of a deployment and of its load, each group as one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import click

from headway.cli.options import (
    COUNT,
    COUNTS,
    FRACTION,
    NUMBER,
    NUMBER_OR_ZERO,
    RATE,
    TIME,
    Command,
    as_object,
    calibration_option,
    degree_options,
    engine_option,
    length_options,
    on_option,
    precision_option,
    price_option,
    prices_option,
)
from headway.errors import InputError
from headway.frontier.question import Question
from headway.hardware.catalogue import find_clusters
from headway.hardware.cluster import Cluster
from headway.hardware.price import find_prices
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model, find_precision
from headway.model.precision import Precision
from headway.serving.load import Load
from headway.serving.token_prices import ApiPrices
from headway.steptime.acceptance import speculation_by
from headway.steptime.calibration import Calibration, engine_named, shipped
from headway.steptime.deployment import Deployment, EngineLimits, default_limits
from headway.steptime.layouts import fastest_deployment
from headway.steptime.parallelism import Parallelism
from headway.steptime.placed_model import Drafting
from headway.steptime.speculative import Speculation


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """A model, where it runs, what serves it, and how it drafts."""

    model: str
    on: str
    precision: str | None
    engine: str | None
    calibration: Calibration | None
    price: float | None
    prices: str | None
    speculate: str | None
    acceptance: float | None
    bonus_token: bool

    @property
    def architecture(self) -> ModelArchitecture:
        """The model."""
        return find_model(self.model)

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """The accelerators, in the order in which they were named."""
        return find_clusters(self.on, self.price, find_prices(self.prices))

    @property
    def cluster(self) -> Cluster:
        """The one accelerator of a command that takes one."""
        clusters = self.clusters
        if len(clusters) != 1:
            raise InputError(
                f"this takes one accelerator, not {len(clusters)}; to compare, use headway frontier"
            )
        return clusters[0]

    @property
    def numbers(self) -> Precision:
        """The number formats: as given, or as the model was published."""
        return find_precision(self.model, self.precision)

    @property
    def measurements(self) -> Calibration:
        """What was measured of engines: what ships, and the user's own file on top."""
        return shipped() if self.calibration is None else self.calibration

    def engine_on(self, cluster: Cluster) -> str | None:
        """The serving engine: as named; by default vllm where its step times were measured."""
        return engine_named(self.engine, cluster.accelerator)

    @property
    def speculation(self) -> Speculation | None:
        """Who drafts."""
        if self.speculate is None:
            if self.acceptance is not None or not self.bonus_token:
                raise InputError(
                    "--acceptance and --no-bonus-token need --speculate, such as --speculate mtp"
                )
            return None
        return speculation_by(self.speculate, self.architecture, self.acceptance, self.bonus_token)


place_options = as_object(
    "place",
    PlaceOptions,
    [
        click.argument("model"),
        on_option(),
        precision_option,
        engine_option(),
        calibration_option,
        price_option,
        prices_option,
        click.option(
            "--speculate", metavar="DRAFT", help="Draft model, or mtp for the model's own heads."
        ),
        click.option(
            "--acceptance",
            type=FRACTION,
            help="Probability that a drafted token is accepted. Default: with mtp what is "
            "published of the model's heads or of others', else 0.8.",
        ),
        click.option(
            "--bonus-token/--no-bonus-token",
            default=True,
            help="Whether a verifying pass yields one more token.",
        ),
    ],
)


@dataclass(frozen=True, slots=True)
class LayoutOptions:
    """The layout and the limits of one engine."""

    tp: int | None
    pp: int | None
    dp: int | None
    ep: int | None
    rows: int | None
    accelerators: int | None
    draft_tokens: int | None
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    top_p: bool

    def deployment(self, place: PlaceOptions, context_tokens: float) -> Deployment:
        """Return the deployment: in the layout as given, or in the fastest on as few as hold it."""
        degrees = (self.tp, self.pp, self.dp, self.ep, self.rows)
        if self.accelerators is not None and any(degrees):
            raise InputError("give either --accelerators or a layout (--tp, --pp, --dp, --ep)")

        cluster, model = place.cluster, place.architecture
        engine, calibration = place.engine_on(cluster), place.measurements
        limits = default_limits(engine)
        limits = EngineLimits(
            self.max_num_seqs or limits.max_num_seqs,
            self.max_num_batched_tokens or limits.max_num_batched_tokens,
        )
        if any(degrees):
            deployment = Deployment(
                model,
                cluster,
                parallelism=Parallelism(*(degree or 1 for degree in degrees)),
                precision=place.numbers,
                engine=engine,
                limits=limits,
                calibration=calibration,
            )
        else:
            deployment = fastest_deployment(
                model,
                cluster,
                precision=place.numbers,
                engine=engine,
                num_accelerators=self.accelerators,
                context_tokens=context_tokens,
                calibration=calibration,
            ).with_limits(limits)
        drafting = self.drafting(place.speculation)
        return replace(deployment, drafting=drafting, top_p=self.top_p)

    def drafting(self, speculation: Speculation | None) -> Drafting | None:
        """Return how many tokens are drafted per pass: one, unless told."""
        if speculation is None:
            if self.draft_tokens is not None:
                raise InputError("--draft-tokens needs --speculate, such as --speculate mtp")
            return None
        return Drafting(speculation, tokens=self.draft_tokens or 1)


layout_options = as_object(
    "layout",
    LayoutOptions,
    [
        degree_options,
        click.option("--rows", type=COUNT, help="Rows of a two-dimensional tensor layout."),
        click.option(
            "--accelerators",
            type=COUNT,
            help="Take the fastest layout of exactly this many. Default: as few as hold the model.",
        ),
        click.option("--draft-tokens", type=COUNT, help="Tokens drafted per pass. Default: 1."),
        click.option(
            "--max-num-seqs",
            type=COUNT,
            help="Sequences that an engine runs at once. Default: 1024, as vLLM.",
        ),
        click.option(
            "--max-num-batched-tokens",
            type=COUNT,
            help="Tokens of one step. Default: 8192, as vLLM.",
        ),
        click.option(
            "--top-p",
            is_flag=True,
            help="Tokens are chosen by top-p or top-k: vLLM sorts the vocabulary for each.",
        ),
    ],
)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The requests, how many of them, and what hours and electricity cost."""

    prompt: int
    output: int
    concurrency: tuple[int, ...] | None
    users: tuple[int, ...] | None
    think: float | None
    rate: float | None
    cached: float
    duty_cycle: float
    usd_per_kwh: float
    pue: float

    @property
    def load(self) -> Load:
        """The load; a single number of requests is a scalar."""
        return Load(
            prompt=self.prompt,
            output=self.output,
            concurrency=_scalar(self.concurrency),
            users=_scalar(self.users),
            think_s=self.think or 0.0,
            rate=self.rate,
            cached=self.cached,
            duty_cycle=self.duty_cycle,
            usd_per_kwh=self.usd_per_kwh,
            pue=self.pue,
        )


cached_option = click.option(
    "--cached", type=FRACTION, default="0", help="Fraction of a prompt found in the prefix cache."
)


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The requests that a search is for, whatever their number."""

    prompt: int
    output: int
    cached: float
    prefilled: bool

    def question(self, place: PlaceOptions, engine: str | None) -> Question:
        """Return the question that `headway frontier` asks of ``place``."""
        return Question(
            model=place.architecture,
            precision=place.numbers,
            prompt_tokens=self.prompt,
            output_tokens=self.output,
            cached_fraction=self.cached,
            prefilled=self.prefilled,
            engine=engine,
            speculation=place.speculation,
            calibration=place.measurements,
        )


request_options = as_object(
    "requests",
    RequestOptions,
    [
        length_options(prompt="2k", output="400"),
        cached_option,
        click.option(
            "--prefilled",
            is_flag=True,
            help="Prompts are computed elsewhere: decoding alone is billed.",
        ),
    ],
)


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """A speed of every user and a cost of output tokens."""

    tok_s: float
    usd_per_mtok_output: float | None


def target_options(cost_required: bool) -> Callable[[Command], Command]:
    """Add --tok-s and --usd-per-mtok-output, as one ``target``."""
    return as_object(
        "target",
        TargetOptions,
        [
            click.option(
                "--tok-s", type=NUMBER, required=True, help="Output tokens/s of every user."
            ),
            click.option(
                "--usd-per-mtok-output",
                type=NUMBER,
                required=cost_required,
                help="$ per million output tokens, prompts included."
                + ("" if cost_required else " Left out, the speed may cost anything."),
            ),
        ],
    )


load_options = as_object(
    "requests",
    LoadOptions,
    [
        length_options(prompt="2k", output="400"),
        click.option(
            "--concurrency",
            type=COUNTS,
            metavar="NUMBERS",
            help="Requests in the system; 1,8,64 for several, 1..256 for doublings. Default: 1.",
        ),
        click.option(
            "--users", type=COUNTS, metavar="NUMBERS", help="People who ask again and again."
        ),
        click.option("--think", type=TIME, help="Between an answer and a user's next request."),
        click.option("--rate", type=RATE, help="Requests per second, such as 2 or 90/min."),
        cached_option,
        click.option(
            "--duty-cycle", type=FRACTION, default="1", help="Fraction of the paid hours with load."
        ),
        click.option(
            "--usd-per-kwh",
            type=NUMBER_OR_ZERO,
            default="0",
            help="Electricity on top of the hourly price.",
        ),
        click.option(
            "--pue",
            type=NUMBER,
            default="1",
            help="Power of the building over that of the accelerators.",
        ),
    ],
)


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """What an API asks."""

    api_in: float | None
    api_out: float | None
    api_cached: float | None

    @property
    def prices(self) -> ApiPrices | None:
        """The prices, if any was given."""
        if self.api_in is None and self.api_out is None and self.api_cached is None:
            return None
        if self.api_in is None or self.api_out is None:
            raise InputError("the price of an API needs both --api-in and --api-out")
        return ApiPrices(self.api_in, self.api_out, self.api_cached)


api_options = as_object(
    "api",
    ApiOptions,
    [
        click.option("--api-in", type=NUMBER, help="$ per million input tokens of an API."),
        click.option("--api-out", type=NUMBER, help="$ per million output tokens of an API."),
        click.option(
            "--api-cached", type=NUMBER_OR_ZERO, help="$ per million cached input tokens of an API."
        ),
    ],
)


def _scalar(values: tuple[int, ...] | None) -> int | tuple[int, ...] | None:
    return values[0] if values is not None and len(values) == 1 else values
