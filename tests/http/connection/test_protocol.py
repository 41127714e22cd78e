"""Limits on headers, on time and on what comes after an answer."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from bento_service.http.connection.protocol import BoundedHttpProtocol
from tests.http.byte_client import (
    PATIENCE_S,
    connect,
    expect_refusal,
    is_closed,
    read_answer,
    read_answer_from,
    send_until_closed,
)
from tests.http.connection.serving import serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /%s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
BREW = b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n"
LONG_HEADER = b"GET / HTTP/1.1\r\nX: " + b"x" * 4000


class Impatient(BoundedHttpProtocol):
    max_discarded_bytes = 1_000_000
    header_timeout_s = 0.3
    discard_timeout_s = 0.2


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers `/early` at once, anything else with the number of bytes that its body had."""
    body = b"" if scope["path"] == "/early" else await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@pytest.fixture(scope="module")
def impatient_port() -> Iterator[int]:
    with serving(application, Impatient) as service:
        yield service.port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(application) as service:
        yield service.port


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        pytest.param(LONG_HEADER, 431, "headers_too_large", id="long header"),
        pytest.param(b"GET /" + b"u" * 3000, 431, "headers_too_large", id="long URL"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500, 431, "headers_too_large", id="many headers"),
        pytest.param(b"this is no HTTP\r\n\r\n", 400, "malformed_request", id="no request line"),
        pytest.param(BREW, 400, "malformed_request", id="unknown method"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400, "malformed_request", id="no header"),
        pytest.param(b"GET http://a:port/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request", id="no URL"),
        pytest.param(CHUNKED % b"read" + b"1\r\na\r\nno size\r\n", 400, "malformed_request", id="no chunk"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", 400, "malformed_request", id="TLS"),
    ],
)
def test_a_bad_request_is_a_problem_and_ends_the_connection(
    port: int, sent: bytes, status: int, code: str, is_first: bool
) -> None:
    with connect(port) as client:
        if not is_first:
            client.sendall(GET)
            assert read_answer(client) == b"0"
        client.sendall(sent)
        _, problem = expect_refusal(client, status, code)

    assert problem.get("limit") == (2000 if status == 431 else None)


@pytest.mark.parametrize("bad", [BREW, LONG_HEADER], ids=["no HTTP", "long header"])
def test_a_bad_request_does_not_spoil_the_answer_before_it(port: int, bad: bytes) -> None:
    with connect(port) as client, client.makefile("rb") as file:
        client.sendall(POST % (b"read", 1) + b"a" + bad)
        assert read_answer_from(file) == b"1"
        assert b"200" not in file.read()


def test_a_malformed_body_gets_no_second_answer(port: int) -> None:
    with connect(port) as client, client.makefile("rb") as file:
        client.sendall(CHUNKED % b"early")
        assert read_answer_from(file) == b"0"
        client.sendall(b"no size\r\n")
        assert file.read() == b""


@pytest.mark.parametrize("cut", [1, 1000, 1999, 2000])
@pytest.mark.parametrize(("size", "status"), [(2000, b"200"), (2001, b"431")])
def test_the_limit_of_headers_is_exact_however_they_arrive(port: int, size: int, status: bytes, cut: int) -> None:
    request = GET[:-2] + b"X: " + b"x" * (size - len(GET) - 5) + b"\r\n\r\n"
    with connect(port) as client, client.makefile("rb") as file:
        client.sendall(request[:cut])
        client.sendall(request[cut:])
        assert file.readline().split()[1] == status


@pytest.mark.parametrize(
    ("request_", "is_answered"),
    [
        (b"GET / HTTP/1.1\r\nX: ", False),
        (POST % (b"early", 400_000_000), True),
        (CHUNKED % b"read" + b"1\r\na\r\n0\r\nX: ", False),
        (CHUNKED % b"read" + b"1\r\na\r\n1;", False),
    ],
    ids=["after a refusal", "after an answer", "trailer", "chunk extension"],
)
def test_a_client_that_sends_without_end_is_cut_off(port: int, request_: bytes, is_answered: bool) -> None:
    with connect(port) as client:
        client.sendall(request_)
        if is_answered:
            assert read_answer(client) == b"0"
        assert send_until_closed(client, b"x" * 100_000, pieces=1000) < 400


@pytest.mark.parametrize("is_answered", [False, True], ids=["headers", "after an answer"])
def test_a_client_that_sends_slowly_is_cut_off(impatient_port: int, is_answered: bool) -> None:
    with connect(impatient_port) as client:
        client.sendall(POST % (b"early", 400_000_000) if is_answered else b"GET / HTTP/1.1\r\nX: ")
        if is_answered:
            assert read_answer(client) == b"0"
        assert send_until_closed(client, b"x", pieces=100, pause_s=0.05) < 50


@pytest.mark.parametrize(
    ("answered", "rest"),
    [
        (b"", b""),
        (b"", b"GET / HT"),
        (b"", b"GET / HTTP/1.1\r\nHost:"),
        (GET, b"\r\n"),
        (GET, b"GET / HT"),
        (POST % (b"early", 3), b"abc"),
    ],
    ids=["nothing", "line", "header", "later newline", "later line", "discarded body"],
)
def test_a_connection_without_a_complete_request_is_closed_in_time(
    impatient_port: int, answered: bytes, rest: bytes
) -> None:
    with connect(impatient_port) as client:
        if answered:
            client.sendall(answered)
            assert read_answer(client) == b"0"
        client.sendall(rest)
        assert is_closed(client)


def test_a_body_may_take_longer_than_its_headers(impatient_port: int) -> None:
    with connect(impatient_port) as client:
        client.sendall(POST % (b"read", 2))
        assert send_until_closed(client, b"", pieces=1, pause_s=3 * Impatient.header_timeout_s) == 1
        client.settimeout(PATIENCE_S)
        client.sendall(b"ab")
        assert read_answer(client) == b"2"


def test_an_ordinary_client_reads_its_early_answer_and_goes_on(port: int) -> None:
    with connect(port) as client, client.makefile("rb") as file:
        for _ in range(3):
            client.sendall(POST % (b"early", 900_000) + b"x" * 900_000)
            assert read_answer_from(file) == b"0"
            client.sendall(POST % (b"read", 5) + b"12345")
            assert read_answer_from(file) == b"5"


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6), st.lists(st.integers(1, 4000), max_size=6))
@settings(max_examples=50)
def test_requests_are_answered_in_order_however_they_are_cut(port: int, sizes: list[int], cuts: list[int]) -> None:
    stream = b"".join(POST % (b"read", size) + b"x" * size for size in sizes)
    with connect(port) as client, client.makefile("rb") as file:
        for cut in cuts:
            client.sendall(stream[:cut])
            stream = stream[cut:]
        client.sendall(stream)
        assert [read_answer_from(file) for _ in sizes] == [str(size).encode() for size in sizes]
