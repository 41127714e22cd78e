"""What a connection does with a request that is refused by its headers, at once or after a while."""

import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bento_service.http.connection import BoundedHttpProtocol
from bento_service.http.early_refusal import EarlyRefusal
from bento_service.http.problems import build_problem
from bento_service.http.raw_problem import RawProblem
from tests.http.byte_client import PATIENCE_S, connect, is_closed, read_answer_from

PROBLEM = RawProblem(build_problem("overloaded", "Too much.", "another-id", retry_after_s=1))
HOLDS_S = {"/refused": 0.0, "/held": 0.2, "/held-for-long": 60.0}


def refuse(scope: Scope) -> EarlyRefusal | None:
    return EarlyRefusal(PROBLEM, "the-id", HOLDS_S[scope["path"]]) if scope["path"] in HOLDS_S else None


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await Response(b"answered")(scope, receive, send)


@contextmanager
def serve() -> Iterator[tuple[int, uvicorn.Server]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        protocol = partial(BoundedHttpProtocol, refuse_early=refuse)
        config = uvicorn.Config(answer, http=protocol, log_config=None, lifespan="off")  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1], server
        server.should_exit = True
        thread.join(PATIENCE_S)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serve() as (port, _):
        yield port


def request(path: str, body: bytes = b"an image", headers: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("path", ["/refused", "/held"])
@pytest.mark.parametrize("size", [0, 8, 3_000_000])
def test_the_connection_goes_on_after_a_refusal_whatever_the_size_of_its_body(port: int, path: str, size: int) -> None:
    with connect(port) as client, client.makefile("rb") as answers:
        for _ in range(2):
            client.sendall(request(path, bytes(size)))
            assert json.loads(read_answer_from(answers))["code"] == "overloaded"
        client.sendall(request("/"))
        assert read_answer_from(answers) == b"answered"


@pytest.mark.parametrize("path", ["/refused", "/held"])
def test_requests_that_are_sent_ahead_are_answered_in_their_order(port: int, path: str) -> None:
    with connect(port) as client, client.makefile("rb") as answers:
        client.sendall(request("/") + request(path) + request(path) + request("/"))
        found = [read_answer_from(answers) for _ in range(4)]

    assert [b"answered" in body for body in found] == [True, False, False, True]


@pytest.mark.parametrize("path", ["/refused", "/held"])
def test_a_refused_client_that_wants_no_further_answer_gets_the_end_of_the_connection(port: int, path: str) -> None:
    with connect(port) as client, client.makefile("rb") as answers:
        client.sendall(request(path, headers="Connection: close\r\n"))
        lines = list(iter(answers.readline, b"\r\n"))
        assert b"connection: close\r\n" in lines
        assert b"retry-after: 1\r\n" in lines
        assert json.loads(answers.read())["request_id"] == "the-id"


def test_nothing_more_is_taken_of_a_request_whose_refusal_is_held(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"POST /held-for-long HTTP/1.1\r\nHost: a\r\nContent-Length: 64000000\r\n\r\n")
        client.setblocking(False)
        sent = 0
        # Ends once the buffers of both sockets are full, a few megabytes; 64 would be many times as much.
        while sent < 64_000_000 and select.select([], [client], [], 0.5)[1]:
            sent += client.send(bytes(100_000))

        assert sent < 64_000_000


def test_a_held_refusal_is_sent_at_once_as_the_server_stops() -> None:
    with serve() as (port, server), connect(port) as client:
        client.sendall(request("/held-for-long"))
        with connect(port) as other, other.makefile("rb") as answers:
            # Answered after the first request has come in.
            other.sendall(request("/"))
            assert read_answer_from(answers) == b"answered"
        server.should_exit = True
        with client.makefile("rb") as answers:
            assert json.loads(read_answer_from(answers))["code"] == "overloaded"
        assert is_closed(client)


def test_a_client_that_leaves_while_its_refusal_is_held_disturbs_nobody(port: int) -> None:
    with connect(port) as client:
        client.sendall(request("/held"))
    with connect(port) as client, client.makefile("rb") as answers:
        client.sendall(request("/held") + request("/"))
        assert json.loads(read_answer_from(answers))["code"] == "overloaded"
        assert read_answer_from(answers) == b"answered"
