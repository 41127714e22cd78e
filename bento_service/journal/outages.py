"""Log lines about a journal that cannot be written or read: one when it begins and one when it ends."""

import logging
from collections.abc import Callable

from bento_service.errors import JournalUnavailableError

_log = logging.getLogger(__name__)

_QUIET_PRUNING_S = 600.0
"""Pruning runs only once a minute."""


class Episode:
    """Logs the first of repeated events, and their number once there was none for `quiet_s`. Not thread-safe.

    Without that quiet time sporadic events would fill the log.
    """

    def __init__(
        self, clock: Callable[[], float], begin: str, end: str, *, level: int = logging.ERROR, quiet_s: float = 60.0
    ) -> None:
        """`begin` has a place for the first event's reason, `end` one for the number of events."""
        self._clock = clock
        self._begin = begin
        self._end = end
        self._level = level
        self._quiet_s = quiet_s
        self._total = 0
        self._last_s = 0.0

    def note(self, reason: object, number: int = 1) -> None:
        """Add events; log the first, with its traceback if it is a defect."""
        if not self._total:
            _log.log(self._level, self._begin, reason, exc_info=_traceback_of(reason))
        self._total += number
        self._last_s = self._clock()

    def end_if_quiet(self) -> None:
        """Log the end if there was no event for long enough."""
        if self._total and self._clock() - self._last_s >= self._quiet_s:
            _log.warning(self._end, self._total)
            self._total = 0


class OutageLog:
    """Logs when outages, losses, failed reads and failed pruning begin and end. Not thread-safe.

    In an outage nothing can be written, and receipts are lost once the buffer is full. Otherwise they are lost if the
    database is too slow or refuses single rows. `failures` counts the failed writes since the last success.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.failures = 0
        self.failed_reads = Episode(
            clock, "The journal cannot be read: %s", "The journal can be read again; %d reads failed."
        )
        self.failed_prunings = Episode(
            clock,
            "The journal cannot be pruned: %s",
            "The journal is pruned again; %d tries failed.",
            quiet_s=_QUIET_PRUNING_S,
        )
        self._losses = Episode(
            clock,
            "The journal drops receipts: %s",
            "The journal drops no more receipts; %d were lost.",
            level=logging.WARNING,
        )
        self._clock = clock
        self._failing_since_s = 0.0
        self._dropped = 0
        self._refusal: str | None = None

    def note_failure(self, error: Exception) -> None:
        """Log the first failure of an outage, with its traceback if it is a defect."""
        self.failures += 1
        if self.failures == 1:
            self._failing_since_s = self._clock()
            _log.error("Receipts wait in memory: %s", error, exc_info=_traceback_of(error))

    def note_refusal(self, request_id: str, reason: str) -> None:
        """Remember the first receipt since the last success that the database refused, and why."""
        self._refusal = self._refusal or f"the database refuses that of request {request_id}: {reason}"

    def note_success(self, dropped: int) -> None:
        """Log the end of an outage, and the start or end of losses. `dropped` counts all receipts lost so far."""
        lost, self._dropped = dropped - self._dropped, dropped
        if self.failures:
            message = "The journal is written again, after %d tries in %.0f s; %d receipts were lost."
            _log.warning(message, self.failures, self._clock() - self._failing_since_s, lost)
            self.failures = 0
        elif lost:
            self._losses.note(self._refusal or "more wait than LIGHTBOX_JOURNAL_BUFFER_ROWS allows", lost)
        self._refusal = None
        for episode in (self._losses, self.failed_prunings, self.failed_reads):
            episode.end_if_quiet()


def _traceback_of(reason: object) -> Exception | None:
    """Return the reason if it is a defect; the message of any other says enough."""
    return reason if isinstance(reason, Exception) and not isinstance(reason, JournalUnavailableError) else None
