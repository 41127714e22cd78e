"""Receiving a request's body: counted byte by byte, bounded in size and in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from starlette.datastructures import Headers
from starlette.types import Receive

from bento_service.errors import (
    ClientGoneError,
    DeadlineExceededError,
    ImageTooLargeError,
    OverloadedError,
    ReceiveTimeoutError,
)

_MAX_DIGITS = 20
"""More than any limit has; Python refuses to parse thousands."""
_RETRY_AFTER_S = 1.0
"""Most requests take less than the latency target, so a second frees some bytes."""


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """How large a body may be: the limit that the client is told, and room for a form's own bytes around the image."""

    allowed_bytes: int
    overhead_bytes: int = 0

    def check(self, count: int) -> None:
        """Raise `ImageTooLargeError` if a body of `count` bytes, declared or received, is too large."""
        if count > self.allowed_bytes + self.overhead_bytes:
            raise too_large(self.allowed_bytes)

    def check_declared(self, headers: Headers) -> None:
        """Check the body's `Content-Length`, before any of it is read; raises as `check`."""
        declared = headers.get("content-length", "")
        if declared.isascii() and declared.isdigit():
            self.check(int(declared[:_MAX_DIGITS]))


def too_large(allowed_bytes: int) -> ImageTooLargeError:
    """Return the error for an upload of more than `allowed_bytes`."""
    return ImageTooLargeError(
        f"The upload is larger than the {allowed_bytes} bytes allowed. Send a smaller file.", limit=allowed_bytes
    )


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long a request may take to arrive: `timeout_s` is the server's limit, `deadline_ms` the client's own."""

    timeout_s: float
    deadline_ms: float | None = None

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Bound what runs in the context.

        Raises:
            DeadlineExceededError: It took longer than the deadline, which is the shorter one.
            ReceiveTimeoutError: It took longer than the timeout.
        """
        deadline_s = None if self.deadline_ms is None else self.deadline_ms / 1000
        has_deadline_first = deadline_s is not None and deadline_s < self.timeout_s
        try:
            async with asyncio.timeout(deadline_s if has_deadline_first else self.timeout_s):
                yield
        except TimeoutError:
            raise self._explain_deadline() if has_deadline_first else self._explain_timeout() from None

    def _explain_deadline(self) -> DeadlineExceededError:
        return DeadlineExceededError(
            f"The deadline of {self.deadline_ms:g} ms passed while the request was still arriving. Allow more time, "
            "send less at once or over a faster connection.",
            deadline_ms=self.deadline_ms,
        )

    def _explain_timeout(self) -> ReceiveTimeoutError:
        return ReceiveTimeoutError(
            f"The request did not arrive within {self.timeout_s:g} s. Send less at once or over a faster connection.",
            limit_s=self.timeout_s,
        )


class ByteBudget:
    """Limits the bytes of request bodies that a worker holds in memory at once. Used on one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes held now."""
        return self._held_bytes

    def lease(self) -> "ByteLease":
        """Return a lease for one request; leaving its context gives all bytes back."""
        return ByteLease(self)

    def take(self, count: int) -> None:
        """Take `count` more bytes, or raise `OverloadedError` if they exceed the budget."""
        if self._held_bytes + count > self._max_bytes:
            raise OverloadedError(
                f"{self._held_bytes} bytes of other uploads are in memory, of {self._max_bytes} allowed. "
                "Try again after the time in Retry-After.",
                retry_after_s=_RETRY_AFTER_S,
                reason="memory",
            )
        self._held_bytes += count

    def give_back(self, count: int) -> None:
        """Give back `count` bytes."""
        self._held_bytes -= count


class ByteLease:
    """The bytes that one request holds; a context manager that gives them back."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._held_bytes = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what is held."""
        self.give_back(self._held_bytes)

    def take(self, count: int) -> None:
        """Take bytes for this request; raises as `ByteBudget.take`."""
        self._budget.take(count)
        self._held_bytes += count

    def give_back(self, count: int) -> None:
        """Give back bytes of this request."""
        self._budget.give_back(count)
        self._held_bytes -= count


async def receive_chunks(receive: Receive, limit: SizeLimit) -> AsyncIterator[bytes]:
    """Yield the body's chunks.

    Raises:
        ImageTooLargeError: It exceeds the limit; nothing is read after that chunk.
        ClientGoneError: The client disconnected.
    """
    received = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("The client hung up while it sent its request.")
        chunk: bytes = message.get("body", b"")
        received += len(chunk)
        limit.check(received)
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


async def receive_whole(receive: Receive, limit: SizeLimit, lease: ByteLease) -> bytes:
    """Return the body in one piece; raises as `receive_chunks`, and `OverloadedError` if the budget is spent."""
    chunks: list[bytes] = []
    async for chunk in receive_chunks(receive, limit):
        lease.take(len(chunk))
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
