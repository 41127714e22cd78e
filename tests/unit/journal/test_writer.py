import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from bento_service.errors import JournalUnavailableError
from bento_service.journal.base import JournalCounts
from bento_service.journal.writer import JournalWriter
from tests.fakes.clock import FakeClock
from tests.unit.journal.fake_store import FakeStore
from tests.unit.journal.receipts import NOW, make_receipt

AN_HOUR_S = 3600.0
RETENTION = timedelta(days=30)
TEN_YEARS = timedelta(days=3650)
MAX_ROWS = 1_000_000
Open = Callable[..., JournalWriter]


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def open_journal(store: FakeStore) -> Iterator[Open]:
    """Open journals whose flush interval is an hour, unless changed."""
    opened: list[JournalWriter] = []

    def open_one(**changes: Any) -> JournalWriter:
        options: dict[str, Any] = {"capacity": 100, "retention": RETENTION, "max_rows": MAX_ROWS, "now": lambda: NOW}
        options |= {"flush_interval_s": AN_HOUR_S, "retry_min_s": 0.001, "retry_max_s": 0.002}
        opened.append(JournalWriter(store, **(options | changes)))
        return opened[-1]

    yield open_one
    store.may_append.set()
    for journal in opened:
        journal.close(timeout_s=0.1 if store.is_down else 30)


def record(journal: JournalWriter, *request_ids: str, outcome: str = "ok", digest: str = "ab" * 32) -> None:
    for request_id in request_ids:
        journal.record(make_receipt(request_id, outcome=outcome, digest=digest))


def wait_for(semaphore: threading.Semaphore, times: int = 1) -> None:
    for _ in range(times):
        assert semaphore.acquire(timeout=30)


def test_closing_writes_waiting_receipts_and_closes_the_store(store: FakeStore, open_journal: Open) -> None:
    waiting: list[int] = []
    journal = open_journal(batch_rows=4, on_waiting=waiting.append)
    record(journal, "a", "b", "c")
    assert journal.close() == 0
    assert store.request_ids == ["a", "b", "c"]
    assert store.calls == ["migrate", "append"]
    assert store.is_closed
    assert journal.counts() == JournalCounts(waiting=0, written=3, dropped=0)
    assert waiting == [1, 2, 3, 0, 0]


def test_a_full_batch_is_written_at_once(store: FakeStore, open_journal: Open) -> None:
    written = threading.Semaphore(0)
    journal = open_journal(batch_rows=2, on_written=written.release)
    record(journal, "a", "b")
    wait_for(written, 2)
    assert store.request_ids == ["a", "b"]


def test_recording_never_waits_for_the_store(store: FakeStore, open_journal: Open) -> None:
    journal = open_journal(batch_rows=1)
    store.may_append.clear()
    record(journal, "a")
    assert store.appending.wait(timeout=30)
    # The store is now in a write that the test holds up.
    record(journal, "b", "c")
    assert journal.counts() == JournalCounts(waiting=3, written=0, dropped=0)


def test_receipts_beyond_the_buffer_are_dropped_and_counted(store: FakeStore, open_journal: Open) -> None:
    dropped: list[int] = []
    journal = open_journal(capacity=3, on_dropped=dropped.append)
    record(journal, "a", "b", "c", "d", "e")
    assert journal.counts() == JournalCounts(waiting=3, written=0, dropped=2)
    assert dropped == [1, 1]
    journal.close()
    assert store.request_ids == ["a", "b", "c"]


