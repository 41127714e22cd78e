import numpy as np

from bento_service.cache.bypass import SAMPLE_SHARE, WINDOW_LOOKUPS, Bypass


def send(bypass: Bypass, images: "list[int]", seen: set[int]) -> int:
    """Let images pass before a cache that keeps everything; return how many were looked up."""
    looked_up = 0
    for image in images:
        if not bypass.takes_past():
            looked_up += 1
            bypass.record(is_hit=image in seen)
            seen.add(image)
    return looked_up


def test_everything_is_looked_up_until_there_is_enough_to_judge_by() -> None:
    bypass = Bypass()
    assert send(bypass, list(range(WINDOW_LOOKUPS)), set()) == WINDOW_LOOKUPS
    assert bypass.is_on


def test_traffic_that_never_repeats_is_sampled() -> None:
    bypass = Bypass(draw=np.random.default_rng(1).random)
    seen: set[int] = set()
    send(bypass, list(range(WINDOW_LOOKUPS)), seen)
    looked_up = send(bypass, list(range(10_000, 26_000)), seen)
    assert 0.8 * SAMPLE_SHARE < looked_up / 16_000 < 1.2 * SAMPLE_SHARE


def test_traffic_that_begins_to_repeat_in_turn_is_noticed() -> None:
    bypass = Bypass(draw=np.random.default_rng(1).random)
    seen: set[int] = set()
    send(bypass, list(range(10_000, 12_000)), seen)
    assert bypass.is_on
    # Sixteen divides the length of the turn: a sample of every sixteenth would see the same few over and over.
    send(bypass, list(range(256)) * 16, seen)
    assert not bypass.is_on
    assert send(bypass, list(range(256)), seen) == 256


def test_a_few_hits_in_a_hundred_keep_the_cache_in_use() -> None:
    bypass = Bypass(draw=np.random.default_rng(1).random)
    for number in range(5_000):
        bypass.record(is_hit=number % 33 == 0)
    assert not bypass.is_on
    assert 0.02 < bypass.hit_rate < 0.04


def test_nothing_looked_up_yet_is_a_hit_rate_of_zero() -> None:
    assert Bypass().hit_rate == 0
