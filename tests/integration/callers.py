"""Clients on one connection each, which ask again as soon as they are answered."""

import http.client
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

PATIENCE_S = 120.0


@dataclass
class Caller:
    """Asks until it is told to stop or its connection breaks; keeps the status of each request, by its id."""

    name: str
    connection: http.client.HTTPConnection
    bodies: Sequence[bytes]
    may_go_on: threading.Event
    statuses: dict[str, int] = field(default_factory=dict)
    broken: str | None = None
    """The request on which the connection broke."""

    def run(self) -> None:
        for turn in itertools.count():
            if not self.may_go_on.is_set():
                return
            request_id = f"{self.name}-{turn}"
            body = self.bodies[turn % len(self.bodies)]
            try:
                self.connection.request("POST", "/v1/classify", body=body, headers={"X-Request-ID": request_id})
                response = self.connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                self.broken = request_id
                return
            self.statuses[request_id] = response.status


@contextmanager
def calling(connections: Sequence[http.client.HTTPConnection], bodies: Sequence[bytes]) -> Iterator[list[Caller]]:
    """Run a caller on each connection, each with other images first; stop them at the end."""
    may_go_on = threading.Event()
    may_go_on.set()
    callers = [
        Caller(f"caller-{number}", connection, [*bodies[number:], *bodies[:number]], may_go_on)
        for number, connection in enumerate(connections)
    ]
    threads = [threading.Thread(target=caller.run) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        may_go_on.clear()
        for thread in threads:
            thread.join(PATIENCE_S)
