"""What a gateway is told, and what it refuses to be told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from headway.errors import InputError
from headway.gateway.config import GatewayConfig, ServiceClass, Tenant, is_loopback
from headway.gateway.config_file import load_config, read_config
from headway.gateway.pools import Endpoint, Overflow, Pool
from headway.gateway.scheduler.admission import key_hash, make_key
from headway.schedule.expectation import expected_service
from headway.schedule.order import ShortestJob
from headway.steptime.deployment_name import parse_deployment
from headway.workload.request import Slo
from headway.workload.step import Step

ENGINE = (Endpoint("http://localhost:8000/v1"),)
FULL = f"""
policy = "sjf"
record = "live.db"
retries = 1
[[backend]]
url = "http://localhost:8000/v1"
max_inflight = 64
[[backend]]
url = "http://localhost:8001/v1"
pool = "cpu"
[[tenant]]
name = "research"
key_sha256 = "{key_hash("x")}"
weight = 2
requests_per_minute = 600
[class.interactive]
ttft_ms = 500
ttl_s = 20
[timeouts]
queue_s = 60
[fairness]
by_tenant = true
"""


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "headway.toml"
    path.write_text(FULL)
    config = read_config(path)
    assert isinstance(config.policy, ShortestJob)
    assert config.pools == ("main", "cpu")
    assert config.endpoints[0].max_inflight == 64
    assert config.tenants[0].weight == 2.0
    assert config.classes == (ServiceClass("interactive", Slo(ttft_s=0.5), ttl_s=20.0),)
    assert config.timeouts.queue_s == 60
    assert config.fairness.by_tenant
    assert config.record == tmp_path / "live.db"


def test_requests_that_name_no_class_have_the_objectives_of_all(tmp_path: Path) -> None:
    path = tmp_path / "headway.toml"
    path.write_text('slo = "ttft p95 < 2s"\n' + FULL)
    of_file = load_config(path)
    of_command = load_config(path, slo="ttft p95 < 1s, tpot < 60ms")

    assert of_file.service_class("").slo == Slo(ttft_s=2.0)
    assert of_command.service_class("").slo == Slo(ttft_s=1.0, tpot_s=0.06)
    assert of_command.service_class("interactive") == of_file.service_class("interactive")
    assert read_config(path).service_class("") == of_file.service_class("")
    with pytest.raises(InputError, match="objectives are written"):
        load_config(path, slo="fast")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backend = [", "not TOML"),
        ("", "needs at least one backend"),
        ("[[backend]]\nurl = 'localhost'", "an address such as"),
        ("[[backend]]\nurl = 'http://h/v1'\nmax_inflght = 3", "did you mean max_inflight"),
        ("[[backend]]\nurl = 'http://h/v1'\nmax_inflight = true", "whole number"),
        ("[[backend]]\nurl = 'http://h/v1'\nmax_inflight = 0", "from 1 to"),
        ("[backend]\nurl = 'http://h/v1'", "two brackets"),
        ("[[backend]]\npool = 'x'", "needs a url"),
        ("polcy = 'x'\n[[backend]]\nurl = 'http://h/v1'", "did you mean policy"),
        ("mode = 'x'\n[[backend]]\nurl = 'http://h/v1'", "schedule or annotate"),
        ("host = '0.0.0.0'\n[[backend]]\nurl = 'http://h/v1'", "without an API key"),
        ("[[backend]]\nurl = 'http://h/v1'\n[[tenant]]\nname='a'\nkey_sha256='x'", "64 hexadec"),
        ("[[backend]]\nurl = 'http://h/v1'\n[[tenant]]\nname='a'", "needs key_sha256"),
        ("[[backend]]\nurl = 'http://h/v1'\n[timeouts]\nqueue_s = -1", "above 0"),
        ("[[backend]]\nurl = 'http://h/v1'\n[class.a]\nttft_ms = 0", "above 0"),
        ("[[backend]]\nurl = 'http://[::1/v1'", "an address such as"),
        ("[[backend]]\nurl = 'http://engine..local/v1'", "an address such as"),
        (f"[[backend]]\nurl = 'http://{'a' * 64}/v1'", "an address such as"),
        ("[[backend]]\nurl = 'http://\u2100/v1'", "an address such as"),
        ("[[backend]]\nurl = 'http://u:p@h/v1'", "no user and password"),
        ("[[backend]]\nurl = 'http://h/\u0142/v1'", "a path of ASCII"),
        ('[[backend]]\nurl = "http://h/v1"\npool = "a\\r\\nb: c"', "printable"),
        (f"[[backend]]\nurl = 'http://h/v1'\nmax_inflight = 0x{'f' * 5000}", "must be less than 2"),
        ("[[backend]]\nurl = 'http://h/v1'\n[web]\norigins = ['*']", "an origin is such as"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "headway.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(path)


def test_it_listens_publicly_only_with_a_key() -> None:
    with pytest.raises(InputError, match="without an API key"):
        GatewayConfig(ENGINE, host="0.0.0.0")
    GatewayConfig(ENGINE, host="0.0.0.0", tenants=(Tenant("a", key_hash("k")),))
    assert is_loopback("127.0.0.2")
    assert is_loopback("::1")
    assert not is_loopback("example.com")


def test_keys_are_random_and_shown_nowhere() -> None:
    assert make_key() != make_key()
    assert len(make_key()) > 40
    tenant = Tenant("a", key_hash("secret"))
    endpoint = Endpoint("http://h/v1", api_key="secret")
    assert "secret" not in repr(endpoint)
    assert tenant.key_sha256 not in repr(tenant)


@pytest.mark.parametrize("url", ["ftp://x/v1", "http://", "http://h:99999/v1", "http://h/a b", "x"])
def test_addresses_are_checked(url: str) -> None:
    with pytest.raises(InputError):
        Endpoint(url)


def written(folder: Path, text: str) -> Path:
    path = folder / "headway.toml"
    path.write_text(dedent(text))
    return path


def test_pools_offload_traces_and_a_shared_record_are_read(tmp_path: Path) -> None:
    config = read_config(
        written(
            tmp_path,
            """
            record = "postgresql://headway@db/live"
            traces = "http://localhost:4318"
            [[backend]]
            url = "http://gpu:8000/v1"
            pool = "gpu"
            [[backend]]
            url = "http://cpu:8000/v1"
            pool = "cpu"
            batching = "static"
            max_inflight = 8
            batch_ratio = 3
            [pool.cpu]
            usd_per_hour = 1
            output_token_s = 0.08
            [offload]
            fast = "gpu"
            slow = "cpu"
            share = 0.2
            """,
        ),
    )
    assert config.record == "postgresql://headway@db/live"
    assert config.traces == "http://localhost:4318"
    assert config.overflow == Overflow("gpu", "cpu", share=0.2)
    assert config.service("cpu").output_token_s == 0.08
    assert config.pool("gpu") == Pool("gpu")
    assert config.endpoints[1].batch_ratio == 3.0


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[offload]\nfast = "a"', "fast and slow"),
        ('[offload]\nfast = "main"\nslow = "b"\nshare = 0.1', "unknown pool 'b'"),
        ("[pool.other]\nusd_per_hour = 1", "other"),
        ("[pool.main]\nusd_per_hour = -1", "usd_per_hour"),
        ("[pool.main]\nname = 'x'", "name"),
        ("[pool.main]\noutput_token_s = 'x'", "number"),
        ("traces = 'localhost'", "traces"),
        ("batching = 3", "batching"),
        ("engine = 'vllm'", "engine goes with on"),
        ("on = 'h100'", "a deployment is MODEL@HARDWARE"),
    ],
)
def test_a_mistake_in_pools_is_named(tmp_path: Path, text: str, what: str) -> None:
    head = '[[backend]]\nurl = "http://x/v1"\n'
    text = text + "\n" + head if text.startswith(("traces", "engine", "on")) else head + text
    with pytest.raises(InputError, match=what):
        read_config(written(tmp_path, text))


def test_a_named_deployment_gives_the_first_expectation(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        on = "llama-3.1-8b@h100:tp1"
        engine = "vllm"
        [[backend]]
        url = "http://gpu:8000/v1"
        [[backend]]
        url = "http://cpu:8000/v1"
        pool = "cpu"
        [pool.cpu]
        output_token_s = 0.08
        """,
    )
    config = read_config(path)
    deployment = parse_deployment("llama-3.1-8b@h100:tp1", engine="vllm")
    assert config.service("main") == expected_service(deployment)
    assert config.service("cpu") == replace(config.expected, output_token_s=0.08)
    assert load_config(path, on="llama-3.1-8b@b200:tp1").expected != config.expected
    with pytest.raises(InputError, match="goes with --on"):
        load_config(None, backends=["http://h/v1"], engine="vllm")


def test_the_expectation_is_the_step_time_model_of_the_deployment() -> None:
    deployment = parse_deployment("llama-3.1-8b@h100:tp1", engine="vllm")
    service, model = expected_service(deployment), deployment.step_time_model
    decode_s = float(deployment.step_time(batch=16, context=1024).expected_s)
    assert service.output_token_s == decode_s
    for prompt_tokens in (256.0, 2048.0):
        prefill_s = float(model.step_time(Step.prefill(1.0, prompt_tokens)).expected_s)
        overhead_s = float(model.request_overhead.seconds(prompt_tokens, decode_s))
        ttft_s = float(service.of(prompt_tokens, 0))
        assert ttft_s == pytest.approx(prefill_s + overhead_s, rel=1e-9)
