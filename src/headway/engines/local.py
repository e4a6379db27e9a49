"""Engines that serve on this machine, from their options."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from headway.errors import InputError, UnknownNameError, need

if TYPE_CHECKING:  # needs an extra
    from headway.engines.server import EngineServer
    from headway.steptime.calibration import Calibration
    from headway.steptime.deployment import Deployment

OPENVINO, VLLM_CPU, TIMED = "openvino", "vllm-cpu", "timed"
TIMED_CONTEXT_TOKENS = 1 << 20
MAX_BLOCKS = 2.0**24
CPU_LIMITS = 16, 512  # sequences, and tokens of a step
CPU_CACHE_GB = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """An engine with random weights, or one that computes nothing.

    Attributes:
        runtime: openvino, vllm-cpu or timed.
        deployment: timed: whose step times to keep, such as ``llama-3.1-8b@h100:tp1``.
        calibration: timed: what was measured of engines; what ships with Headway by default.
        model: tiny-random, a name of the catalogue, or the path of a config.json.
        max_num_seqs: sequences that run at once; by default 16 on a CPU, and for timed as many
            as vLLM's server takes.
        max_num_batched_tokens: tokens of one step; 512, and for timed those of vLLM's server.
        threads: of the computation.
        cache_gb: of the KV cache on a CPU, 1 by default; a timed engine has what its deployment's
            memory leaves.

    """

    runtime: str = OPENVINO
    deployment: str | None = None
    calibration: Calibration | None = None
    model: str = "tiny-random"
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    threads: int = 1
    cache_gb: int | None = None

    def __post_init__(self) -> None:
        if self.runtime not in (OPENVINO, VLLM_CPU, TIMED):
            raise UnknownNameError("runtime", self.runtime, (OPENVINO, VLLM_CPU, TIMED))
        if (self.deployment is not None) != (self.runtime == TIMED):
            raise InputError(
                "a deployment (--on) is what the runtime timed needs, and no other takes"
            )
        if self.calibration is not None and self.runtime != TIMED:
            raise InputError(
                "a calibration is for the runtime timed; the others take their own time"
            )
        if self.cache_gb is not None and self.runtime == TIMED:
            raise InputError(
                "a timed engine's cache is what its deployment's memory leaves: no --cache-gb"
            )
        max_num_seqs, max_num_batched_tokens = self.limits
        if max_num_batched_tokens < max_num_seqs:
            raise InputError(
                f"max_num_batched_tokens ({max_num_batched_tokens}) must be at least "
                f"max_num_seqs ({max_num_seqs}): every running sequence decodes in every step"
            )

    @property
    def limits(self) -> tuple[int, int]:
        """Sequences that run at once, and tokens of one step."""
        max_num_seqs, max_num_batched_tokens = CPU_LIMITS
        if self.runtime == TIMED:
            from headway.steptime.deployment import EngineLimits

            serving = EngineLimits()
            max_num_seqs = serving.max_num_seqs
            max_num_batched_tokens = serving.max_num_batched_tokens
        return self.max_num_seqs or max_num_seqs, (
            self.max_num_batched_tokens or max_num_batched_tokens
        )

    @property
    def timed_deployment(self) -> Deployment | None:
        """Whose step times to keep."""
        if self.deployment is None:
            return None
        from headway.steptime.deployment_name import parse_deployment

        return parse_deployment(self.deployment, calibration=self.calibration)


def build_server(options: EngineOptions) -> tuple[EngineServer, str]:
    """Return a server that is not started yet, and the name of what it serves.

    Raises:
        InputError: the model or the deployment is unknown, or cannot run there.
        MissingExtraError: the runtime is not installed.

    """
    from headway.engines.batch import in_process, in_thread
    from headway.engines.server import EngineServer

    max_num_seqs, max_num_batched_tokens = options.limits
    deployment = options.timed_deployment
    if options.deployment is not None and deployment is not None:
        from headway.engines.cache import BLOCK_TOKENS, BlockCache
        from headway.engines.timed import TimedPipeline
        from headway.engines.vocabulary import WordVocabulary

        num_blocks = int(deployment.max_sequences(BLOCK_TOKENS, max_sequences=MAX_BLOCKS))
        pipeline = TimedPipeline(
            deployment.step_time_model, max_num_batched_tokens, BlockCache(max(1, num_blocks))
        )
        pipe = in_thread(pipeline, max_num_seqs)
        name = options.deployment
        return EngineServer(pipe, name, TIMED_CONTEXT_TOKENS, WordVocabulary()), name

    need("openvino_genai", "the runtime openvino", "openvino")
    from headway.engines.openvino import OpenVinoPipeline
    from headway.engines.tiny import find_config, whole
    from headway.engines.vocabulary import ByteVocabulary

    config, name = find_config(options.model)
    make = partial(
        OpenVinoPipeline,
        config,
        name,
        max_num_batched_tokens=max_num_batched_tokens,
        threads=options.threads,
        cache_gb=options.cache_gb or CPU_CACHE_GB,
    )
    pipe = in_process(make, max_num_seqs)
    vocabulary = ByteVocabulary(whole(config, "vocab_size"))
    context_tokens = whole(config, "max_position_embeddings")
    return EngineServer(pipe, name, context_tokens, vocabulary), name


def vllm_command(options: EngineOptions, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of vLLM's own server, its model written to disk."""
    from headway.engines.tiny import find_config
    from headway.engines.vllm import command, environment, write_model

    config, name = find_config(options.model)
    folder = Path(tempfile.mkdtemp(prefix="headway-vllm-"))
    line = command(folder, name, host, port, *options.limits)
    write_model(folder, config)
    return line, environment(options.threads, options.cache_gb or CPU_CACHE_GB)
