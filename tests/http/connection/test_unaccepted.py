"""The listening socket of a service that stops."""

import socket

import pytest

from bento_service.http.connection.unaccepted import has_waiting_connection, refuse_connections
from tests.http.byte_client import connect


def test_new_connections_are_refused_and_those_that_wait_are_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, connect(port := listener.getsockname()[1]) as early:
        early.sendall(b"asked before")
        refuse_connections(listener)

        with pytest.raises(ConnectionRefusedError):
            connect(port)
        assert has_waiting_connection(listener)
        with listener.accept()[0] as accepted:
            assert accepted.recv(100) == b"asked before"
        assert not has_waiting_connection(listener)
