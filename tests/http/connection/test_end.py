"""How a connection ends: after an answer that says so, and with a server that stops."""

import asyncio
import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from bento_service.http.connection.protocol import BoundedHttpProtocol
from bento_service.http.in_flight import InFlightRequests
from tests.http.byte_client import PATIENCE_S, connect, is_closed, send_until_closed
from tests.http.connection.serving import serving

BODY_BYTES = 5_000_000
LARGE_ANSWER = bytes(50_000_000)
"""More than what the operating system keeps for a client that does not read."""


class Bounded(BoundedHttpProtocol):
    max_discarded_bytes = 20_000_000
    header_timeout_s = discard_timeout_s = 60.0
    stop_timeout_s = 0.2


class LongStop(Bounded):
    stop_timeout_s = PATIENCE_S


class Impatient(Bounded):
    discard_timeout_s = 0.2


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before it has received anything, and ends the connection."""
    headers = [(b"content-length", b"7"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"refused"})


async def refuse_politely(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before it has received anything."""
    await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"7")]})
    await send({"type": "http.response.body", "body": b"refused"})


async def answer_at_length(scope: Scope, receive: Receive, send: Send) -> None:
    """Hands over more than any client takes at once."""
    size = str(len(LARGE_ANSWER)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", size)]})
    await send({"type": "http.response.body", "body": LARGE_ANSWER})


async def answer_in_part(scope: Scope, receive: Receive, send: Send) -> None:
    """Begins an answer, and never ends it."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"7")]})
    await send({"type": "http.response.body", "body": b"re", "more_body": True})
    await asyncio.Event().wait()


def begin(client: socket.socket, body_bytes: int) -> None:
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % body_bytes)


def read_whole(client: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.read()


@pytest.mark.parametrize("piece_bytes", [BODY_BYTES, 65_536, 14_000])
def test_a_client_whose_connection_ends_while_it_sends_can_send_all_and_read_the_answer(piece_bytes: int) -> None:
    with serving(refuse, Bounded) as service:
        for _ in range(5):
            with connect(service.port) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                begin(client, BODY_BYTES)
                for start in range(0, BODY_BYTES, piece_bytes):
                    client.sendall(bytes(min(piece_bytes, BODY_BYTES - start)))
                assert read_whole(client) == (503, b"refused")
                assert is_closed(client)


def test_a_client_that_waits_with_its_body_learns_that_the_connection_has_ended() -> None:
    with serving(refuse, Bounded) as service, connect(service.port) as client:
        begin(client, BODY_BYTES)

        assert read_whole(client) == (503, b"refused")
        assert is_closed(client)


def test_what_a_refused_client_goes_on_to_send_is_bounded_in_bytes() -> None:
    with serving(refuse, Bounded) as service, connect(service.port) as client:
        begin(client, 400_000_000)

        assert send_until_closed(client, bytes(1_000_000), pieces=400) < 200


def test_what_a_refused_client_goes_on_to_send_is_bounded_in_time() -> None:
    with serving(refuse, Impatient) as service, connect(service.port) as client:
        begin(client, 400_000_000)
        tick = threading.Event()

        give_up_s = time.monotonic() + PATIENCE_S
        with pytest.raises(ConnectionError):
            while time.monotonic() < give_up_s:
                client.sendall(b"x")
                tick.wait(0.02)


def test_a_request_behind_one_that_ends_the_connection_is_not_answered() -> None:
    with serving(refuse, Bounded) as service, connect(service.port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")

        with client.makefile("rb") as file:
            assert file.read().count(b"HTTP/1.1") == 1


def test_a_stopping_server_waits_only_briefly_for_a_client_that_does_not_read() -> None:
    with serving(answer_at_length, Bounded) as service, connect(service.port) as client:
        begin(client, 0)
        client.recv(1)

        assert service.stop()


@pytest.mark.parametrize("app", [refuse, refuse_politely])
def test_a_stopping_server_waits_only_briefly_for_a_client_that_goes_on_sending(app: ASGIApp) -> None:
    with serving(app, Bounded) as service, connect(service.port) as client:
        begin(client, BODY_BYTES)
        client.recv(1)

        assert service.stop()


def test_a_new_connection_gets_its_answer_from_a_stopping_server() -> None:
    with serving(refuse_politely, LongStop) as service, connect(service.port) as client:
        stopping = threading.Thread(target=service.stop)
        with connect(service.port) as heard:
            begin(heard, 0)
            assert read_whole(heard) == (503, b"refused")
        stopping.start()
        with suppress(ConnectionError):
            while True:
                connect(service.port).close()
        begin(client, 0)

        assert read_whole(client) == (503, b"refused")
        assert is_closed(client)
        stopping.join(PATIENCE_S)


def test_a_stopping_server_waits_only_briefly_for_a_client_that_sends_nothing() -> None:
    with serving(refuse, Bounded) as service, connect(service.port):
        assert service.stop()


def test_a_request_is_open_until_its_client_has_read_the_answer() -> None:
    requests = InFlightRequests(answer_at_length)
    with serving(requests, Bounded) as service, connect(service.port) as client:
        begin(client, 0)
        client.recv(1)
        finishing = asyncio.run_coroutine_threadsafe(requests.finish(), service.loop)
        service.run(turns)
        assert not finishing.done()
        with client.makefile("rb") as file:
            while file.readline() != b"\r\n":
                """A header."""
            assert len(file.read(len(LARGE_ANSWER))) == len(LARGE_ANSWER)

        finishing.result(PATIENCE_S)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("is_ended", [False, True], ids=["the client goes", "all are ended"])
def test_an_answer_whose_connection_is_lost_is_waited_for_no_longer(is_ended: bool, loop: str) -> None:
    requests = InFlightRequests(answer_at_length)
    with serving(requests, Bounded, loop=loop) as service, connect(service.port) as client:
        begin(client, 0)
        client.recv(1)
        finishing = asyncio.run_coroutine_threadsafe(requests.finish(), service.loop)
        service.run(turns)
        assert not finishing.done()
        if is_ended:
            assert service.run(ending(requests)) == 1
        else:
            client.close()

        finishing.result(PATIENCE_S)


@pytest.mark.parametrize("app", [answer_at_length, answer_in_part], ids=["whole", "in part"])
def test_ending_all_aborts_and_counts_an_answer_that_is_not_read(
    app: ASGIApp, caplog: pytest.LogCaptureFixture
) -> None:
    requests = InFlightRequests(app)
    with serving(requests, Bounded) as service, connect(service.port) as client:
        begin(client, 0)
        client.recv(1)
        assert service.run(ending(requests)) == 1
        with client.makefile("rb") as file, suppress(ConnectionError):
            assert len(file.read()) < len(LARGE_ANSWER)
        assert service.stop()

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_request_behind_an_answer_that_nobody_reads_is_ended_with_it() -> None:
    async def answer_first(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await answer_at_length(scope, receive, send)
        else:
            waits.set()
            await asyncio.Event().wait()

    waits = threading.Event()
    requests = InFlightRequests(answer_first)
    with serving(requests, Bounded) as service, connect(service.port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        assert waits.wait(PATIENCE_S)

        assert service.run(ending(requests)) == 1
        assert service.stop()


def test_applications_side_by_side_are_waited_for_and_ended_together() -> None:
    requests = InFlightRequests(refuse)
    with serving(requests.wrap(answer_at_length), Bounded) as service, connect(service.port) as client:
        begin(client, 0)
        client.recv(1)

        assert service.run(ending(requests)) == 1


async def turns() -> None:
    """Lets the loop do what is due."""
    for _ in range(5):
        await asyncio.sleep(0)


def ending(requests: InFlightRequests) -> Callable[[], Coroutine[None, None, int]]:
    async def end() -> int:
        return requests.end_all()

    return end
