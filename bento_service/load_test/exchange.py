"""One request of a load and what became of it."""

import math
from typing import NamedTuple

from pydantic import ValidationError

from lightbox_client.contract import TimingsMs, WireModel

TIMED_OUT = -1
"""In the place of a status: no answer in time, counted from when the request was due."""
BROKEN = -2
"""In the place of a status: no connection, or it broke before the answer was whole."""


class AnswerFacts(NamedTuple):
    """What a Lightbox answer says of its own making; the times in milliseconds."""

    receive_ms: float
    decode_ms: float
    queue_ms: float
    inference_ms: float
    total_ms: float
    batch_size: int
    is_cached: bool


class Exchange:
    """One request: when it was due, when it was sent, when its answer was whole, and what that was.

    Times are seconds of one clock; `status` is the HTTP status, or one of the two constants above. A plain class, for
    there is one a request and its making is on the clock.
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
    """The part of a Lightbox answer that is wanted: reading the rest would take the client's CPU in vain."""

    timings_ms: TimingsMs
    batch_size: int
    cached: bool


def read_facts(body: bytes) -> AnswerFacts | None:
    """Read a Lightbox answer's own timings; None where the body is none of Lightbox's."""
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError:
        return None
    timings = answer.timings_ms
    return AnswerFacts(
        timings.receive,
        timings.decode,
        timings.queue,
        timings.inference,
        timings.total,
        answer.batch_size,
        answer.cached,
    )
