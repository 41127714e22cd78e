"""What a connection to the real service may cost and ask for. tests/http has the rest, with smaller limits."""

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.integration.running_service import RunningService

PIECE = b"x" * 1_000_000
PATIENCE_S = 60.0


def connect(service: RunningService) -> socket.socket:
    address = urlsplit(service.url)
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S)


def send_until_closed(client: socket.socket, *, pieces: int) -> int:
    """Sends pieces of a megabyte until the server has had enough; returns how many it took."""
    for sent in range(pieces):
        try:
            client.sendall(PIECE)
        except ConnectionError:
            return sent
    return pieces


def test_an_endless_header_is_answered_with_a_problem_and_then_cut_off(service: RunningService) -> None:
    with connect(service) as client, client.makefile("rb") as file:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nX: " + b"x" * 65_536)
        assert file.readline() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        headers = list(iter(file.readline, b"\r\n"))
        problem = json.loads(file.read())
        assert b"content-type: application/problem+json\r\n" in headers
        assert problem["code"] == "headers_too_large"
        assert send_until_closed(client, pieces=120) < 120


def test_a_client_that_reads_its_413_late_still_gets_it_and_may_not_send_for_ever(service: RunningService) -> None:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 400000000\r\n\r\n"
    with connect(service) as client, client.makefile("rb") as file:
        client.sendall(head)
        for _ in range(20):
            client.sendall(PIECE)
        assert file.readline().split()[1] == b"413"
        assert send_until_closed(client, pieces=380) < 100


def test_a_request_that_offers_http_2_is_answered_as_if_it_did_not(
    service: RunningService, photographs: tuple[Path, ...]
) -> None:
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABk"}
    url, image = f"{service.url}/v1/classify?top_k=1", photographs[0].read_bytes()

    with requests.Session() as session:
        offered, plain = session.post(url, data=image, headers=offer), session.post(url, data=image)

    assert (offered.status_code, plain.status_code) == (200, 200)
    assert offered.json()["predictions"] == plain.json()["predictions"]


def test_a_websocket_handshake_is_refused_with_a_problem(service: RunningService) -> None:
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "eA=="}
    refused = requests.get(f"{service.url}/v1/status", headers=handshake | {"Sec-WebSocket-Version": "13"})

    assert (refused.status_code, refused.headers["Content-Type"]) == (404, "application/problem+json")
    assert "WebSocket" in refused.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/docs.json", "/v1/models", "/v1/docs"])
def test_head_has_the_headers_of_get_and_no_body(service: RunningService, path: str) -> None:
    with requests.Session() as session:  # on one connection, where a body would be taken for the next answer
        head, get = session.head(service.url + path), session.get(service.url + path)

    assert (head.status_code, get.status_code) == (200, 200)
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert head.content == b""
