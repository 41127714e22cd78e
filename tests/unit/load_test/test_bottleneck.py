import pytest

from bento_service.load_test.bottleneck import Confidence, Limit, ServiceCapacity, find_bottleneck
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
def test_the_station_that_is_always_busy_at_capacity_is_the_limit_and_else_http(
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


def test_a_client_without_cpu_to_spare_is_the_limit_whatever_the_answers_say() -> None:
    run = make_run(LATENCIES_MS, facts=make_facts(inference_ms=19), client_cpu_s=9.5)

    assert find_bottleneck(run, STATIONS).limit is Limit.CLIENT


def test_answers_from_the_cache_alone_are_limited_by_http() -> None:
    run = make_run(LATENCIES_MS, facts=make_facts(is_cached=True))

    assert find_bottleneck(run, STATIONS).limit is Limit.HTTP


def test_answers_without_timings_tell_nothing() -> None:
    assert find_bottleneck(make_run(LATENCIES_MS), STATIONS).limit is Limit.UNKNOWN
