"""What limits a server at its capacity, judged from the timings in its answers.

The rule is the utilisation law (Denning and Buzen, 1978): a station of `m` servers, each of which an image keeps for
`D` seconds, is busy for `X * D / m` of the time at `X` images a second. Decode threads and lanes are such stations,
and `D` is in each answer. At capacity a station that is always busy is where the queue stands, and so the limit. Where
neither is, what is left is the limit: HTTP, that is event loop, parsing and network. On a CPU both stations share the
cores, so that more cores help either way; the limit then names where an image's time goes.
"""

from dataclasses import dataclass
from enum import StrEnum

from bento_service.load_test.result import LoadResult

BUSY = 0.6
"""A station that is busy for less of the time at capacity does not limit it. Two of three lanes count as busy."""
CLEAR_LEAD = 0.2
LIKELY_LEAD = 0.1
CLIENT_BUSY = 0.8


class Limit(StrEnum):
    """What there is too little of."""

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
class Stations:
    """How many images a service can decode and infer at once: threads and lanes of all its workers."""

    decode_threads: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What limits, how sure that is, and the shares of time in which the stations were busy; None if unknown."""

    limit: Limit
    confidence: Confidence
    decode_busy: float | None = None
    inference_busy: float | None = None


def find_bottleneck(at_capacity: LoadResult, stations: Stations) -> Bottleneck:
    """Judge a run in which the server was given all that it takes.

    Clear is a lead of 20 % of the time over the other station, likely one of 10 %. HTTP is only ever likely, since it
    is what is left over.
    """
    if at_capacity.client_cpu_s > CLIENT_BUSY * at_capacity.duration_s:
        return Bottleneck(Limit.CLIENT, Confidence.CLEAR)
    answered = len(at_capacity.answered_ms)
    computed = len(at_capacity.inference_per_image_ms)
    if not computed:
        limit = Limit.HTTP if at_capacity.cached else Limit.UNKNOWN
        return Bottleneck(limit, Confidence.LIKELY if at_capacity.cached else Confidence.UNCLEAR)
    per_ms = at_capacity.throughput_per_s * computed / answered / 1000
    decode = per_ms * float(at_capacity.stages_ms["decode"].mean()) / stations.decode_threads
    inference = per_ms * float(at_capacity.inference_per_image_ms.mean()) / stations.lanes
    limit = Limit.DECODE if decode > inference else Limit.INFERENCE
    if max(decode, inference) < BUSY:
        confidence = Confidence.LIKELY if max(decode, inference) < BUSY - CLEAR_LEAD else Confidence.UNCLEAR
        return Bottleneck(Limit.HTTP, confidence, decode, inference)
    lead = abs(decode - inference)
    confidence = (
        Confidence.CLEAR if lead >= CLEAR_LEAD else Confidence.LIKELY if lead >= LIKELY_LEAD else Confidence.UNCLEAR
    )
    return Bottleneck(limit, confidence, decode, inference)
