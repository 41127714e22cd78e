"""The contract of `JournalStore`, on SQLite and a real PostgreSQL."""

import multiprocessing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from bento_service.database import tables
from bento_service.database.url import parse_url
from bento_service.domain.history import HistoryBucket, Quantiles
from bento_service.domain.requests import Timings
from bento_service.errors import InvalidParameterError
from bento_service.journal.base import Order
from bento_service.journal.store import SqlJournalStore
from tests.unit.journal.naive_history import assert_bucket_counts
from tests.unit.journal.receipts import NOW, Window, make_receipt, make_traffic

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
BATCHES = 12
ROWS_A_BATCH = 4
FOREVER: Window = {"since": NOW - 1000 * DAY, "until": NOW + DAY}


def prune(store: SqlJournalStore, **changes: Any) -> int:
    options: dict[str, Any] = {"now": NOW, "steady_for": timedelta(0), "max_receipts": 100, "limit": 10}
    return store.prune(**(options | changes))


def test_every_field_of_a_receipt_comes_back(store: SqlJournalStore) -> None:
    receipt = replace(
        make_receipt(cached=True, label="Blässhuhn 🐦"),
        received_at=datetime(2026, 5, 17, 11, 59, 59, 123457, tzinfo=timezone(timedelta(hours=2))),
        timings=Timings(receive_ms=0.1, decode_ms=1 / 3, queue_ms=0.0, inference_ms=9.1e-5, total_ms=12345.678901234),
        warnings=("exif_orientation_applied", "converted_from_cmyk"),
        score_kind="independent",
    )
    store.append([receipt])
    (stored,) = store.read_receipts(**FOREVER, order="newest", limit=10)
    assert stored == receipt
    assert stored.received_at.utcoffset() == timedelta(0)


def test_a_refusal_without_model_or_image_comes_back(store: SqlJournalStore) -> None:
    receipt = replace(make_receipt(outcome="unknown_model", model=""), image=None, digest="", model_version="")
    store.append([receipt])
    assert store.read_receipts(**FOREVER, order="newest", limit=10) == (receipt,)


