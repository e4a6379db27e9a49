"""`headway calibrate`: a user's own benchmark results on top of the shipped calibration."""

from __future__ import annotations

from pathlib import Path

import click

from headway.cli.options import find_clusters, layout_of, layout_options, only
from headway.cli.show import number
from headway.measure.fit_own import fit_own
from headway.measure.fit_points import ServingPoint
from headway.measure.fit_read import read_bench
from headway.model.catalogue import find_model, find_precision
from headway.model.precision import Precision
from headway.report.files import write_atomically
from headway.serving.one_engine import UNMIXED, Limits, Load, as_run
from headway.steptime.calibration import own_to_json, shipped
from headway.steptime.deployment import Deployment

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--model", required=True, help="What was served: a name, or a config.json.")
@click.option("--on", required=True, metavar="NAME", help="On which accelerator.")
@click.option("--engine", required=True, help="By which engine: vllm, sglang or tensorrt-llm.")
@click.option("--precision", metavar="W[/A[/KV]]", help="Default: as the model was published.")
@layout_options
@click.option(
    "--output",
    type=FILE,
    default=Path("headway-calibration.json"),
    show_default=True,
    help="Where the calibration goes.",
)
def calibrate(
    files: tuple[Path, ...],
    model: str,
    on: str,
    engine: str,
    precision: str | None,
    tp: int | None,
    pp: int | None,
    dp: int | None,
    ep: int | None,
    output: Path,
) -> None:
    """Fit the shipped calibration to your own benchmark FILES: 5 to 10 loads are enough.

    FILES are results of vLLM bench serve, SGLang bench_serving, InferenceX, guidellm or aiperf.
    Give what comes out to headway estimate --engine as --calibration.
    """
    calibration = shipped()
    calibration.check_engine(engine)
    cluster = only(find_clusters(on))
    chosen = Precision.parse(precision) if precision else find_precision(model)
    deployment = Deployment(
        cluster,
        find_model(model),
        as_run(chosen, cluster.accelerator),
        layout_of(tp, pp, dp, ep),
    )
    points = [
        ServingPoint(
            source=path.name,
            engine=engine,
            model=deployment.model.name,
            deployment=deployment,
            load=Load(bench.prompt_tokens, bench.output_tokens, bench.concurrency),
            limits=Limits(mixes=engine not in UNMIXED),
            tpot_s=bench.tpot_s,
            ttft_s=bench.ttft_s,
            mean_ttft_s=bench.mean_ttft_s,
        )
        for path in files
        for bench in read_bench(path)
    ]
    own = fit_own(points, calibration)
    write_atomically(output, own_to_json(own))
    click.echo(
        f"{own.points} points, mean error of the time per output token after the fit "
        f"{number(own.error * 100)}%"
    )
    click.echo(f"wrote {output}", err=True)
