"""Clients that ask without a pause, and remember what became of each request."""

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
"""Stands for a status where the connection broke before an answer."""
TIMEOUT_S = 60
NOTICED_S = 25
"""Whoever waits longer than that for an answer notices that something is amiss. Less than a request waits at a
replica that should have been taken out: its drain (30 s), or an answer that never comes (120 s)."""
NOTICED_SHARE = 0.05
"""So does whoever is refused more than that of what he asks."""
PATIENT = {"LIGHTBOX_TARGET_P99_MS": "10000"}
"""With this setting a replica refuses none of a few clients for load, on a slow machine either. A refusal comes at
once, and who is refused asks again at once: the share of refusals would say how fast the machine is."""


@dataclass(frozen=True)
class Answer:
    """What a client saw: `status` is BROKEN where there was no answer, `text` the error or the body of one."""

    request_id: str
    status: int
    text: str = ""


@dataclass
class Load:
    """Requests that are being sent to one address by several clients at once. Bounded by the test that has it open."""

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
        """Whatever is neither an answer nor a refusal for load."""
        return [answer for answer in list(self.answers) if answer.status not in (200, 429)]

    def assert_nobody_noticed(self) -> None:
        """Finds every request answered within the time-out, but for few that were refused for load."""
        print(dict(self.statuses()))
        assert self.failures() == []
        assert self.count(429) <= NOTICED_SHARE * len(self.answers)

    def broken_off(self) -> list[Answer]:
        """Those that broke although the same client was answered after that, whatever it was told."""
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
            # It would read the environment for proxies, which pytest changes meanwhile.
            session.trust_env = False
            for turn in itertools.count():
                if self.is_over.is_set():
                    return
                request_id = f"{name}-{turn}"
                # What follows the end of a JPEG changes its digest and none of its pixels.
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
    """Asks from `clients` connections until the block ends; every request has its answer by then.

    With `is_repeating` images come again and again, as the cache likes it; without, each is a new one. What is not
    answered within `timeout_s` is BROKEN.
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
