"""Two stages and a link: what is sent, what binds, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headway.dtypes import DType
from headway.errors import DoesNotFitError, InputError
from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.serving.closed_loop import ClosedLoop
from headway.serving.disaggregated import disaggregated_times
from headway.serving.two_stages import TwoStages, Workers, transfer_bytes
from headway.steptime.deployment import Deployment
from headway.steptime.placed_model import Drafting
from headway.steptime.speculative import Speculation, mtp_draft

LOAD = ClosedLoop(2000, 500, 16)
BF16 = Precision(DType.BF16, DType.BF16, DType.BF16)


def split(
    cluster: Cluster, model: ModelArchitecture, prefill: int = 1, decode: int = 1, tp: int = 1
) -> TwoStages:
    d = Deployment(model, cluster, tp=tp, precision=BF16, engine="vllm")
    return TwoStages(Workers(d, prefill), Workers(d, decode), cluster.links[-1])


def test_a_prompt_is_sent_by_every_rank_that_holds_a_share(
    llama_8b: ModelArchitecture, deepseek: ModelArchitecture
) -> None:
    h100 = find_cluster("h100")
    whole = 2 * 32 * 8 * 128 * 2 * 2000  # keys and values, layers, heads, width, bytes, tokens
    assert transfer_bytes(split(h100, llama_8b).prefill, 2000) == whole
    assert transfer_bytes(split(h100, llama_8b, tp=4).prefill, 2000) == whole / 4
    latent = transfer_bytes(split(h100, deepseek, tp=16).prefill, 2000)
    assert latent == 61 * (512 + 64) * 2 * 2000  # not split: every rank holds it


def test_what_is_slow_binds(llama_8b: ModelArchitecture) -> None:
    h100 = find_cluster("h100")
    crowd = ClosedLoop(2000, 500, 100_000)
    for question, expected in (
        (split(h100, llama_8b, 1, 50), "prefill"),
        (split(h100, llama_8b, 50, 1), "decode"),
        (split(h100, llama_8b, 50, 50), "decode"),
    ):
        assert disaggregated_times(question, crowd).binds == expected
    thin = replace(split(h100, llama_8b).link, bandwidth_bytes_per_s=1e8)
    congested = replace(split(h100, llama_8b, 4, 4), link=thin)
    assert disaggregated_times(congested, crowd).binds == "transfer"
    assert disaggregated_times(split(h100, llama_8b), LOAD).binds == "users"


def test_a_wide_link_hides_all_but_the_last_layer(llama_8b: ModelArchitecture) -> None:
    question = split(find_cluster("h100"), llama_8b)
    times = disaggregated_times(question, LOAD)
    latency_s = question.link.latency_s
    assert times.transfer_s == pytest.approx(latency_s + (times.sent_s - latency_s) / 32)


def test_prompts_are_computed_together_when_many_wait(llama_8b: ModelArchitecture) -> None:
    question = split(find_cluster("h100"), llama_8b, 1, 20)
    alone = disaggregated_times(question, ClosedLoop(100, 100, 1))
    crowd = disaggregated_times(question, ClosedLoop(100, 100, 20_000))
    assert crowd.prefill_s > 2 * alone.prefill_s
    assert crowd.requests_per_s > 4 / alone.prefill_s


def test_drafts_shorten_what_they_should(deepseek: ModelArchitecture) -> None:
    question = split(find_cluster("h200"), deepseek, tp=16)
    drafts = Drafting(Speculation(mtp_draft(deepseek), 0.9, shares_weights=True))
    drafting = question.decode.deployment.with_drafting(drafts)
    faster = disaggregated_times(replace(question, decode=Workers(drafting, 1)), LOAD)
    plain = disaggregated_times(question, LOAD)
    assert faster.tpot_s < plain.tpot_s
    assert faster.prefill_s == plain.prefill_s


def test_an_answer_of_one_token_is_prefill_alone(llama_8b: ModelArchitecture) -> None:
    times = disaggregated_times(split(find_cluster("h100"), llama_8b), ClosedLoop(2000, 1, 8))
    assert times.use["decode"] == 0
    assert times.e2e_s == pytest.approx(times.ttft_s)
    assert times.tpot_s > 0


def test_what_makes_no_sense_is_refused(
    llama_8b: ModelArchitecture, llama_70b: ModelArchitecture
) -> None:
    h100 = find_cluster("h100")
    question = split(h100, llama_8b)
    with pytest.raises(InputError, match="engines"):
        Workers(question.prefill.deployment, 0)
    with pytest.raises(InputError, match="one load at a time"):
        disaggregated_times(question, ClosedLoop(2000, 500, [1, 2]))
    with pytest.raises(InputError, match="same model"):
        replace(question, decode=split(h100, llama_70b, tp=4).decode)
    with pytest.raises(InputError, match="handoff_s"):
        replace(question, handoff_s=-1.0)
    with pytest.raises(DoesNotFitError):
        disaggregated_times(split(h100, llama_70b), LOAD)
