"""Many clients at once, each on a connection of its own, that keep what they were told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, takewhile
from typing import Any

from bento_service.domain.requests import OUTCOME_OK, Priority
from tests.fakes.engine import PATIENCE_S
from tests.fakes.faulty_engine import LOAD_IMAGES, encode_numbered

REFUSED_PAUSE_S = 0.01
"""What a client does after a 429 before it asks for its next image, so that refusals do not become the load."""


@dataclass(frozen=True)
class Request:
    """One image to ask for."""

    request_id: str
    image: int
    priority: Priority = Priority.INTERACTIVE

    def encode(self) -> bytes:
        """Return the bytes on the wire."""
        body = encode_numbered(self.image)
        return (
            f"POST /v1/classify?top_k=1 HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            f"X-Request-ID: {self.request_id}\r\nX-Priority: {self.priority}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


@dataclass(frozen=True)
class Reply:
    """One request's answer: `outcome` is `ok` or the problem's code, `document` the body. Times are monotonic."""

    request: Request
    status: int
    outcome: str
    document: dict[str, Any]
    asked_s: float
    answered_s: float

    @property
    def label(self) -> str:
        """The best class of a good answer."""
        label: str = self.document["predictions"][0]["label"]
        return label


def number_requests(prefix: str, *, images: Iterable[int] | None = None) -> Iterator[Request]:
    """Yield interactive requests without end, or for these images: every image in turn, under ids of their own."""
    for position, image in enumerate(cycle(range(LOAD_IMAGES)) if images is None else images):
        yield Request(f"{prefix}-{position}", image)


@dataclass(frozen=True)
class Client:
    """One keep-alive connection, from `connect`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: Request) -> Reply:
        """Send a request and wait for its answer."""
        asked_s = time.monotonic()
        self.writer.write(request.encode())
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status_line, *lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            document = json.loads(await self.reader.readexactly(int(headers["content-length"])))
        status = int(status_line.split()[1])
        outcome = OUTCOME_OK if status == 200 else document["code"]
        return Reply(request, status, outcome, document, asked_s, time.monotonic())

    async def send_part(self, request: Request, share: float) -> None:
        """Send the headers, and so much of the image."""
        head, separator, body = request.encode().partition(b"\r\n\r\n")
        self.writer.write(head + separator + body[: round(share * len(body))])
        await self.writer.drain()


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[Client]:
    """Open a connection, and close it after the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def ask(port: int, request: Request) -> Reply:
    """Ask for one image on a new connection."""
    async with connect(port) as client:
        return await client.ask(request)


async def ask_all(port: int, requests: Iterable[Request], *, clients: int = 32) -> list[Reply]:
    """Have so many clients ask for all of it, each for its next image as soon as it is answered."""
    left = iter(requests)
    replies: list[Reply] = []

    async def work() -> None:
        async with connect(port) as client:
            for request in left:
                reply = await client.ask(request)
                replies.append(reply)
                if reply.status == 429:
                    await asyncio.sleep(REFUSED_PAUSE_S)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(work())
    return replies


def for_seconds(requests: Iterable[Request], duration_s: float) -> Iterator[Request]:
    """Yield requests until the time is up."""
    end_s = time.monotonic() + duration_s
    yield from takewhile(lambda request: time.monotonic() <= end_s, requests)