def test_pages_of_the_newest_receipts_follow_each_other(store: SqlJournalStore) -> None:
    store.append([make_receipt(str(number), received_at=NOW - number * HOUR) for number in (3, 1, 4, 0, 2)])
    pages = [store.read_receipts(**FOREVER, order="newest", limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [[receipt.request_id for receipt in page] for page in pages] == [["0", "1"], ["2", "3"], ["4"], []]


def test_a_receipt_is_found_by_its_whole_id(store: SqlJournalStore) -> None:
    store.append([make_receipt("abc"), make_receipt("abcd", outcome="overloaded"), make_receipt("ABCD")])
    found = store.read_receipts(**FOREVER, order="newest", limit=9, request_id="abcd")
    assert [receipt.request_id for receipt in found] == ["abcd"]


def test_the_slowest_receipts_are_answered_ones_by_total_time(store: SqlJournalStore) -> None:
    old = make_receipt("old", total_ms=500.0, received_at=NOW - 2 * DAY)
    refused = make_receipt("refused", total_ms=1000.0, outcome="overloaded")
    store.append([make_receipt("fast", total_ms=1.0), make_receipt("slow", total_ms=100.0), refused, old])
    found = store.read_receipts(since=NOW - DAY, until=NOW + DAY, order="slowest", limit=9)
    assert [receipt.request_id for receipt in found] == ["slow", "fast"]


@pytest.mark.parametrize("order", ["newest", "slowest"])
def test_receipts_are_filtered_by_model_outcome_and_window(store: SqlJournalStore, order: Order) -> None:
    store.append(
        [
            make_receipt("wanted", outcome="overloaded"),
            make_receipt("other model", outcome="overloaded", model="lite1"),
            make_receipt("other outcome"),
            make_receipt("at until", outcome="overloaded", received_at=NOW + HOUR),
        ]
    )
    found = store.read_receipts(since=NOW, until=NOW + HOUR, order=order, limit=9, model="lite0", outcome="overloaded")
    assert [receipt.request_id for receipt in found] == ["wanted"]
    store.append([replace(make_receipt("new version"), model_version="v2")])
    found = store.read_receipts(since=NOW, until=NOW + HOUR, order=order, limit=9, model="lite0", model_version="v2")
    assert [receipt.request_id for receipt in found] == ["new version"]


@pytest.mark.parametrize(
    ("span", "buckets"), [(timedelta(minutes=5), 60), (HOUR, 60), (DAY, 24), (7 * DAY, 120), (30 * DAY, 120)], ids=str
)
def test_a_history_equals_the_aggregated_receipts(store: SqlJournalStore, span: timedelta, buckets: int) -> None:
    # Receipts before and after the window too, appended out of order in several batches.
    receipts = make_traffic(1, 900, since=NOW - span * 1.1, span=span * 1.2)
    for start in range(0, 900, 300):
        store.append(receipts[start : start + 300])

    for model in (None, "lite0", ""):
        history = store.read_history(since=NOW - span, until=NOW, buckets=buckets, model=model)
        own = [receipt for receipt in receipts if model is None or receipt.model == model]
        width = timedelta(seconds=history.bucket_s)

        assert NOW - span - width < history.since <= NOW - span
        assert history.until == NOW
        assert len(history.buckets) in {buckets, buckets + 1}
        assert width == span / buckets
        for bucket in history.buckets:
            assert_bucket_counts(bucket, own, until=bucket.start + width)
        assert_bucket_counts(history.total, own, until=history.buckets[-1].start + width)


def test_a_window_between_steps_is_extended_to_whole_steps(store: SqlJournalStore) -> None:
    receipts = make_traffic(2, 600, since=NOW - 3 * DAY, span=3 * DAY)
    store.append(receipts)
    history = store.read_history(
        since=NOW - timedelta(hours=31, minutes=7, seconds=3.3), until=NOW - timedelta(seconds=1.7), buckets=37
    )
    assert 0 < len(history.buckets) <= 38
    assert history.until == NOW
    for bucket in history.buckets:
        assert_bucket_counts(bucket, receipts, until=bucket.start + timedelta(seconds=history.bucket_s))


def test_past_buckets_are_equal_in_later_readings(journal_url: str) -> None:
    clock = [NOW]
    store = SqlJournalStore(journal_url, now=lambda: clock[0])
    store.migrate()
    store.append(make_traffic(3, 600, since=NOW - timedelta(minutes=16), span=timedelta(minutes=16)))
    readings = []
    for seconds in (0, 7, 23):
        clock[0] = NOW + timedelta(seconds=seconds)
        history = store.read_history(since=clock[0] - timedelta(minutes=15), until=clock[0], buckets=60)
        assert history.until == clock[0]
        readings.append({bucket.start: bucket for bucket in history.buckets})
    store.close()
    shared = readings[0].keys() & readings[1].keys() & readings[2].keys()
    assert len(shared) == 59
    assert all(readings[0][start] == readings[1][start] == readings[2][start] for start in shared)


def test_an_empty_journal_gives_whole_empty_buckets(store: SqlJournalStore) -> None:
    history = store.read_history(since=NOW - HOUR, until=NOW, buckets=2)
    stages = dict.fromkeys(("total", "receive", "decode", "queue", "inference"), Quantiles())
    assert history.buckets == (HistoryBucket(NOW - HOUR, stages=stages), HistoryBucket(NOW - HOUR / 2, stages=stages))
    past = store.read_history(since=NOW - 3 * HOUR, until=NOW - HOUR - timedelta(minutes=1), buckets=2)
    assert (past.since, past.until) == (NOW - 3 * HOUR, NOW - HOUR)


def test_a_window_that_ends_before_it_begins_is_refused(store: SqlJournalStore) -> None:
    with pytest.raises(InvalidParameterError, match="has to be after since"):
        store.read_history(since=NOW, until=NOW - HOUR, buckets=10)


def test_two_writers_count_the_same_label_under_one_key(store: SqlJournalStore, journal_url: str) -> None:
    other = SqlJournalStore(journal_url)
    store.append([make_receipt()])
    other.append([make_receipt(), make_receipt(class_id=1, label="goldfish")])
    store.append([make_receipt(class_id=1, label="goldfish"), make_receipt(class_id=1, label="goldfish")])
    other.close()
    history = store.read_history(since=NOW - HOUR, until=NOW + HOUR, buckets=1)
    assert history.total.top_classes == ((1, "goldfish", 3), (285, "Egyptian cat", 2))


def test_a_batch_with_a_bad_receipt_leaves_nothing_behind(store: SqlJournalStore) -> None:
    # The column may not be null.
    bad = replace(make_receipt("bad"), request_id=None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="request_id"):
        store.append([make_receipt("good", class_id=7, label="cock"), bad])
    assert store.read_receipts(**FOREVER, order="newest", limit=10) == ()

    store.append([make_receipt("good", class_id=7, label="cock")])
    total = store.read_history(since=NOW - HOUR, until=NOW + HOUR, buckets=1).total
    assert total.outcomes == {"ok": 1}
    assert total.top_classes == ((7, "cock", 1),)


def write_to(url: str, writer: int) -> None:
    """Migrate an empty database, then append batches that all belong to the same rollups. One of several processes."""
    store = SqlJournalStore(url)
    store.migrate()
    for batch in range(BATCHES):
        names = [f"{writer}-{batch}-{row}" for row in range(ROWS_A_BATCH)]
        store.append([make_receipt(name, class_id=batch, label=f"class {batch}") for name in names])
    store.close()


def test_concurrent_processes_lose_nothing(journal_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_to, args=(journal_url, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]

    store = SqlJournalStore(journal_url, now=lambda: NOW)
    expected = len(writers) * BATCHES * ROWS_A_BATCH
    assert len(store.read_receipts(**FOREVER, order="newest", limit=10_000)) == expected
    # One width for each resolution that rollups are kept at.
    for span in (timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=10), HOUR, DAY):
        history = store.read_history(
            since=NOW - NOW.hour * HOUR, until=NOW - NOW.hour * HOUR + DAY, buckets=DAY // span
        )
        assert history.total.outcomes == {"ok": expected}
        assert sum(history.total.batch_sizes.values()) == expected
        assert {count for *_, count in history.total.top_classes} == {len(writers) * ROWS_A_BATCH}
    store.close()


def test_pruning_deletes_old_receipts_a_portion_at_a_time(store: SqlJournalStore) -> None:
    store.append([make_receipt(str(number), received_at=NOW - number * DAY) for number in range(7)])
    assert prune(store, retention=2.5 * DAY, limit=3) == 3
    assert prune(store, retention=2.5 * DAY, limit=3) == 1
    left = store.read_receipts(**FOREVER, order="newest", limit=10)
    assert [receipt.request_id for receipt in left] == ["0", "1", "2"]


def test_pruning_keeps_the_receipts_written_last(store: SqlJournalStore) -> None:
    for number in range(9):
        store.append([make_receipt(str(number), received_at=NOW - number * HOUR)])
    assert prune(store, retention=DAY, max_receipts=4, limit=3) == 3
    assert prune(store, retention=DAY, max_receipts=4, limit=3) == 2
    assert prune(store, retention=DAY, max_receipts=4, limit=3) == 0
    left = store.read_receipts(**FOREVER, order="newest", limit=10)
    assert [receipt.request_id for receipt in left] == ["5", "6", "7", "8"]
    assert store.read_history(since=NOW - DAY, until=NOW + HOUR, buckets=1).total.outcomes == {"ok": 9}


def test_old_and_surplus_receipts_share_one_portion(store: SqlJournalStore) -> None:
    assert prune(store, retention=DAY, max_receipts=1, limit=3) == 0
    store.append([make_receipt(f"old {number}", received_at=NOW - 3 * DAY) for number in range(2)])
    store.append([make_receipt(f"new {number}", received_at=NOW) for number in range(4)])
    assert prune(store, retention=DAY, max_receipts=1, limit=3) == 3
    left = store.read_receipts(**FOREVER, order="newest", limit=10)
    assert [receipt.request_id for receipt in left] == ["new 3", "new 2", "new 1"]


def test_a_receipt_only_counted_is_in_the_history_alone(store: SqlJournalStore) -> None:
    refused = [make_receipt(f"refused {number}", outcome="overloaded") for number in range(5)]
    store.append([make_receipt("answered"), refused[0]], counted_only=refused[1:])
    store.append([], counted_only=[make_receipt("alone", outcome="draining")])
    found = store.read_receipts(**FOREVER, order="newest", limit=10)
    assert {receipt.request_id for receipt in found} == {"answered", "refused 0"}
    total = store.read_history(since=NOW - HOUR, until=NOW + HOUR, buckets=1).total
    assert total.outcomes == {"ok": 1, "overloaded": 5, "draining": 1}


def test_rollups_outlive_receipts_at_coarser_resolutions(store: SqlJournalStore) -> None:
    store.append([make_receipt(received_at=NOW - age) for age in (HOUR, 40 * DAY, 500 * DAY)])
    prune(store, retention=0 * DAY, steady_for=30 * DAY)
    assert store.read_receipts(**FOREVER, order="newest", limit=10) == ()
    history = store.read_history(since=NOW - 600 * DAY, until=NOW, buckets=1)
    assert history.total.outcomes == {"ok": 2}
    zoomed = store.read_history(since=NOW - 40 * DAY - HOUR, until=NOW - 40 * DAY + HOUR, buckets=60)
    assert zoomed.bucket_s == 3600
    assert zoomed.total.outcomes == {"ok": 1}


def test_migrating_twice_gives_the_tables_of_the_schema(store: SqlJournalStore, journal_url: str) -> None:
    store.append([make_receipt()])
    store.migrate()
    assert len(store.read_receipts(**FOREVER, order="newest", limit=10)) == 1
    engine = create_engine(parse_url(journal_url))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()
