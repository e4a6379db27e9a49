"""Options of `estimate --disaggregate` and `explain --disaggregate`: two stages and their link."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from headway.cli.options import COUNT, as_object
from headway.cli.serving_options import PlaceOptions
from headway.errors import InputError
from headway.hardware.catalogue import find_cluster
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism

if TYPE_CHECKING:
    from headway.serving.two_stages import TwoStages

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class StageOptions:
    """How prefill and decode are split, and where prefill runs."""

    disaggregate: str | None
    kv_link: str | None
    kv_overlap: bool
    prefill_on: str | None
    prefill_tp: int | None
    prefill_pp: int | None
    prefill_dp: int | None
    prefill_ep: int | None

    def check_unused(self) -> None:
        """Raise `InputError` where part of a split is given without --disaggregate."""
        for name in (
            "kv_link", "prefill_on", "prefill_tp", "prefill_pp", "prefill_dp", "prefill_ep"
        ):  # fmt: skip
            if getattr(self, name) is not None:
                raise InputError(
                    f"--{name.replace('_', '-')} goes with --disaggregate, such as "
                    "--disaggregate 1x1"
                )

    def stages(self, decode: Deployment, place: PlaceOptions) -> TwoStages:
        """Return one engine of each stage, or as many as --disaggregate names."""
        from headway.serving.disaggregated_report import link_called, parse_engines, two_stages

        degrees = (self.prefill_tp, self.prefill_pp, self.prefill_dp, self.prefill_ep)
        layout = decode.parallelism
        if any(degrees):
            layout = Parallelism(*(degree or 1 for degree in degrees))
        prefill = replace(
            decode,
            cluster=decode.cluster if self.prefill_on is None else find_cluster(self.prefill_on),
            parallelism=layout,
            precision=place.numbers,
            drafting=None,
        )

        link = link_called(self.kv_link, decode.cluster)
        stages = two_stages(prefill, decode, link, overlapped=self.kv_overlap)
        if self.disaggregate in (None, AUTO):
            return stages
        return stages.with_engines(*parse_engines(str(self.disaggregate)))


stage_options = as_object(
    "split",
    StageOptions,
    [
        click.option(
            "--disaggregate",
            metavar="PxD",
            help="Prefill and decode on engines of their own, such as 2x1; auto for the best split "
            "of --accelerators.",
        ),
        click.option(
            "--kv-link",
            metavar="NAME",
            help="Over which link the cache goes: a name, or GB/s. Default: the outermost.",
        ),
        click.option(
            "--kv-overlap/--no-kv-overlap",
            default=True,
            help="Whether a layer's cache is sent while the next are computed.",
        ),
        click.option("--prefill-on", metavar="NAME", help="Accelerator that prefills, if another."),
        click.option("--prefill-tp", type=COUNT, help="Tensor-parallel ranks of prefill."),
        click.option("--prefill-pp", type=COUNT, help="Pipeline stages of prefill."),
        click.option("--prefill-dp", type=COUNT, help="Attention groups of prefill."),
        click.option("--prefill-ep", type=COUNT, help="Expert-parallel groups of prefill."),
    ],
)
