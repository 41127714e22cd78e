import pytest

from bento_service.errors import JournalUnavailableError
from bento_service.journal.outages import OutageLog
from tests.fakes.clock import FakeClock

DOWN = JournalUnavailableError("the database is down", retry_after_s=1.0)


def test_losses_end_after_a_minute_without_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    outages = OutageLog(clock)
    for dropped in (0, 3, 4, 4, 9, 9):
        outages.note_success(dropped)
        clock.advance(30)
    outages.note_success(9)

    assert caplog.messages == [
        "The journal drops receipts: more wait than LIGHTBOX_JOURNAL_BUFFER_ROWS allows",
        "The journal drops no more receipts; 9 were lost.",
    ]


def test_the_first_refused_receipt_of_a_loss_is_named_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    outages = OutageLog(clock)
    for dropped, request_id in enumerate("abc", start=1):
        outages.note_refusal(request_id, "too long")
        outages.note_success(dropped)
    clock.advance(60)
    outages.note_success(3)
    outages.note_success(4)

    assert caplog.messages == [
        "The journal drops receipts: the database refuses that of request a: too long",
        "The journal drops no more receipts; 3 were lost.",
        "The journal drops receipts: more wait than LIGHTBOX_JOURNAL_BUFFER_ROWS allows",
    ]


def test_an_outage_is_logged_at_its_start_and_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    outages = OutageLog(clock)
    for _ in range(100):
        outages.note_failure(DOWN)
        clock.advance(1)
    outages.note_success(7)
    outages.note_success(7)

    assert caplog.messages == [
        "Receipts wait in memory: the database is down",
        "The journal is written again, after 100 tries in 100 s; 7 receipts were lost.",
    ]


def test_repeated_failed_reads_are_logged_twice(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    outages = OutageLog(clock)
    for _ in range(20):
        outages.failed_reads.note(DOWN, 5)
        outages.note_success(0)
        clock.advance(1)
    clock.advance(60)
    outages.note_success(0)

    assert caplog.messages == [
        "The journal cannot be read: the database is down",
        "The journal can be read again; 100 reads failed.",
    ]
