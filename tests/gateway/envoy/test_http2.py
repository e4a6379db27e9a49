"""Our gRPC server against grpcio's client: what one sends the other gets, whatever its size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.gateway.envoy.http2 import PREFACE, RESOURCE_EXHAUSTED, RpcConnection, Stream

grpc = pytest.importorskip("grpc", reason="needs the extra envoy: pip install headway[envoy]")

MAX_MESSAGE_BYTES = 8 * 2**20
ECHO, BROKEN = b"/test/Echo", b"/test/Broken"


class Echo:
    """Says everything twice."""

    ended: list[int]

    def __init__(self, stream: Stream, ended: list[int]) -> None:
        self._stream = stream
        self._ended = ended

    def message(self, data: bytes) -> None:
        self._stream.send(data)
        self._stream.send(data)

    def closed(self) -> None:
        self._ended.append(self._stream.number)


class Broken(Echo):
    def message(self, data: bytes) -> None:
        raise RuntimeError("no message pleases it")


class Server:
    def __init__(self) -> None:
        self.connections: set[RpcConnection] = set()
        self.ended: list[int] = []
        self.port = 0

    def connection(self) -> RpcConnection:
        services: dict[bytes, Callable[[Stream], Echo]] = {
            ECHO: lambda stream: Echo(stream, self.ended),
            BROKEN: lambda stream: Broken(stream, self.ended),
        }
        return RpcConnection(
            services, self.connections, max_streams=1000, max_message_bytes=MAX_MESSAGE_BYTES
        )


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server.connection, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()
    for connection in list(server.connections):
        connection.shut()
    await asyncio.sleep(0.01)


def with_client(work: Callable[[Server, Any], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with serving() as server:
            options = [("grpc.max_receive_message_length", -1)]
            address = f"127.0.0.1:{server.port}"
            async with grpc.aio.insecure_channel(address, options=options) as channel:
                await work(server, channel)

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


def test_messages_of_all_sizes_come_back() -> None:
    sizes = [0, 1, 5, 16_384, 65_531, 300_000, 5_000_000, 7]

    async def work(server: Server, channel: Any) -> None:
        call = channel.stream_stream("/test/Echo")()
        for size in sizes:
            message = bytes([size % 251]) * size
            await call.write(message)
            assert [await call.read(), await call.read()] == [message, message]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK
        assert server.ended == [1]

    with_client(work)


def test_many_calls_at_once_share_a_connection() -> None:
    async def ask(channel: Any, number: int) -> None:
        call = channel.stream_stream("/test/Echo")(
            metadata=[("x-number", f"{number}-{'long' * (number % 50)}")]
        )
        message = number.to_bytes(4, "big") * (1 + number * 97 % 5000)
        await call.write(message)
        assert [await call.read(), await call.read()] == [message, message]
        await call.done_writing()
        assert await call.code() == grpc.StatusCode.OK

    async def work(server: Server, channel: Any) -> None:
        await asyncio.gather(*(ask(channel, number) for number in range(200)))
        assert len(server.ended) == 200
        assert len(server.connections) == 1

    with_client(work)


def test_a_cancelled_call_is_told_so_and_the_others_go_on() -> None:
    async def work(server: Server, channel: Any) -> None:
        gone, stays = channel.stream_stream("/test/Echo")(), channel.stream_stream("/test/Echo")()
        for call in (gone, stays):
            await call.write(b"x")
            await call.read()
        gone.cancel()
        await until(lambda: len(server.ended) == 1)
        await stays.write(b"y")
        assert [await stays.read() for _ in range(3)] == [b"x", b"y", b"y"]

    with_client(work)


async def code_of(channel: Any, path: str, message: bytes) -> Any:
    """The server's code of a call.

    It may end before all is written: then grpcio's client says INTERNAL of itself, and is asked
    again.
    """
    code = None
    for _ in range(5):
        call = channel.stream_stream(path)()
        wrote = False
        with suppress(grpc.aio.AioRpcError):
            await call.write(message)
            wrote = True
        code = await call.code()
        if wrote or code is not grpc.StatusCode.INTERNAL:
            return code
    return code


def test_errors_are_those_of_one_call() -> None:
    async def work(server: Server, channel: Any) -> None:
        for path, message, code in (
            ("/test/Nothing", b"x", grpc.StatusCode.UNIMPLEMENTED),
            ("/test/Broken", b"x", grpc.StatusCode.INTERNAL),
            ("/test/Echo", b"x" * (MAX_MESSAGE_BYTES + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            assert await code_of(channel, path, message) == code, path
        assert code.value[0] == RESOURCE_EXHAUSTED

        call = channel.stream_stream("/test/Echo")()
        await call.write(b"still there")
        assert await call.read() == b"still there"

    with_client(work)


@settings(max_examples=25, deadline=None)
@given(st.booleans(), st.lists(st.tuples(
    st.integers(0, 12), st.integers(0, 255), st.integers(0, 7), st.binary(max_size=50)
), max_size=8))  # fmt: skip
def test_any_bytes_end_in_nothing_worse_than_a_closed_connection(
    greets: bool, frames: list[tuple[int, int, int, bytes]]
) -> None:
    data = PREFACE if greets else b""
    for kind, flags, number, payload in frames:
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big")
        data += head + payload

    async def main() -> None:
        async with serving() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            with suppress(ConnectionError):  # a connection that is closed may be reset
                writer.write(data)
                writer.write_eof()
                await asyncio.wait_for(reader.read(), 20)
            writer.close()
            await until(lambda: not server.connections)

    asyncio.run(main())
