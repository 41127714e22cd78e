"""How a body, and the loss of its connection, come through the protocol."""

import asyncio
import hashlib
import logging
import threading
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from bento_service.errors import ClientGoneError
from bento_service.http.requests.disconnect import CancelOnDisconnect
from tests.http.byte_client import PATIENCE_S, connect, read_answer
from tests.http.connection.serving import serving


async def answer_digest(scope: Scope, receive: Receive, send: Send) -> None:
    digest = hashlib.sha256()
    async for piece in Request(scope, receive).stream():
        digest.update(piece)
        # Lets further pieces come in before the next is taken.
        await asyncio.sleep(0)
    await PlainTextResponse(digest.hexdigest())(scope, receive, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(answer_digest) as service:
        yield service.port


@given(pieces=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6), is_cut=st.booleans())
@example(pieces=[bytes(range(256)) * 20_000], is_cut=False)
@settings(max_examples=40)
def test_a_body_in_many_pieces_arrives_whole_and_in_order(port: int, pieces: list[bytes], is_cut: bool) -> None:
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
    request = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks]
    with connect(port) as client:
        for data in request if is_cut else [b"".join(request)]:
            client.sendall(data)
        answer = read_answer(client)

    assert answer.decode() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_lost_connection_ends_its_running_request(caplog: pytest.LogCaptureFixture) -> None:
    waits, has_hung_up = threading.Event(), threading.Event()
    paths: list[str] = []

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await Request(scope, receive).body()
        try:
            async with CancelOnDisconnect(scope):
                waits.set()
                await asyncio.Event().wait()
        except ClientGoneError:
            has_hung_up.set()

    with serving(wait) as service:  # leaving the block waits for open requests
        with connect(service.port) as client:
            client.sendall(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx" * 3)
            assert waits.wait(PATIENCE_S)
        assert has_hung_up.wait(PATIENCE_S)

    assert [record.getMessage() for record in caplog.records if is_complaint(record)] == []
    assert paths == ["/wait"]


def is_complaint(record: logging.LogRecord) -> bool:
    """Whether the server warns: at which level its logger is, an earlier test may have changed."""
    return record.levelno >= logging.WARNING and record.name.startswith(("asyncio", "uvicorn"))
