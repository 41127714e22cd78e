"""One request of a load and its answer."""

import math
from typing import NamedTuple

from pydantic import ValidationError

from lightbox_client.contract import TimingsMs, WireModel

OK = 200
TIMED_OUT = -1
"""A status: no answer in time, counted from when the request was due."""
BROKEN = -2
"""A status: no connection, or it broke before the answer was complete."""


class AnswerFacts(NamedTuple):
    """The timings in a Lightbox answer, in milliseconds, and how it was computed."""

    receive_ms: float
    decode_ms: float
    queue_ms: float
    inference_ms: float
    total_ms: float
    batch_size: int
    is_cached: bool


class Exchange:
    """One request: when it was due, sent and answered, in seconds of one clock, and its status.

    `status` is an HTTP status, TIMED_OUT or BROKEN. Not a dataclass: one is made for each request, while the load runs.
    """

    __slots__ = ("done_s", "due_s", "facts", "payload", "retry_after_s", "sent_s", "status")

    def __init__(self, payload: tuple[bytes, ...], due_s: float) -> None:
        self.payload = payload
        self.due_s = due_s
        self.sent_s = math.nan
        self.done_s = math.nan
        self.status = 0
        self.facts: AnswerFacts | None = None
        self.retry_after_s = math.nan


class _Answer(WireModel):
    """The part of a Lightbox answer that is read: parsing all of it would cost the client CPU time."""

    timings_ms: TimingsMs
    batch_size: int
    cached: bool


def read_facts(body: bytes) -> AnswerFacts | None:
    """Read the timings in a Lightbox answer; None where the body is another server's."""
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError:
        return None
    times = answer.timings_ms
    stages = times.receive, times.decode, times.queue, times.inference, times.total
    return AnswerFacts(*stages, answer.batch_size, answer.cached)
