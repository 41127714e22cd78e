"""Properties of histograms, rollups and windows."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento_service.domain.requests import Receipt
from bento_service.journal.histograms import (
    LARGEST_MS,
    MAX_EXCESS,
    SMALLEST_MS,
    SparseHistogram,
    find_bins,
    find_percentiles,
)
from bento_service.journal.rollups import merge, summarise, to_bucket
from bento_service.journal.windows import RESOLUTIONS, cover, from_epoch_s, from_epoch_us, plan_window, to_epoch_us
from dashboard.windows import WINDOWS, Window
from tests.unit.journal.naive_history import assert_bucket_counts
from tests.unit.journal.receipts import NOW, make_receipt

HOUR = timedelta(hours=1)
keys = st.lists(st.integers(0, 5_000), max_size=50)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
receipts = st.builds(
    make_receipt,
    received_at=st.datetimes(datetime(2026, 5, 17), datetime(2026, 5, 17, 0, 30), timezones=st.just(UTC)),
    model=st.sampled_from(["lite0", "lite1", ""]),
    outcome=st.sampled_from(["ok", "overloaded", "cancelled"]),
    total_ms=st.floats(0.01, 60_000),
    batch_size=st.integers(1, 64),
    cached=st.booleans(),
    class_id=st.integers(0, 20),
    label=st.sampled_from(["a", "b"]),
)


def number_classes(traffic: list[Receipt]) -> dict[tuple[int, str], int]:
    names = {(top.class_id, top.label) for receipt in traffic for top in receipt.top}
    return {name: key for key, name in enumerate(sorted(names, reverse=True), start=1)}


@given(st.lists(keys, max_size=6))
def test_histograms_of_parts_add_up_to_the_histogram_of_the_whole(parts: list[list[int]]) -> None:
    total = SparseHistogram.add_up([SparseHistogram.count(part) for part in parts])
    assert total.as_dict() == Counter(key for part in parts for key in part)
    assert list(total.keys) == sorted(total.keys)


@given(keys)
def test_a_histogram_survives_its_encoding(seen: list[int]) -> None:
    assert SparseHistogram.decode(SparseHistogram.count(seen).encode()).as_dict() == Counter(seen)


def test_a_count_saturates_instead_of_wrapping() -> None:
    histogram = SparseHistogram.count([1])
    for _ in range(33):
        histogram = SparseHistogram.add_up([histogram, histogram])
    assert histogram.as_dict() == {1: 2**32 - 1}


@given(st.lists(st.floats(SMALLEST_MS, LARGEST_MS), min_size=1, max_size=200), st.integers(1, 100))
def test_a_percentile_is_never_below_the_nearest_rank_one_and_at_most_two_per_cent_above(
    durations_ms: list[float], percent: int
) -> None:
    histogram = SparseHistogram.count(find_bins(np.array(durations_ms)).tolist())
    found = find_percentiles(histogram, [percent], slowest_ms=max(durations_ms))
    assert found is not None
    exact = sorted(durations_ms)[math.ceil(Fraction(percent * len(durations_ms), 100)) - 1]
    assert exact * (1 - 1e-9) - SMALLEST_MS <= found[0] <= min(exact * (1 + MAX_EXCESS), max(durations_ms))


@pytest.mark.parametrize(
    ("count", "percent", "rank"),
    [(1, 99, 1), (2, 50, 1), (3, 50, 2), (100, 95, 95), (101, 95, 96), (151, 99, 150), (100, 7, 7)],
)
def test_the_rank_of_a_percentile_is_rounded_up(count: int, percent: int, rank: int) -> None:
    def percentile(*, short: int) -> float:
        histogram = SparseHistogram.count(find_bins(np.array([1.0] * short + [100.0] * (count - short))).tolist())
        (found,) = find_percentiles(histogram, [percent], slowest_ms=100.0) or [0.0]
        return found

    assert percentile(short=rank - 1) == 100.0
    assert percentile(short=rank) < 2.0


@given(st.floats())
def test_any_float_has_a_bin(duration_ms: float) -> None:
    histogram = SparseHistogram.count(find_bins(np.array([duration_ms])).tolist())
    found = find_percentiles(histogram, [50], slowest_ms=LARGEST_MS)
    assert found is not None
    assert 0.0 <= found[0] <= LARGEST_MS


@given(st.lists(receipts, max_size=30), st.integers(0, 30))
def test_rollups_of_parts_merge_into_the_rollup_of_the_whole(traffic: list[Receipt], cut: int) -> None:
    class_keys = number_classes(traffic)
    class_names = {key: name for name, key in class_keys.items()}
    parts = [summarise(traffic[:cut], class_keys), summarise(traffic[cut:], class_keys)]
    whole = summarise(traffic, class_keys)
    assert whole.keys() == parts[0].keys() | parts[1].keys()
    for key, rollup in whole.items():
        merged = merge([part[key] for part in parts if key in part])
        assert to_bucket(NOW, merged, class_names) == to_bucket(NOW, rollup, class_names)


@given(st.lists(receipts, max_size=30))
def test_each_rollup_counts_its_interval_and_its_model(traffic: list[Receipt]) -> None:
    class_keys = number_classes(traffic)
    class_names = {key: name for name, key in class_keys.items()}
    rollups = summarise(traffic, class_keys)
    for key, rollup in rollups.items():
        start = from_epoch_s(key.start_s)
        own = [receipt for receipt in traffic if receipt.model == key.model]
        until = start + timedelta(seconds=key.resolution_s)
        assert_bucket_counts(to_bucket(start, rollup, class_names), own, until=until)
    for resolution in RESOLUTIONS:
        counted = sum(sum(r.outcomes.values()) for key, r in rollups.items() if key.resolution_s == resolution.width_s)
        assert counted == len(traffic)


@given(st.integers(0, 500_000), st.integers(1, 100_000))
def test_a_cover_is_gapless_aligned_and_exact(start: int, length: int) -> None:
    since_s, until_s = start * 5, (start + length) * 5
    position_s = since_s
    for resolution_s, start_s in cover(since_s, until_s):
        assert start_s == position_s
        assert start_s % resolution_s == 0
        position_s += resolution_s
    assert position_s == until_s


@given(moments, st.timedeltas(timedelta(seconds=1), timedelta(days=500)), st.integers(1, 500), st.data())
def test_a_planned_window_covers_what_was_asked_for_in_buckets_that_begin_at_multiples_of_their_width(
    now: datetime, span: timedelta, buckets: int, data: st.DataObject
) -> None:
    until = now - data.draw(st.timedeltas(timedelta(0), timedelta(days=450)))
    window = plan_window(since=until - span, until=until, buckets=buckets, now=now)

    starts = window.bucket_starts()
    if buckets == 1:
        step_s = max(r.width_s for r in RESOLUTIONS if window.width_s % r.width_s == window.since_s % r.width_s == 0)
        assert window.count == 1
        assert 0 <= window.until_s - until.timestamp() <= step_s
        assert span.total_seconds() <= window.width_s < span.total_seconds() + step_s
    else:
        assert len(starts) == window.count <= buckets + 1
        assert window.since_s % window.width_s == 0
        assert 0 <= (until - span).timestamp() - window.since_s < window.width_s
        assert 0 <= window.until_s - until.timestamp() < window.width_s
    # Every rollup that the window reads is still kept.
    kept_s = {resolution.width_s: resolution.kept_s for resolution in RESOLUTIONS}
    coarsest_s = RESOLUTIONS[-1].width_s
    for resolution_s, start_s in cover(window.since_s, window.until_s):
        assert resolution_s == coarsest_s or now.timestamp() - start_s <= kept_s[resolution_s]


@given(
    st.sampled_from(WINDOWS), moments, st.timedeltas(timedelta(0), timedelta(days=3)), st.timedeltas(timedelta(0), HOUR)
)
def test_windows_of_one_length_share_their_buckets(
    asked: Window, now: datetime, later: timedelta, clock_error: timedelta
) -> None:
    first, second = (
        plan_window(since=until - asked.length, until=until, buckets=asked.buckets, now=until - clock_error)
        for until in (now, now + later)
    )
    assert first.width_s == second.width_s == asked.length.total_seconds() / asked.buckets
    assert (second.since_s - first.since_s) % first.width_s == 0


@given(moments)
def test_times_survive_conversion_to_microseconds(moment: datetime) -> None:
    assert from_epoch_us(to_epoch_us(moment)) == moment
