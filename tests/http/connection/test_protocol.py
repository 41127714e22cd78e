"""Limits on headers, on time and on what comes after an answer."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from bento_service.http.connection.protocol import BoundedHttpProtocol
from bento_service.http.requests.headers import REQUEST_ID_HEADER
from tests.http.byte_client import (
    PATIENCE_S,
    connect,
    is_closed,
    read_answer,
    read_answer_from,
    read_refusal,
    send_until_closed,
)
from tests.http.connection.serving import serving

HEADERS = b"POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


class Impatient(BoundedHttpProtocol):
    max_header_bytes = 2000
    max_discarded_bytes = 1_000_000
    header_timeout_s = 1.0
    discard_timeout_s = 0.2


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers `/early` at once, anything else with the number of bytes that its body had."""
    count = 0
    while scope["path"] != "/early":
        message = await receive()
        count += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    body = str(count).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def impatient_port() -> Iterator[int]:
    with serving(application, Impatient) as service:
        yield service.port


@pytest.fixture(scope="module")
def patient_port() -> Iterator[int]:
    with serving(application) as service:
        yield service.port


def test_headers_without_end_are_refused_with_a_problem_and_the_connection_closed(patient_port: int) -> None:
    with connect(patient_port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 2000)
        status_line, headers, problem = read_refusal(client)

    assert status_line == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert problem["request_id"] == headers[REQUEST_ID_HEADER.lower()]
    assert (problem["status"], problem["code"], problem["limit"]) == (431, "headers_too_large", 2000)


