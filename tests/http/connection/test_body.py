"""How a body comes through the protocol, and how its loss is told."""

import asyncio
import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from bento_service.errors import ClientGoneError
from bento_service.http.requests.disconnect import CancelOnDisconnect
from tests.http.byte_client import PATIENCE_S, connect, read_answer
from tests.http.connection.serving import serving


@dataclass
class Digesting:
    """Answers with the digest of the body; `/wait` waits for the hang-up instead."""

    waits: threading.Event = field(default_factory=threading.Event)
    has_hung_up: threading.Event = field(default_factory=threading.Event)
    requests: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        digest = hashlib.sha256()
        more_body = True
        while more_body:
            # Lets further pieces come in before the first is taken.
            await asyncio.sleep(0)
            message = await receive()
            digest.update(message["body"])
            more_body = message["more_body"]
        if scope["path"] == "/wait":
            await self.wait(scope)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"64")]})
        await send({"type": "http.response.body", "body": digest.hexdigest().encode()})

    async def wait(self, scope: Scope) -> None:
        try:
            async with CancelOnDisconnect(scope):
                self.waits.set()
                await asyncio.Event().wait()
        except ClientGoneError:
            self.has_hung_up.set()


@pytest.fixture(scope="module")
def application() -> Digesting:
    return Digesting()


@pytest.fixture(scope="module")
def port(application: Digesting) -> Iterator[int]:
    with serving(application) as service:
        yield service.port


@given(pieces=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6), is_cut=st.booleans())
@settings(max_examples=40)
def test_a_body_in_many_pieces_arrives_whole_and_in_order(port: int, pieces: list[bytes], is_cut: bool) -> None:
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
    request = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks]
    with connect(port) as client:
        for data in request if is_cut else [b"".join(request)]:
            client.sendall(data)
        answer = read_answer(client)

    assert answer.decode() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_body_of_megabytes_arrives_whole(port: int) -> None:
    body = bytes(range(256)) * 20_000
    with connect(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        answer = read_answer(client)

    assert answer.decode() == hashlib.sha256(body).hexdigest()


def test_a_lost_connection_cancels_the_running_request(port: int, application: Digesting) -> None:
    with connect(port) as client:
        client.sendall(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        assert application.waits.wait(PATIENCE_S)

    assert application.has_hung_up.wait(PATIENCE_S)


def test_a_connection_lost_with_requests_in_its_pipeline_ends_the_running_one_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = Digesting()
    request = b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
    with serving(application) as service:  # waits for what runs when it ends
        with connect(service.port) as client:
            client.sendall(request * 3)
            assert application.waits.wait(PATIENCE_S)
        assert application.has_hung_up.wait(PATIENCE_S)

    assert [record.getMessage() for record in caplog.records if is_complaint(record)] == []
    assert application.requests == 1


def is_complaint(record: logging.LogRecord) -> bool:
    """Whether the server warns: at which level its logger is, an earlier test may have changed."""
    return record.levelno >= logging.WARNING and record.name.startswith(("asyncio", "uvicorn"))
