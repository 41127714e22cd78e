"""What limits a server at its capacity, judged from the timings in its answers."""

from dataclasses import dataclass
from enum import StrEnum

from bento_service.load_test.result import LoadResult

BUSY = 0.6
"""Share of the time below which a station is no limit. Two busy lanes of three are above."""
CLEAR_LEAD = 0.2
LIKELY_LEAD = 0.1


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

    By the utilisation law (Denning and Buzen, 1978), `m` servers that each work on an image for `D` seconds are busy
    for `X * D / m` of the time at `X` images a second. Decode threads and lanes are such servers, and answers hold `D`.
    The busier of the two is the limit: clearly with a lead of 20 % of the time, likely with 10 %. Where neither is
    busy, HTTP is, and never more than likely, since it is only the rest.
    """
    if at_capacity.is_client_busy:
        return Bottleneck(Limit.CLIENT, Confidence.CLEAR)
    computed = len(at_capacity.inference_per_image_ms)
    if not computed:
        has_cached = at_capacity.cached > 0
        return (
            Bottleneck(Limit.HTTP, Confidence.LIKELY) if has_cached else Bottleneck(Limit.UNKNOWN, Confidence.UNCLEAR)
        )
    per_ms = at_capacity.throughput_per_s * computed / len(at_capacity.answered_ms) / 1000
    decode = per_ms * float(at_capacity.stages_ms["decode"].mean()) / capacity.decode_threads
    inference = per_ms * float(at_capacity.inference_per_image_ms.mean()) / capacity.lanes
    busiest, lead = max(decode, inference), abs(decode - inference)
    if busiest < BUSY:
        confidence = Confidence.LIKELY if busiest < BUSY - CLEAR_LEAD else Confidence.UNCLEAR
        return Bottleneck(Limit.HTTP, confidence, decode, inference)
    leads = {Confidence.CLEAR: CLEAR_LEAD, Confidence.LIKELY: LIKELY_LEAD, Confidence.UNCLEAR: 0.0}
    confidence = next(level for level, least in leads.items() if lead >= least)
    return Bottleneck(Limit.DECODE if decode > inference else Limit.INFERENCE, confidence, decode, inference)
