"""Clients that open a new connection for each request, and what became of every one."""

import http.client
import itertools
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_PATIENCE_S = 60.0


@dataclass
class Outcomes:
    """How many requests ended in which way: a status, `refused` as nothing listened, or the error that broke it."""

    counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, outcome: str) -> None:
        with self._lock:
            self.counts[outcome] += 1

    def answered(self) -> int:
        return sum(count for outcome, count in self.counts.items() if outcome.isdigit())

    def broken(self) -> dict[str, int]:
        """Connections that were made and got no whole answer."""
        return {name: count for name, count in self.counts.items() if name != "refused" and not name.isdigit()}


@contextmanager
def new_connections(url: str, *, clients: int, body: bytes = b"") -> Iterator[Outcomes]:
    """Ask from so many threads, each until it is refused by the operating system; wait for them at the end."""
    outcomes = Outcomes()
    threads = [threading.Thread(target=_ask_until_refused, args=(url, body, outcomes)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        for thread in threads:
            thread.join(_PATIENCE_S)


def _ask_until_refused(url: str, body: bytes, outcomes: Outcomes) -> None:
    address = urlsplit(url)
    assert address.hostname
    for _ in itertools.count():
        try:
            connection = socket.create_connection((address.hostname, address.port or 80), timeout=_PATIENCE_S)
        except ConnectionRefusedError:
            outcomes.add("refused")
            return
        with connection:
            try:
                outcomes.add(_ask(connection, body))
            except (OSError, http.client.HTTPException) as error:
                outcomes.add(type(error).__name__)


def _ask(connection: socket.socket, body: bytes) -> str:
    line = "POST /v1/classify" if body else "GET /v1/models"
    head = f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return str(response.status)
