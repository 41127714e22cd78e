"""A client that speaks HTTP byte by byte, so that it can speak it badly."""

import json
import socket
from typing import BinaryIO

PATIENCE_S = 30.0


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def read_answer(client: socket.socket) -> bytes:
    """Reads one answer's body."""
    with client.makefile("rb") as file:
        return read_answer_from(file)


def read_answer_from(file: BinaryIO) -> bytes:
    length = 0
    while (line := file.readline()) != b"\r\n":
        assert line, "the connection was closed"
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return file.read(length)


def is_closed(client: socket.socket) -> bool:
    """Waits for the end of the connection."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def send_until_closed(client: socket.socket, piece: bytes, *, pieces: int, pause_s: float = 0.0) -> int:
    """Sends pieces until the server has had enough; returns how many it took."""
    client.settimeout(pause_s or PATIENCE_S)
    for sent in range(pieces):
        try:
            client.sendall(piece)
            if pause_s and client.recv(1) == b"":
                return sent
        except ConnectionError:
            return sent
        except TimeoutError:
            continue
    return pieces


def expect_refusal(client: socket.socket, status: int, code: str) -> tuple[dict[str, str], dict[str, object]]:
    """Reads a problem to the connection's end; returns its headers and its members."""
    with client.makefile("rb") as file:
        status_line = file.readline()
        headers = dict(line.decode().rstrip().split(": ") for line in iter(file.readline, b"\r\n"))
        problem: dict[str, object] = json.loads(file.read())
    assert int(status_line.split()[1]) == problem["status"] == status
    assert (headers["content-type"], headers["connection"]) == ("application/problem+json", "close")
    assert (problem["code"], problem["request_id"]) == (code, headers["x-request-id"])
    return headers, problem
