"""What limits a server at its capacity, judged from the timings in its answers.

By the utilisation law (Denning and Buzen, 1978), a station of `m` servers that each work on an image for `D` seconds is
busy for `X * D / m` of the time at `X` images a second. Decode threads and lanes are such stations, and answers hold
`D`. The station that is always busy at capacity is the limit; where none is, HTTP is: event loop, parsing, network. On
a CPU both stations share the cores, so more cores help either way; the limit then says where the time goes.
"""

from dataclasses import dataclass
from enum import StrEnum

from bento_service.load_test.result import LoadResult

BUSY = 0.6
"""Share of the time below which a station is no limit. Two busy lanes of three are above."""
CLEAR_LEAD = 0.2
LIKELY_LEAD = 0.1
CLIENT_BUSY = 0.8


class Limit(StrEnum):
    """The scarce resource."""

    DECODE = "decode"
    INFERENCE = "inference"
    HTTP = "HTTP"
    CLIENT = "the client"
    UNKNOWN = "unknown"


class Confidence(StrEnum):
    """How sure the finding is."""

    CLEAR = "clear"
    LIKELY = "likely"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class ServiceCapacity:
    """How many images a service can decode and infer at once: threads and lanes of all its workers."""

    decode_threads: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The limit, how sure it is, and the shares of time in which the stations were busy; None if unknown."""

    limit: Limit
    confidence: Confidence
    decode_busy: float | None = None
    inference_busy: float | None = None


def find_bottleneck(at_capacity: LoadResult, capacity: ServiceCapacity) -> Bottleneck:
    """Judge a run at capacity.

    A lead of 20 % of the time over the other station is clear, one of 10 % likely. HTTP is never more than likely,
    since it is only the rest.
    """
    if at_capacity.client_cpu_s > CLIENT_BUSY * at_capacity.duration_s:
        return Bottleneck(Limit.CLIENT, Confidence.CLEAR)
    answered = len(at_capacity.answered_ms)
    computed = len(at_capacity.inference_per_image_ms)
    if not computed:
        limit = Limit.HTTP if at_capacity.cached else Limit.UNKNOWN
        return Bottleneck(limit, Confidence.LIKELY if at_capacity.cached else Confidence.UNCLEAR)
    per_ms = at_capacity.throughput_per_s * computed / answered / 1000
    decode = per_ms * float(at_capacity.stages_ms["decode"].mean()) / capacity.decode_threads
    inference = per_ms * float(at_capacity.inference_per_image_ms.mean()) / capacity.lanes
    limit = Limit.DECODE if decode > inference else Limit.INFERENCE
    if max(decode, inference) < BUSY:
        confidence = Confidence.LIKELY if max(decode, inference) < BUSY - CLEAR_LEAD else Confidence.UNCLEAR
        return Bottleneck(Limit.HTTP, confidence, decode, inference)
    lead = abs(decode - inference)
    confidence = (
        Confidence.CLEAR if lead >= CLEAR_LEAD else Confidence.LIKELY if lead >= LIKELY_LEAD else Confidence.UNCLEAR
    )
    return Bottleneck(limit, confidence, decode, inference)
