"""``headway engine``: a real engine on this machine, to try a gateway on."""

from __future__ import annotations

import os
from typing import Any

import click

from headway.cli.options import calibration_option
from headway.engines.local import EngineOptions, build_server, vllm_command
from headway.errors import need


@click.command()
@click.option(
    "--runtime",
    type=click.Choice(["openvino", "vllm-cpu", "timed"]),
    default="openvino",
    help="What computes: OpenVINO GenAI, vLLM's own server, or nothing (timed).",
)
@click.option(
    "--on",
    "deployment",
    metavar="MODEL@HARDWARE",
    help="timed: whose step times to keep, such as llama-3.1-8b@h100:tp1.",
)
@calibration_option
@click.option(
    "--model",
    default="tiny-random",
    help="tiny-random (59M parameters), a name of the catalogue, or a config.json.",
)
@click.option("--host", default="127.0.0.1", help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000,
              help="0 for any that is free.")  # fmt: skip
@click.option("--max-num-seqs", type=click.IntRange(1, 4096),
              help="Sequences that run at once. Default: 16; timed: vLLM's 1024.")  # fmt: skip
@click.option("--max-num-batched-tokens", type=click.IntRange(1, 1 << 20),
              help="Tokens of one step. Default: 512; timed: vLLM's 8192.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 512), default=1,
              help="Of the computation.")  # fmt: skip
@click.option("--cache-gb", type=click.IntRange(1, 1024),
              help="Of the KV cache. Default: 1; timed: what the memory leaves.")  # fmt: skip
def engine(host: str, port: int, **options: Any) -> None:
    """Serve a model with random weights behind OpenAI's API, batching continuously.

    timed computes nothing and takes as long as the cost model says that some hardware would.
    """
    settings = EngineOptions(**options)
    if settings.runtime == "vllm-cpu":
        command, environment = vllm_command(settings, host, port)
        click.echo(
            f"headway: vLLM will serve {settings.model} on http://{host}:{port}/v1", err=True
        )
        os.execve(command[0], command, environment)

    need("httptools", "the engine's server", "openvino")
    from headway.engines.server import serve

    deployment = settings.timed_deployment
    if deployment is not None and deployment.own_words is not None:
        click.echo(f"headway: {deployment.own_words}", err=True)
    server, name = build_server(settings)
    serve(
        server,
        host,
        port,
        lambda actual: click.echo(f"headway: {name} on http://{host}:{actual}/v1"),
    )