def test_receipts_wait_through_an_outage_and_are_written_once(
    store: FakeStore, open_journal: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    written = threading.Semaphore(0)
    store.is_down = True
    journal = open_journal(flush_interval_s=0.001, capacity=2, on_written=written.release)
    record(journal, "a", "b", "c", "d")
    wait_for(store.tries, 5)
    assert store.receipts == []
    store.is_down = False
    wait_for(written, 2)
    journal.close()
    assert store.request_ids == ["a", "b"]
    assert journal.counts() == JournalCounts(waiting=0, written=2, dropped=2)
    begin, end = caplog.messages
    assert begin == "Receipts wait in memory: the fake store is down"
    assert re.fullmatch(r"The journal is written again, after \d+ tries in 0 s; 2 receipts were lost\.", end)


def test_a_full_batch_does_not_hurry_the_next_try_in_an_outage(store: FakeStore, open_journal: Open) -> None:
    store.is_down = True
    journal = open_journal(flush_interval_s=0.001, batch_rows=1, retry_min_s=AN_HOUR_S, retry_max_s=AN_HOUR_S)
    wait_for(store.tries)
    record(journal, "a", "b")
    assert not store.tries.acquire(timeout=0.05)


def test_after_failed_reads_the_store_is_migrated_again(
    store: FakeStore, open_journal: Open, caplog: pytest.LogCaptureFixture
) -> None:
    written = threading.Semaphore(0)
    journal = open_journal(batch_rows=1, on_written=written.release)
    record(journal, "a")
    wait_for(written)
    store.is_down = True
    for _ in range(3):
        with pytest.raises(JournalUnavailableError):
            journal.reader.read_receipts(since=NOW, until=NOW + RETENTION, order="newest", limit=5)
    store.is_down = False
    journal.close()
    assert store.calls == ["migrate", "append", "read", "read", "read", "migrate"]
    assert caplog.messages == ["The journal cannot be read: the fake store is down"]


@pytest.mark.parametrize("is_down", [True, False], ids=["the store is down", "a write hangs"])
def test_closing_gives_up_in_time_and_counts_the_loss(store: FakeStore, open_journal: Open, is_down: bool) -> None:
    dropped: list[int] = []
    store.is_down = is_down
    journal = open_journal(batch_rows=1, on_dropped=dropped.append)
    if not is_down:
        store.may_append.clear()
    record(journal, "a", "b")
    assert is_down or store.appending.wait(timeout=30)
    assert journal.close(timeout_s=0.01) == 2
    assert journal.counts() == JournalCounts(waiting=0, written=0, dropped=2)
    assert dropped == [2]
    assert store.is_closed


def test_a_receipt_that_the_store_refuses_is_dropped_alone(
    store: FakeStore, open_journal: Open, caplog: pytest.LogCaptureFixture
) -> None:
    dropped: list[int] = []
    store.refused = {"bad", "worse"}
    journal = open_journal(on_dropped=dropped.append)
    record(journal, "a", "bad", "b", "c", "worse", "d")
    journal.close()
    assert store.request_ids == ["a", "b", "c", "d"]
    assert journal.counts() == JournalCounts(waiting=0, written=4, dropped=2)
    assert dropped == [1, 1]
    assert caplog.messages == [
        "The journal drops receipts: the database refuses that of request bad: a receipt that this store cannot take"
    ]


def test_a_closed_journal_drops_and_may_be_closed_again(store: FakeStore, open_journal: Open) -> None:
    journal = open_journal()
    record(journal, "a")
    journal.close()
    record(journal, "late")
    assert journal.counts() == JournalCounts(waiting=0, written=1, dropped=1)
    journal.close()
    assert store.request_ids == ["a"]


def test_many_threads_may_record_at_once(store: FakeStore, open_journal: Open) -> None:
    journal = open_journal(capacity=10_000, flush_interval_s=0.001, batch_rows=7)
    with ThreadPoolExecutor(4) as pool:
        pool.map(lambda number: record(journal, str(number)), range(2_000))
    journal.close()
    assert sorted(map(int, store.request_ids)) == list(range(2_000))


def test_old_receipts_are_pruned_in_portions(store: FakeStore, open_journal: Open) -> None:
    store.prunable = 7_000
    open_journal(flush_interval_s=0.001)
    wait_for(store.prunings, 2)
    assert store.prunable == 0
    assert {(now, kept, most) for now, _, kept, most in store.pruned} == {(NOW, RETENTION, MAX_ROWS)}


def test_pruning_is_repeated_by_the_monotonic_clock(store: FakeStore, open_journal: Open) -> None:
    clock, moments = FakeClock(), [NOW]
    open_journal(flush_interval_s=0.001, prune_interval_s=600.0, now=lambda: moments[-1], clock=clock)
    wait_for(store.prunings)
    moments.append(NOW + TEN_YEARS)
    assert not store.prunings.acquire(timeout=0.02)
    clock.advance(600)
    wait_for(store.prunings)
    moments.append(NOW)
    clock.advance(600)
    wait_for(store.prunings)
    # Each leap resets the time that the clock has been steady for.
    assert [(now, steady_for) for now, steady_for, *_ in store.pruned] == [
        (moment, timedelta(0)) for moment in (NOW, NOW + TEN_YEARS, NOW)
    ]


def test_failed_pruning_blocks_no_write_and_is_logged_once(
    store: FakeStore, open_journal: Open, caplog: pytest.LogCaptureFixture
) -> None:
    clock, written = FakeClock(), threading.Semaphore(0)
    store.is_prune_broken = True
    journal = open_journal(flush_interval_s=0.001, clock=clock, on_written=written.release)
    for request_id in "abc":
        wait_for(store.prunings)
        record(journal, request_id)
        wait_for(written)
        assert not store.prunings.acquire(timeout=0.02)
        clock.advance(60)
    journal.close()
    assert [message for message in caplog.messages if "prune" in message] == [
        "The journal cannot be pruned: this store cannot prune"
    ]


def test_refusals_beyond_the_rate_are_counted_and_not_stored(store: FakeStore, open_journal: Open) -> None:
    moments = [NOW]
    journal = open_journal(now=lambda: moments[-1])
    record(journal, *(f"refused-{number}" for number in range(25)), outcome="unknown_model", digest="")
    record(journal, "answered")
    record(journal, "damaged", outcome="undecodable_image")
    moments.append(NOW + timedelta(seconds=1))
    record(journal, "a second later", outcome="draining", digest="")
    journal.close()

    single = [f"refused-{number}" for number in range(10)]
    assert store.request_ids == [*single, "answered", "damaged", "a second later"]
    assert [receipt.request_id for receipt in store.counted_only] == [f"refused-{number}" for number in range(10, 25)]
    assert journal.counts() == JournalCounts(waiting=0, written=28, dropped=0)


def test_refusals_that_wait_through_an_outage_are_still_only_counted(store: FakeStore, open_journal: Open) -> None:
    written = threading.Semaphore(0)
    store.is_down = True
    journal = open_journal(flush_interval_s=0.001, on_written=written.release)
    record(journal, *(str(number) for number in range(12)), outcome="overloaded", digest="")
    wait_for(store.tries, 5)
    store.is_down = False
    wait_for(written, 12)
    assert (len(store.receipts), len(store.counted_only)) == (10, 2)
