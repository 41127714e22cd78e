"""A request that asks to change the protocol is one request, answered as if it did not ask."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.http.byte_client import connect, expect_refusal, read_answer_from
from tests.http.connection.serving import serving

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
OFFERS = [
    b"",
    H2C,
    WEBSOCKET,
    b"upgrade: h2c, websocket\r\nCONNECTION: keep-alive, UPGRADE\r\n",
    b"Upgrade: h2c\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
    b"Upgrade: h2c\r\n",
    b"Connection: Upgrade\r\n",
]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the method, the target, the version and the body of the request."""
    body = await Request(scope, receive).body()
    line = f"{scope['method']} {scope['raw_path'].decode()}?{scope['query_string'].decode()} {scope['http_version']}:"
    await Response(line.encode() + body)(scope, receive, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(echo) as service:
        yield service.port


def post(offer: bytes, body: bytes, *, is_chunked: bool = False) -> bytes:
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
    if is_chunked:
        body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return b"POST /a%%20b?c=d HTTP/1.1\r\nHost: a\r\n%s%s\r\n\r\n%s" % (offer, framing, body)


@given(
    requests=st.lists(
        st.tuples(st.sampled_from(OFFERS), st.sampled_from([b"", SMUGGLED, SMUGGLED * 3, b"\r\n\r\n"]), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    cuts=st.lists(st.integers(1, 300), max_size=6),
)
@settings(max_examples=60)
def test_each_request_gets_one_answer_to_its_own_body(
    port: int, requests: list[tuple[bytes, bytes, bool]], cuts: list[int]
) -> None:
    stream = b"".join(post(offer, body, is_chunked=is_chunked) for offer, body, is_chunked in requests)
    with connect(port) as client, client.makefile("rb") as file:
        for cut in cuts:
            client.sendall(stream[:cut])
            stream = stream[cut:]
        client.sendall(stream + b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answers = [read_answer_from(file) for _ in (*requests, "last")]

    assert answers == [*(b"POST /a%20b?c=d 1.1:" + body for _, body, _ in requests), b"GET /last? 1.1:"]


@pytest.mark.parametrize(("version", "connection"), [(b"1.0", b"Upgrade"), (b"1.1", b"close, Upgrade")])
def test_the_connection_ends_where_it_would_without_the_offer(port: int, version: bytes, connection: bytes) -> None:
    request = b"POST / HTTP/%s\r\nConnection: %s\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"
    with connect(port) as client, client.makefile("rb") as file:
        client.sendall(request % (version, connection))
        assert read_answer_from(file) == b"POST /? %s:abc" % version
        assert file.read() == b""


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(port: int) -> None:
    with connect(port) as client, client.makefile("rb") as file:
        client.sendall(post(H2C + b"Expect: 100-continue\r\n", b"abc").removesuffix(b"abc"))
        assert [file.readline(), file.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
        client.sendall(b"abc")
        assert read_answer_from(file).endswith(b":abc")


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\na\r\n0\r\nUpgrade: h2c\r\n\r\n",
            b"POST /? 1.1:a",
        ),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n" + H2C + b"\r\n", b"GET /x? 1.1:"),
    ],
    ids=["in a trailer", "of a GET"],
)
def test_the_request_behind_an_offer_is_answered_too(port: int, request_: bytes, answer: bytes) -> None:
    with connect(port) as client, client.makefile("rb") as file:
        client.sendall(request_ + SMUGGLED)
        assert [read_answer_from(file), read_answer_from(file)] == [answer, b"GET /smuggled? 1.1:"]


LENGTHS = b"POST / HTTP/1.1\r\nHost: a\r\n" + H2C + b"Content-Length: 2\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET /x HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET, 404, "not_found"),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, WebSocket\r\nConnection: upgrade\r\n", 404, "not_found"),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n", 400, "malformed_request"),
        (b"CONNECT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n", 400, "malformed_request"),
        (LENGTHS + b"Content-Length: 3\r\n", 400, "malformed_request"),
        (LENGTHS + b"Transfer-Encoding: chunked\r\n", 400, "malformed_request"),
    ],
    ids=["WebSocket", "WebSocket among others", "CONNECT", "CONNECT with a body", "two lengths", "length and chunks"],
)
def test_nothing_behind_an_impossible_request_is_read(port: int, request_: bytes, status: int, code: str) -> None:
    with connect(port) as client:
        client.sendall(request_ + b"\r\n")
        client.sendall(SMUGGLED)
        expect_refusal(client, status, code)


def test_a_handshake_does_not_spoil_the_answer_before_it(port: int) -> None:
    with connect(port) as client, client.makefile("rb") as file:
        client.sendall(post(b"", b"a") + b"GET /x HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"\r\n")
        assert read_answer_from(file) == b"POST /a%20b?c=d 1.1:a"
        assert file.read() == b""
