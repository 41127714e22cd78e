"""Log lines about a journal that cannot be written or read: one when it begins and one when it ends."""

import logging
from collections.abc import Callable

from bento_service.errors import JournalUnavailableError

_log = logging.getLogger(__name__)

_QUIET_S = 60.0
"""Time without a loss or failed read after which they count as ended; sporadic ones would fill the log."""
_QUIET_PRUNING_S = 600.0
"""The same for pruning, which runs once a minute."""


class OutageLog:
    """Logs when outages, losses, failed reads and failed pruning begin and end. Not thread-safe.

    In an outage nothing can be written, and receipts are lost once the buffer is full. Otherwise they are lost if the
    database is too slow or refuses single rows. `failures` counts the failed writes since the last success.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.failures = 0
        self._clock = clock
        self._failing_since_s = 0.0
        self._dropped = 0
        self._losses = _Episode(clock, _QUIET_S)
        self._failed_reads = _Episode(clock, _QUIET_S)
        self._failed_prunings = _Episode(clock, _QUIET_PRUNING_S)
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
            _log.warning(
                "The journal is written again, after %d tries in %.0f s; %d receipts were lost.",
                self.failures,
                self._clock() - self._failing_since_s,
                lost,
            )
            self.failures = 0
        elif self._losses.count(lost):
            reason = self._refusal or "more wait than LIGHTBOX_JOURNAL_BUFFER_ROWS allows"
            _log.warning("The journal drops receipts: %s", reason)
        elif total := self._losses.end():
            _log.warning("The journal drops no more receipts; %d were lost.", total)
        self._refusal = None
        if total := self._failed_prunings.end():
            _log.warning("The journal is pruned again; %d tries failed.", total)
        if total := self._failed_reads.end():
            _log.warning("The journal can be read again; %d reads failed.", total)

    def note_failed_reads(self, number: int, error: Exception) -> None:
        """Log the first of the reads that failed although the journal can be written."""
        if self._failed_reads.count(number):
            _log.error("The journal cannot be read: %s", error)

    def note_failed_pruning(self, error: Exception) -> None:
        """Log the first pruning that failed although the journal can be written."""
        if self._failed_prunings.count(1):
            _log.error("The journal cannot be pruned: %s", error, exc_info=_traceback_of(error))


class _Episode:
    """Counts events until there is none for `quiet_s`."""

    def __init__(self, clock: Callable[[], float], quiet_s: float) -> None:
        self._clock = clock
        self._quiet_s = quiet_s
        self._total = 0
        self._last_s = 0.0

    def count(self, number: int) -> bool:
        """Add events; return whether they start the episode."""
        if not number:
            return False
        is_first = self._total == 0
        self._total += number
        self._last_s = self._clock()
        return is_first

    def end(self) -> int:
        """Return the number of events if the episode has just ended, else 0."""
        if not self._total or self._clock() - self._last_s < self._quiet_s:
            return 0
        total, self._total = self._total, 0
        return total


def _traceback_of(error: Exception) -> Exception | None:
    """Return the error if it is a defect; the message of any other says enough."""
    return None if isinstance(error, JournalUnavailableError) else error