@pytest.mark.parametrize(
    "malformed",
    [
        b"this is no HTTP\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET http://a:port/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nno size\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=["no request line", "unknown method", "no header", "no URL", "no chunk", "TLS"],
)
def test_bytes_that_are_no_http_get_a_problem_and_the_connection_is_closed(patient_port: int, malformed: bytes) -> None:
    with connect(patient_port) as client:
        client.sendall(malformed)
        status_line, headers, problem = read_refusal(client)

    assert status_line == b"HTTP/1.1 400 Bad Request\r\n"
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert problem["request_id"] == headers[REQUEST_ID_HEADER.lower()]
    assert (problem["status"], problem["code"]) == (400, "malformed_request")


def test_what_is_no_http_is_refused_after_an_answer_too(patient_port: int) -> None:
    with connect(patient_port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with client.makefile("rb") as file:
            assert read_answer_from(file) == b"0"
        client.sendall(b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_refusal(client)[2]["code"] == "malformed_request"


def test_a_malformed_piece_of_a_body_that_is_answered_gets_no_second_answer(patient_port: int) -> None:
    with connect(patient_port) as client, client.makefile("rb") as file:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert read_answer_from(file) == b"0"
        client.sendall(b"no size\r\n")
        assert file.read() == b""


def test_what_is_no_http_behind_a_request_still_being_answered_does_not_spoil_its_answer(patient_port: int) -> None:
    with connect(patient_port) as client, client.makefile("rb") as file:
        client.sendall(HEADERS % (b"read", 1) + b"a" + b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer_from(file) == b"1"
        assert file.read() == b""


def test_headers_of_the_limit_pass_and_one_byte_more_does_not_however_they_arrive(patient_port: int) -> None:
    for size, status in ((2000, b"200"), (2001, b"431")):
        for cut in (1, 1000, 1999, 2000):
            head = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * size
            request = head[: size - 4] + b"\r\n\r\n"
            assert len(request) == size
            with connect(patient_port) as client, client.makefile("rb") as file:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.sendall(request[:cut])
                client.sendall(request[cut:])
                assert file.readline().split()[1] == status


def test_a_client_that_goes_on_after_the_refusal_is_cut_off(patient_port: int) -> None:
    with connect(patient_port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert send_until_closed(client, b"x" * 100_000, pieces=1000) < 200


def test_a_long_url_and_many_small_headers_are_bounded_alike(patient_port: int) -> None:
    for endless in (b"GET /" + b"u" * 3000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500):
        with connect(patient_port) as client, client.makefile("rb") as file:
            client.sendall(endless)
            assert file.readline().split()[1] == b"431"


def test_the_headers_of_a_later_request_are_bounded_too(patient_port: int) -> None:
    with connect(patient_port) as client, client.makefile("rb") as file:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer_from(file) == b"0"
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 2000)
        assert file.readline().split()[1] == b"431"


@pytest.mark.parametrize("half", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost:"])
def test_headers_that_are_not_complete_in_time_close_the_connection(impatient_port: int, half: bytes) -> None:
    with connect(impatient_port) as client:
        client.sendall(half)
        assert is_closed(client)


def test_slow_headers_do_not_extend_their_time_limit(impatient_port: int) -> None:
    with connect(impatient_port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert send_until_closed(client, b"x", pieces=100, pause_s=0.05) < 50


@pytest.mark.parametrize("half", [b"\r\n", b"GET / HT"])
def test_half_a_further_request_closes_the_connection_in_time(impatient_port: int, half: bytes) -> None:
    with connect(impatient_port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer(client) == b"0"
        client.sendall(half)
        assert is_closed(client)


def test_a_body_may_take_longer_than_its_headers(impatient_port: int) -> None:
    with connect(impatient_port) as client:
        client.sendall(HEADERS % (b"read", 2))
        assert send_until_closed(client, b"", pieces=1, pause_s=2.0) == 1
        client.settimeout(PATIENCE_S)
        client.sendall(b"ab")
        assert read_answer(client) == b"2"


def test_an_ordinary_client_reads_its_early_answer_and_goes_on(patient_port: int) -> None:
    with connect(patient_port) as client, client.makefile("rb") as file:
        for _ in range(3):
            client.sendall(HEADERS % (b"early", 900_000) + b"x" * 900_000)
            assert read_answer_from(file) == b"0"
            client.sendall(HEADERS % (b"read", 5) + b"12345")
            assert read_answer_from(file) == b"5"


def test_what_is_sent_after_an_answer_is_bounded_in_bytes(patient_port: int) -> None:
    with connect(patient_port) as client:
        client.sendall(HEADERS % (b"early", 400_000_000))
        assert read_answer(client) == b"0"
        assert send_until_closed(client, b"x" * 100_000, pieces=1000) < 200


def test_what_is_sent_after_an_answer_is_bounded_in_time(impatient_port: int) -> None:
    with connect(impatient_port) as client:
        client.sendall(HEADERS % (b"early", 400_000_000))
        assert read_answer(client) == b"0"
        assert send_until_closed(client, b"x", pieces=100, pause_s=0.05) < 50


def test_a_connection_left_open_after_a_discarded_body_is_closed_in_time(impatient_port: int) -> None:
    with connect(impatient_port) as client:
        client.sendall(HEADERS % (b"early", 3))
        assert read_answer(client) == b"0"
        client.sendall(b"abc")
        assert is_closed(client)


@pytest.mark.parametrize("endless", [b"0\r\nX: ", b"1;"], ids=["trailer", "chunk extension"])
def test_what_surrounds_the_pieces_of_a_body_is_bounded(patient_port: int, endless: bytes) -> None:
    with connect(patient_port) as client:
        client.sendall(b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n" + endless)
        assert send_until_closed(client, b"x" * 2000, pieces=20_000) < 20_000


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6), st.lists(st.integers(1, 4000), max_size=6))
@settings(max_examples=50)
def test_requests_are_answered_in_order_however_their_bytes_are_cut(
    patient_port: int, sizes: list[int], cuts: list[int]
) -> None:
    stream = b"".join(HEADERS % (b"read", size) + b"x" * size for size in sizes)
    with connect(patient_port) as client, client.makefile("rb") as file:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in cuts:
            client.sendall(stream[:cut])
            stream = stream[cut:]
        client.sendall(stream)
        assert [read_answer_from(file) for _ in sizes] == [str(size).encode() for size in sizes]


def test_a_long_header_behind_a_request_still_being_answered_does_not_spoil_its_answer(patient_port: int) -> None:
    with connect(patient_port) as client, client.makefile("rb") as file:
        client.sendall(HEADERS % (b"read", 1) + b"a" + b"GET / HTTP/1.1\r\nX: " + b"x" * 4000)
        assert read_answer_from(file) == b"1"
        assert b"200" not in file.read()
