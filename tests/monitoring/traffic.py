"""Load after which every series of the service has a sample."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

CALLERS = 16
TIMEOUT_S = 60
EXPECTED = frozenset({200, 422, 429, 504})


class Traffic:
    """Clients that send new, repeated and broken images, and deadlines that cannot be met, until the end."""

    def __init__(self, url: str, jpegs: list[Path]) -> None:
        self._url = url
        self._bodies = [path.read_bytes() for path in jpegs]
        self._has_ended = threading.Event()
        self.statuses: set[int] = set()
        self._pool = ThreadPoolExecutor(CALLERS)

    def __enter__(self) -> "Traffic":
        self._calls = [self._pool.submit(self._call, number) for number in range(CALLERS)]
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the clients, and raise the error of any of them."""
        self._has_ended.set()
        self._pool.shutdown()
        for call in self._calls:
            call.result()

    def _call(self, number: int) -> None:
        with requests.Session() as session:
            # It would read the environment for proxies, which pytest changes meanwhile.
            session.trust_env = False
            turn = 0
            while not self._has_ended.is_set():
                turn += 1
                # Every second image is one that all callers send, the rest are new each time: what follows the end of a
                # JPEG changes its digest and none of its pixels.
                body = self._bodies[turn % 8] + (b"" if turn % 2 else f"{number}-{turn}".encode())
                self._ask(session, body)
                self._ask(session, b"\xff\xd8\xff broken")
                self._ask(session, body, deadline_ms=0.001)
                self._ask(session, body, deadline_ms=5)

    def _ask(self, session: requests.Session, body: bytes, **query: float) -> None:
        response = session.post(f"{self._url}/v1/classify", data=body, params=query, timeout=TIMEOUT_S)
        self.statuses.add(response.status_code)
