"""Clients that ask without a pause, and record the outcome of each request."""

import itertools
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests

BROKEN = 0
"""The status of a request whose connection broke before an answer."""
TIMEOUT_S = 60
NOTICED_S = 25
"""Longest acceptable wait for an answer, below the drain (30 s) and the time-out of a lost replica (120 s)."""
NOTICED_SHARE = 0.05
"""The share of a client's requests that may be rejected."""
PATIENT = {"LIGHTBOX_TARGET_P99_MS": "10000"}
"""With this setting a replica rejects none of a few clients, on a slow machine either. A rejected client asks again at
once, so the share of rejections would measure the machine."""


@dataclass(frozen=True)
class Answer:
    """An answer, or BROKEN and the error; `text` is empty if the status is 200."""

    request_id: str
    status: int
    text: str = ""


@dataclass
class Load:
    """The requests of several clients to one address."""

    url: str
    images: Sequence[Path]
    is_repeating: bool = True
    timeout_s: float = TIMEOUT_S
    is_over: threading.Event = field(default_factory=threading.Event)
    answers: list[Answer] = field(default_factory=list)

    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in list(self.answers))

    def count(self, status: int = 200) -> int:
        return self.statuses()[status]

    def failures(self) -> list[Answer]:
        """All but answers and rejections."""
        return [answer for answer in list(self.answers) if answer.status not in (200, 429)]

    def assert_nobody_noticed(self) -> None:
        """Every request was answered within the time-out, but for a few rejections."""
        print(dict(self.statuses()), *self.failures(), sep="\n")
        assert self.failures() == []
        assert self.count(429) <= NOTICED_SHARE * len(self.answers)

    def broken_off(self) -> list[Answer]:
        """The broken requests of clients that had an answer of any status afterwards."""
        answered: set[str] = set()
        broken = []
        for answer in reversed(list(self.answers)):
            client, _, _ = answer.request_id.partition("-")
            if answer.status != BROKEN:
                answered.add(client)
            elif client in answered:
                broken.append(answer)
        return broken

    def run(self, number: int) -> None:
        bodies = [path.read_bytes() for path in self.images]
        name = uuid.uuid4().hex[:8]
        with requests.Session() as session:
            # It would read proxies from the environment, which pytest changes meanwhile.
            session.trust_env = False
            for turn in itertools.count():
                if self.is_over.is_set():
                    return
                request_id = f"{name}-{turn}"
                # Bytes after the end of a JPEG change its digest and none of its pixels.
                ending = b"" if self.is_repeating else request_id.encode()
                self.answers.append(self._ask(session, bodies[(number + turn) % len(bodies)] + ending, request_id))

    def _ask(self, session: requests.Session, body: bytes, request_id: str) -> Answer:
        headers = {"X-Request-ID": request_id, "Content-Type": "image/jpeg"}
        try:
            response = session.post(f"{self.url}/v1/classify", data=body, headers=headers, timeout=self.timeout_s)
        except requests.RequestException as error:
            self.is_over.wait(0.05)
            return Answer(request_id, BROKEN, repr(error))
        return Answer(request_id, response.status_code, "" if response.ok else response.text)


@contextmanager
def load(
    url: str, images: Sequence[Path], clients: int = 8, *, is_repeating: bool = True, timeout_s: float = TIMEOUT_S
) -> Iterator[Load]:
    """Ask from `clients` connections until the block ends, then wait for the open requests.

    With `is_repeating` images come again and again, so that the cache serves them; without, each is new. A request
    without an answer within `timeout_s` is BROKEN.
    """
    running = Load(url, images, is_repeating, timeout_s)
    threads = [threading.Thread(target=running.run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.is_over.set()
        for thread in threads:
            thread.join(timeout_s + TIMEOUT_S)
    assert not any(thread.is_alive() for thread in threads), "a client waits for its answer still"
