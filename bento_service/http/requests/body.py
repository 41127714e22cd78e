"""Receiving a request's body: counted byte by byte, bounded in size and in time."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import Request

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


def too_large(limit_bytes: int) -> ImageTooLargeError:
    """Return the error for an upload of more than `limit_bytes`."""
    return ImageTooLargeError(
        f"The upload is larger than the {limit_bytes} bytes allowed. Send a smaller file.", limit=limit_bytes
    )


@asynccontextmanager
async def limit_time(timeout_s: float, deadline_ms: float | None) -> AsyncIterator[None]:
    """Bound how long a request takes to arrive: by the server's timeout, and by the request's own deadline.

    Raises:
        DeadlineExceededError: It took longer than the deadline, which is the shorter one.
        ReceiveTimeoutError: It took longer than the timeout.
    """
    deadline_s = math.inf if deadline_ms is None else deadline_ms / 1000
    try:
        async with asyncio.timeout(min(timeout_s, deadline_s)):
            yield
    except TimeoutError:
        if deadline_s < timeout_s:
            raise DeadlineExceededError(
                f"The deadline of {deadline_ms:g} ms passed while the request was still arriving. Allow more time, "
                "send less at once or over a faster connection.",
                deadline_ms=deadline_ms,
            ) from None
        raise ReceiveTimeoutError(
            f"The request did not arrive within {timeout_s:g} s. Send less at once or over a faster connection.",
            limit_s=timeout_s,
        ) from None


class ByteBudget:
    """Limits the bytes of request bodies that a worker holds in memory at once. Used on one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0

    @contextmanager
    def lease(self) -> Iterator["ByteLease"]:
        """Yield a lease for one request, and give its bytes back at the end."""
        lease = ByteLease(self)
        try:
            yield lease
        finally:
            lease.give_back(lease.held_bytes)


class ByteLease:
    """The bytes of a budget that one request holds."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.held_bytes = 0

    def take(self, count: int) -> None:
        """Take `count` more bytes, or raise `OverloadedError` if they exceed the budget."""
        budget = self._budget
        if budget.held_bytes + count > budget.max_bytes:
            raise OverloadedError(
                f"{budget.held_bytes} bytes of other uploads are in memory, of {budget.max_bytes} allowed. "
                "Try again after the time in Retry-After.",
                retry_after_s=_RETRY_AFTER_S,
                reason="memory",
            )
        budget.held_bytes += count
        self.held_bytes += count

    def give_back(self, count: int) -> None:
        """Give back `count` bytes."""
        self._budget.held_bytes -= count
        self.held_bytes -= count


async def receive_chunks(request: Request, *, max_bytes: int, overhead_bytes: int = 0) -> AsyncIterator[bytes]:
    """Yield the chunks of a request's body, except empty ones.

    Args:
        request: Whose body to receive.
        max_bytes: The largest body, as the client is told.
        overhead_bytes: Room for the bytes of a form around its image.

    Raises:
        ImageTooLargeError: The body is larger, by its `Content-Length` or by its bytes so far. No more of it is read.
        ClientGoneError: The client disconnected.
    """
    limit_bytes = max_bytes + overhead_bytes
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:_MAX_DIGITS]) > limit_bytes:
        raise too_large(max_bytes)
    received_bytes = 0
    is_more = True
    while is_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("The client hung up while it sent its request.")
        chunk: bytes = message.get("body", b"")
        received_bytes += len(chunk)
        if received_bytes > limit_bytes:
            raise too_large(max_bytes)
        if chunk:
            yield chunk
        is_more = message.get("more_body", False)
