"""``headway engine``: a real engine on this machine, to try a gateway on."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

import click

from headway.errors import InputError, need

KINDS = ("openvino", "vllm-cpu", "timed")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.option(
    "--model",
    default="tiny-random",
    show_default=True,
    help="tiny-random (59M parameters), a name of the catalogue, or a config.json.",
)
@click.option(
    "--deployment",
    metavar="MODEL@HARDWARE",
    help="timed: whose step times to keep, such as llama-3.1-8b@h100:tp1.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True)
@click.option("--max-num-seqs", type=click.IntRange(1, 4096), default=16, show_default=True)
@click.option(
    "--max-num-batched-tokens", type=click.IntRange(1, 1 << 20), default=512, show_default=True
)
@click.option("--threads", type=click.IntRange(1, 512), default=1, show_default=True)
@click.option("--cache-gb", type=click.IntRange(1, 1024), default=1, show_default=True)
def engine(
    kind: str,
    model: str,
    deployment: str | None,
    host: str,
    port: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    threads: int,
    cache_gb: int,
) -> None:
    """Serve a model with random weights behind OpenAI's API, batching continuously.

    openvino computes with OpenVINO GenAI, vllm-cpu starts vLLM's own server, timed computes nothing
    and takes as long as the cost model says that some hardware would.
    """
    from headway.engines.tiny import find_config, whole

    if (deployment is not None) != (kind == "timed"):
        raise InputError("--deployment is what the engine timed needs, and no other takes")
    if max_num_batched_tokens < max_num_seqs:
        raise InputError(
            f"--max-num-batched-tokens ({max_num_batched_tokens}) must be at least --max-num-seqs "
            f"({max_num_seqs}): every running sequence decodes in every step"
        )
    if kind == "vllm-cpu":
        from headway.engines.vllm import command, environment, write_model

        config, name = find_config(model)
        folder = Path(tempfile.mkdtemp(prefix="headway-vllm-"))
        line = command(folder, name, host, port, max_num_seqs, max_num_batched_tokens)
        write_model(folder, config)
        click.echo(f"headway: vLLM will serve {name} on http://{host}:{port}/v1", err=True)
        os.execve(line[0], line, environment(threads, cache_gb))
    need("httptools", "the engine's server", "openvino")
    from headway.engines.batch import in_process, in_thread
    from headway.engines.serve import serve
    from headway.engines.server import EngineServer
    from headway.engines.vocabulary import ByteVocabulary

    if deployment is not None:
        from headway.engines.timed import TimedPipeline
        from headway.steptime.deployment_name import parse_deployment
        from headway.steptime.step_time import AnalyticStepTime

        times = AnalyticStepTime(parse_deployment(deployment))
        pipe = in_thread(TimedPipeline(times, max_num_batched_tokens), max_num_seqs)
        name, server = deployment, EngineServer(pipe, deployment, context_tokens=1 << 20)
    else:
        from headway.engines.openvino import OpenVinoPipeline

        need("openvino_genai", "the engine openvino", "openvino")
        config, name = find_config(model)
        make = partial(OpenVinoPipeline, config, name, max_num_batched_tokens, threads, cache_gb)
        pipe = in_process(make, max_num_seqs)
        server = EngineServer(
            pipe, name, whole(config, "max_position_embeddings"),
            ByteVocabulary(whole(config, "vocab_size")),
        )  # fmt: skip

    def started(actual: int) -> None:
        click.echo(f"headway: {name} on http://{host}:{actual}/v1")

    serve(server, host, port, started)
