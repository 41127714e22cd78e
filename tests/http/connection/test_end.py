"""How a connection ends: after an answer that says so, and with a server that stops."""

import asyncio
import http.client
import logging
import select
import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bento_service.http.connection.protocol import BoundedHttpProtocol
from bento_service.http.in_flight import InFlightRequests
from tests.http.byte_client import PATIENCE_S, connect, is_closed, read_answer_from, send_until_closed
from tests.http.connection.serving import Serving, serving

BODY_BYTES = 5_000_000
ANSWER_BYTES = 50_000_000
"""More than what the operating system keeps for a client that does not read."""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Bounded(BoundedHttpProtocol):
    max_discarded_bytes = 20_000_000
    header_timeout_s = discard_timeout_s = 60.0
    stop_timeout_s = 0.2


class LongStop(Bounded):
    stop_timeout_s = PATIENCE_S


class Impatient(Bounded):
    discard_timeout_s = 0.2


refuse_politely = Response(b"refused", 503)
"""Answers before it has received anything."""
refuse = Response(b"refused", 503, {"Connection": "close"})
"""The same, and ends the connection."""
answer_at_length = Response(bytes(ANSWER_BYTES))


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


def test_the_headers_of_an_answer_leave_with_its_body_so_that_a_killed_process_sends_all_or_nothing() -> None:
    clients: list[socket.socket] = []
    readable: list[socket.socket] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        readable.extend(select.select(clients, [], [], 0)[0])
        await send({"type": "http.response.body", "body": b"done"})

    with serving(answer) as service, connect(service.port) as client:
        clients.append(client)
        client.sendall(GET)

        assert client.recv(65_536).endswith(b"\r\n\r\ndone")
        assert readable == []


def test_headers_do_not_wait_for_a_body_that_comes_later() -> None:
    is_read = asyncio.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await is_read.wait()
        await send({"type": "http.response.body", "body": b"done"})

    with serving(answer) as service, connect(service.port) as client:
        client.sendall(GET)

        assert client.recv(65_536).endswith(b"\r\n\r\n")
        service.loop.call_soon_threadsafe(is_read.set)
        assert client.recv(4) == b"done"


@pytest.mark.parametrize("piece_bytes", [BODY_BYTES, 65_536, 14_000, None])
def test_a_client_that_still_sends_reads_the_answer(piece_bytes: int | None) -> None:
    with serving(refuse, Bounded) as service:
        for _ in range(5):
            with connect(service.port) as client:
                begin(client, BODY_BYTES)
                for start in range(0, BODY_BYTES, piece_bytes) if piece_bytes else ():
                    client.sendall(bytes(min(piece_bytes or 0, BODY_BYTES - start)))
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


def test_a_request_behind_the_last_one_is_not_answered() -> None:
    with serving(refuse, Bounded) as service, connect(service.port) as client:
        client.sendall(GET + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")

        with client.makefile("rb") as file:
            assert file.read().count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("app", "body_bytes"),
    [(answer_at_length, 0), (refuse, BODY_BYTES), (refuse_politely, BODY_BYTES), (refuse, None)],
    ids=["does not read", "goes on sending", "goes on sending after an answer", "sends nothing"],
)
def test_a_stopping_server_waits_only_briefly_for_a_client(app: ASGIApp, body_bytes: int | None) -> None:
    with serving(app, Bounded) as service, connect(service.port) as client:
        if body_bytes is not None:
            begin(client, body_bytes)
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


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("end", ["read", "closed", "ended"])
def test_a_request_is_open_until_its_answer_is_read_or_lost(end: str, loop: str) -> None:
    requests = InFlightRequests(answer_at_length)
    with serving(requests, Bounded, loop=loop) as service, connect(service.port) as client:
        begin(client, 0)
        client.recv(1)
        finishing = asyncio.run_coroutine_threadsafe(requests.finish(), service.loop)
        service.run(turns)
        assert not finishing.done()
        if end == "ended":
            assert end_all(service, requests) == 1
        elif end == "closed":
            client.close()
        else:
            with client.makefile("rb") as file:
                assert len(read_answer_from(file)) == ANSWER_BYTES

        finishing.result(PATIENCE_S)


def test_connections_that_are_lost_do_not_end_the_wait_for_another() -> None:
    requests = InFlightRequests(answer_at_length)
    with serving(requests, Bounded, loop="uvloop") as service, ExitStack() as open_clients:
        clients = [open_clients.enter_context(connect(service.port)) for _ in range(6)]
        for client in clients:
            begin(client, 0)
            client.recv(1)
        finishing = asyncio.run_coroutine_threadsafe(requests.finish(), service.loop)
        service.run(turns)
        reader, *lost = clients
        for client in lost:
            client.close()
        with reader.makefile("rb") as file:
            assert len(read_answer_from(file)) == ANSWER_BYTES

        finishing.result(PATIENCE_S)


@pytest.mark.parametrize("app", [answer_at_length, answer_in_part], ids=["whole", "in part"])
def test_ending_all_aborts_and_counts_an_answer_that_is_not_read(
    app: ASGIApp, caplog: pytest.LogCaptureFixture
) -> None:
    requests = InFlightRequests(app)
    with serving(requests, Bounded) as service, connect(service.port) as client:
        begin(client, 0)
        client.recv(1)
        assert end_all(service, requests) == 1
        with client.makefile("rb") as file, suppress(ConnectionError):
            assert len(file.read()) < ANSWER_BYTES
        assert service.stop()

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_request_behind_an_unread_answer_is_ended_with_it() -> None:
    async def answer_first(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await answer_at_length(scope, receive, send)
        else:
            waits.set()
            await asyncio.Event().wait()

    waits = threading.Event()
    requests = InFlightRequests(answer_first)
    with serving(requests, Bounded) as service, connect(service.port) as client:
        client.sendall(GET + GET.replace(b"/", b"/wait", 1))
        assert waits.wait(PATIENCE_S)

        assert end_all(service, requests) == 1
        assert service.stop()


def test_applications_side_by_side_are_ended_together() -> None:
    requests = InFlightRequests(refuse)
    with serving(requests.wrap(answer_at_length), Bounded) as service, connect(service.port) as client:
        begin(client, 0)
        client.recv(1)

        assert end_all(service, requests) == 1


async def turns() -> None:
    """Lets the loop do what is due."""
    for _ in range(5):
        await asyncio.sleep(0)


def end_all(service: Serving, requests: InFlightRequests) -> int:
    async def end() -> int:
        return requests.end_all()

    return service.run(end)
