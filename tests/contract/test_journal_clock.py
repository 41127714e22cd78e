"""Pruning while the wall clock is wrong, or after it was."""

from datetime import UTC, datetime, timedelta

import pytest

from bento_service.journal.store import SqlJournalStore
from tests.unit.journal.receipts import NOW, Window, make_receipt

DAY = timedelta(days=1)
TEN_YEARS = 3650 * DAY
BIRTH_OF_UNIX = datetime(1970, 1, 1, 1, tzinfo=UTC)
EVER: Window = {"since": datetime(1969, 1, 1, tzinfo=UTC), "until": NOW + 2 * TEN_YEARS}


def write(store: SqlJournalStore, *moments: datetime) -> None:
    for moment in moments:
        store.append([make_receipt(received_at=moment)])


def read(store: SqlJournalStore) -> list[datetime]:
    return [receipt.received_at for receipt in store.read_receipts(**EVER, order="newest", limit=500)]


def prune(
    store: SqlJournalStore,
    now: datetime,
    *,
    steady_for: timedelta = timedelta(0),
    retention: timedelta = 30 * DAY,
    max_receipts: int = 500,
) -> int:
    return store.prune(now=now, steady_for=steady_for, retention=retention, max_receipts=max_receipts, limit=100)


def count(store: SqlJournalStore, since: datetime, until: datetime) -> int:
    return store.read_history(since=since, until=until, buckets=1).total.outcomes.get("ok", 0)


@pytest.mark.parametrize("steady_for", [timedelta(0), 100 * DAY])
def test_a_clock_ten_years_ahead_deletes_nothing(store: SqlJournalStore, steady_for: timedelta) -> None:
    days = [NOW - number * DAY for number in range(20)]
    write(store, *days, NOW + TEN_YEARS)

    assert prune(store, NOW + TEN_YEARS, steady_for=steady_for) == 0

    assert read(store) == [NOW + TEN_YEARS, *days]
    assert count(store, NOW - 30 * DAY, NOW + DAY) == 20


def test_a_corrected_clock_prunes_again_and_deletes_receipts_dated_ahead(store: SqlJournalStore) -> None:
    before, after = [NOW - 2 * DAY, NOW - DAY], [NOW, NOW + 5 * DAY]
    write(store, *before, NOW + TEN_YEARS, *after)

    assert prune(store, NOW + DAY, retention=2 * DAY) == 1
    assert read(store) == [NOW + TEN_YEARS, *reversed(after), before[1]]
    # Receipts dated ahead are deleted together with the first one written after them.
    assert prune(store, NOW + 6 * DAY, retention=2 * DAY) == 3
    assert read(store) == [after[1]]
    assert count(store, NOW + TEN_YEARS - DAY, NOW + TEN_YEARS + DAY) == 0
    assert count(store, NOW - 30 * DAY, NOW + 6 * DAY) == 4


def test_a_clock_in_1970_deletes_no_receipt_as_dated_ahead(store: SqlJournalStore) -> None:
    days = [NOW - number * DAY for number in range(5)]
    write(store, *reversed(days), BIRTH_OF_UNIX)

    assert prune(store, BIRTH_OF_UNIX + timedelta(hours=1), steady_for=100 * DAY) == 0
    assert prune(store, NOW, retention=3.5 * DAY) == 2
    assert read(store) == days[:4]


def test_the_limit_of_receipts_does_not_depend_on_the_clock(store: SqlJournalStore) -> None:
    days = [NOW - number * DAY for number in range(9, -1, -1)]
    write(store, *days)

    assert prune(store, NOW + TEN_YEARS, max_receipts=4) == 6
    assert read(store) == days[:-5:-1]
