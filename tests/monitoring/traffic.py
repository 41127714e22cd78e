"""Load that leaves none of the service's series without a sample."""

import threading
from pathlib import Path

import requests

CALLERS = 16


class Traffic:
    """Clients who ask until they are told to stop: new, repeated and broken images, deadlines that cannot be met."""

    def __init__(self, url: str, jpegs: list[Path]) -> None:
        self._url = url
        self._bodies = [path.read_bytes() for path in jpegs]
        self._has_ended = threading.Event()
        self._statuses_guard = threading.Lock()
        self.statuses: set[int] = set()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        with requests.Session() as session:
            turn = 0
            while not self._has_ended.is_set():
                turn += 1
                # Every second image is one that all callers send, the rest each caller's own.
                body = self._bodies[turn % 8 if turn % 2 else (number * 16 + turn) % len(self._bodies)]
                self._ask(session, body)
                self._ask(session, b"\xff\xd8\xff broken")
                self._ask(session, body, deadline_ms=0.001)
                self._ask(session, body, deadline_ms=5)

    def _ask(self, session: requests.Session, body: bytes, **query: float) -> None:
        response = session.post(f"{self._url}/v1/classify", data=body, params=query, timeout=30)
        with self._statuses_guard:
            self.statuses.add(response.status_code)
