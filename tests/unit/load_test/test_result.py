from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.load_test.figures import describe_run, find_misses
from bento_service.load_test.generator import draw_arrivals
from bento_service.load_test.result import BROKEN, LoadResult
from tests.unit.load_test.runs import make_facts, make_run


def test_a_percentile_counts_a_refusal_as_infinite() -> None:
    run = make_run([10.0] * 100, statuses=[200] * 98 + [429] * 2)

    assert run.percentile_ms(0.98) == pytest.approx(10)
    assert run.percentile_ms(0.99) == float("inf")


@given(latencies_ms=st.lists(st.floats(0.1, 5000), min_size=1, max_size=300), share=st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_bounds_its_share_of_the_requests_and_lies_in_its_interval(
    latencies_ms: list[float], share: float
) -> None:
    run = make_run(latencies_ms)

    percentile_ms = run.percentile_ms(share)
    low_ms, high_ms = run.interval_ms(share)
    assert np.mean(run.latencies_ms <= percentile_ms) >= share
    assert low_ms <= percentile_ms <= high_ms


def test_the_interval_of_a_percentile_covers_it_in_19_of_20_runs() -> None:
    draws = np.random.default_rng(5).exponential(10, size=(400, 2000))
    true_ms = -10 * np.log(0.01)

    intervals = [make_run(draw.tolist()).interval_ms(0.99) for draw in draws]

    assert np.mean([low <= true_ms <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.03)


def test_throughput_counts_answers_from_settling_to_the_end_of_the_schedule() -> None:
    instant, slow = make_run([0.0] * 1000, offered_per_s=100), make_run([2000.0] * 1000, offered_per_s=100)

    assert instant.throughput_per_s == pytest.approx(100, rel=0.01)
    assert slow.throughput_per_s == pytest.approx(100 * 8 / 9, rel=0.01)
    assert slow.goodput_per_s(target_ms=1999) == 0


IN_TIME, LATE = [10.0] * 990, [200.0] * 10


@pytest.mark.parametrize(
    ("run", "misses"),
    [
        (make_run(IN_TIME + LATE), []),
        (make_run(IN_TIME + LATE, statuses=[200] * 990 + [429] * 10), []),
        (make_run(IN_TIME[1:] + LATE + LATE[:1]), ["11 over the target"]),
        (make_run(IN_TIME + LATE, statuses=[429] * 4 + [200] * 996), ["4 refused", "10 over the target"]),
        (make_run(IN_TIME + LATE, statuses=[429] * 1000), ["1000 refused"]),
        (make_run([10.0] * 1000, statuses=[200] * 999 + [500]), ["1 failed"]),
        (make_run([10.0] * 1000, statuses=[BROKEN] * 1000), ["1000 failed"]),
        (make_run([]), ["nothing was sent"]),
    ],
)
def test_a_rate_is_kept_only_if_99_per_cent_are_in_time_and_none_fails(run: LoadResult, misses: list[str]) -> None:
    assert find_misses(run, 100) == misses


def test_a_rate_at_which_a_queue_grows_is_not_kept_even_within_the_target() -> None:
    # 15 % more than the server takes: after five seconds an answer is 0.75 s late, within a target of one second.
    growing = make_run(np.linspace(0, 750, 575).tolist(), offered_per_s=115)

    figures = describe_run(growing, 1000)

    assert (figures.p99_ms or 0) < 1000
    assert (figures.is_kept, figures.not_kept_because) == (False, "the queue grew by 59")


@pytest.mark.parametrize(("rate_per_s", "latency_ms"), [(3, 150), (5, 150), (20, 500), (100, 500)])
def test_a_slow_service_that_keeps_up_has_no_growing_queue(rate_per_s: float, latency_ms: float) -> None:
    def run(seed: int) -> LoadResult:
        due_s = draw_arrivals(rate_per_s, 3, seed)
        steady = make_run([latency_ms] * len(due_s), offered_per_s=rate_per_s, duration_s=3)
        return replace(steady, due_s=due_s, done_s=due_s + latency_ms / 1000)

    assert np.mean([not find_misses(run(seed), 1000) for seed in range(300)]) > 0.95


def test_the_client_is_the_limit_where_it_is_late_or_busy() -> None:
    assert make_run([30.0] * 100, waits_ms=6).is_client_bound
    assert not make_run([90.0] * 100, waits_ms=6).is_client_bound
    assert not make_run([10.0] * 100, waits_ms=4).is_client_bound
    assert make_run([10.0] * 100, client_cpu_s=0.9).is_client_bound


def test_http_is_what_no_stage_took_of_computed_answers() -> None:
    computed = describe_run(make_run([15.0] * 100, facts=make_facts()), 100)
    cached = describe_run(make_run([1.0] * 10, facts=make_facts(is_cached=True)), 100)

    assert computed.stages_ms == pytest.approx({"receive": 1, "decode": 2, "queue": 1, "inference": 8, "other": 3})
    assert (cached.cached, cached.stages_ms) == (10, {})


def test_figures_of_a_run_without_an_answer_are_none() -> None:
    figures = describe_run(make_run([5.0] * 10, statuses=[429] * 10), 100)

    assert (figures.answered, figures.p50_ms, figures.p99_ms, figures.cdf_ms) == (0, None, None, ())
    assert figures.refused_p99_ms == pytest.approx(5)
    assert not figures.is_kept
