"""What a connection does with a request that is rejected by its headers, at once or after a while."""

import asyncio
import gc
import json
import select
import weakref
from collections.abc import Iterator
from functools import partial

import pytest
import uvicorn
import uvloop
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from bento_service.http.connection.early_rejection import EarlyRejection
from bento_service.http.connection.protocol import BoundedHttpProtocol
from bento_service.http.connection.raw_problem import RawProblem
from bento_service.http.responses.problems import build_problem
from tests.http.byte_client import connect, expect_refusal, is_closed, read_answer_from
from tests.http.connection.serving import serving

PROBLEM = RawProblem(build_problem("overloaded", "Too much.", "another-id", retry_after_s=1))
LONG_PROBLEM = RawProblem(build_problem("overloaded", "Too much. " * 10_000, "another-id"))
DELAYS_S = {"/now": 0.0, "/now-at-length": 0.0, "/now-at-the-end": 0.0, "/delayed": 0.2, "/delayed-for-long": 60.0}


def reject(scope: Scope) -> EarlyRejection | None:
    path = scope["path"]
    if path not in DELAYS_S:
        return None
    problem = LONG_PROBLEM if path == "/now-at-length" else PROBLEM
    return EarlyRejection(problem, "the-id", DELAYS_S[path], lambda: path == "/now-at-the-end")


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await Request(scope, receive).body()
    await Response(b"answered")(scope, receive, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(answer, BoundedHttpProtocol, reject_early=reject) as service:
        yield service.port


def request(path: str, body: bytes = b"an image", headers: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("path", ["/now", "/delayed"])
@pytest.mark.parametrize("size", [0, 8, 3_000_000])
def test_the_connection_goes_on_after_a_rejection(port: int, path: str, size: int) -> None:
    with connect(port) as client, client.makefile("rb") as answers:
        for _ in range(2):
            client.sendall(request(path, bytes(size)))
            assert json.loads(read_answer_from(answers))["code"] == "overloaded"
        client.sendall(request("/"))
        assert read_answer_from(answers) == b"answered"


@pytest.mark.parametrize("path", ["/now", "/delayed"])
def test_requests_that_are_sent_ahead_are_answered_in_their_order(port: int, path: str) -> None:
    with connect(port) as client, client.makefile("rb") as answers:
        client.sendall(request("/") + request(path) + request(path) + request("/"))
        found = [read_answer_from(answers) for _ in range(4)]

    assert [b"answered" in body for body in found] == [True, False, False, True]


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/now", "Connection: close\r\n"), ("/delayed", "Connection: close\r\n"), ("/now-at-the-end", "")],
)
def test_a_rejection_may_end_the_connection(port: int, path: str, headers: str) -> None:
    with connect(port) as client:
        client.sendall(request(path, headers=headers))
        answered, problem = expect_refusal(client, 429, "overloaded")

    assert (answered["retry-after"], problem["request_id"]) == ("1", "the-id")


@pytest.mark.parametrize(
    "stream",
    [
        memoryview(request("/now-at-length", bytes(20_000)) * 2000),
        memoryview(request("/delayed-for-long", bytes(64_000_000))),
    ],
    ids=["answers that are not read", "a delayed rejection's body"],
)
def test_neither_answers_nor_bodies_pile_up(port: int, stream: memoryview) -> None:
    with connect(port) as client:
        client.setblocking(False)
        sent = 0
        # Ends once the buffers of both sockets are full: a few megabytes of many times as much.
        while sent < len(stream) and select.select([], [client], [], 0.5)[1]:
            sent += client.send(stream[sent : sent + 100_000])

        assert sent < len(stream)


def test_a_delayed_rejection_is_sent_at_once_when_the_server_stops() -> None:
    with (
        serving(answer, BoundedHttpProtocol, reject_early=reject) as service,
        connect(service.port) as client,
    ):
        client.sendall(request("/delayed-for-long"))
        with connect(service.port) as other, other.makefile("rb") as answers:
            # Answered after the first request has come in.
            other.sendall(request("/"))
            assert read_answer_from(answers) == b"answered"
        service.server.should_exit = True
        with client.makefile("rb") as answers:
            assert json.loads(read_answer_from(answers))["code"] == "overloaded"
        assert is_closed(client)


@pytest.mark.parametrize("path", ["/", "/now"])
def test_a_lost_connection_leaves_no_reference_cycle(path: str) -> None:
    class Seen(BoundedHttpProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
            super().connection_made(transport)
            seen.append(weakref.ref(self))

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    async def talk() -> None:
        config = uvicorn.Config(answer, log_config=None, lifespan="off")
        config.load()
        make = partial(Seen, config, ServerState(), {}, reject_early=reject)
        server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(request(path))
            await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await lost.wait()

    lost = asyncio.Event()
    seen: list[weakref.ref[Seen]] = []
    gc.disable()
    try:
        uvloop.run(talk())
        assert [protocol() for protocol in seen] == [None]
    finally:
        gc.enable()


def test_a_disconnect_during_a_delay_does_not_affect_others(port: int) -> None:
    with connect(port) as client:
        client.sendall(request("/delayed"))
    with connect(port) as client, client.makefile("rb") as answers:
        client.sendall(request("/delayed") + request("/"))
        assert json.loads(read_answer_from(answers))["code"] == "overloaded"
        assert read_answer_from(answers) == b"answered"
