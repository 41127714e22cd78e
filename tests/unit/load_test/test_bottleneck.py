import pytest

from bento_service.load_test.bottleneck import Confidence, Limit, ServiceCapacity, find_bottleneck
from bento_service.load_test.result import LoadResult
from tests.unit.load_test.runs import make_facts, make_run

STATIONS = ServiceCapacity(decode_threads=2, lanes=2)
LATENCIES_MS = [0.0] * 1000


@pytest.mark.parametrize(
    ("decode_ms", "inference_ms", "batch_size", "limit", "confidence"),
    [
        (4.0, 19.0, 1, Limit.INFERENCE, Confidence.CLEAR),
        (19.0, 8.0, 1, Limit.DECODE, Confidence.CLEAR),
        (19.0, 96.0, 8, Limit.DECODE, Confidence.CLEAR),
        (16.0, 19.0, 1, Limit.INFERENCE, Confidence.LIKELY),
        (18.5, 19.0, 1, Limit.INFERENCE, Confidence.UNCLEAR),
        (2.0, 4.0, 1, Limit.HTTP, Confidence.LIKELY),
        (2.0, 11.0, 1, Limit.HTTP, Confidence.UNCLEAR),
    ],
)
def test_the_station_that_is_busy_at_capacity_is_the_limit_else_http(
    decode_ms: float, inference_ms: float, batch_size: int, limit: Limit, confidence: Confidence
) -> None:
    facts = make_facts(decode_ms=decode_ms, inference_ms=inference_ms, batch_size=batch_size)

    found = find_bottleneck(make_run(LATENCIES_MS, offered_per_s=100, facts=facts), STATIONS)

    assert (found.limit, found.confidence) == (limit, confidence)


def test_the_shares_of_busy_time_follow_from_rate_demand_and_servers() -> None:
    facts = make_facts(decode_ms=5, inference_ms=64, batch_size=4)

    found = find_bottleneck(make_run(LATENCIES_MS, offered_per_s=100, facts=facts), STATIONS)

    assert found.decode_busy == pytest.approx(0.25, rel=0.01)
    assert found.inference_busy == pytest.approx(0.8, rel=0.01)


@pytest.mark.parametrize(
    ("run", "limit"),
    [
        (make_run(LATENCIES_MS, facts=make_facts(inference_ms=19), client_cpu_s=9.5), Limit.CLIENT),
        (make_run(LATENCIES_MS, facts=make_facts(is_cached=True)), Limit.HTTP),
        (make_run(LATENCIES_MS), Limit.UNKNOWN),
    ],
    ids=["a busy client", "cached answers", "no timings"],
)
def test_without_computed_answers_or_a_client_with_time_no_station_is_the_limit(run: LoadResult, limit: Limit) -> None:
    assert find_bottleneck(run, STATIONS).limit is limit
