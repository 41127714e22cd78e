"""Finds workers that hang: those whose event loop no longer renews their status."""

from collections.abc import Mapping
from dataclasses import dataclass

from bento_service.domain.service import ServiceState
from bento_service.worker.shared_folder import WorkerStatus

HANG_CHECKS = 60
"""Checks without a renewed status after which a worker hangs. The supervisor checks once a second."""
LOADING_CHECKS = 600
"""The same for a worker that loads its models: libraries may hold the interpreter's lock for minutes, on a GPU most of
all. The container's health check has the same patience."""


@dataclass(slots=True)
class _Seen:
    status: WorkerStatus | None
    checks: int = 0


class HangDetector:
    """Compares the statuses of the workers from one check to the next. Not thread-safe.

    It counts checks, not seconds: on a machine that slept, in a container that was paused, or after the clock was set,
    a status's age says nothing. A worker without a status never hangs: it may still import.
    """

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def check(self, statuses: Mapping[int, WorkerStatus | None], *, hang_checks: int | None = None) -> dict[int, int]:
        """Take the statuses of all workers that live, by process id.

        Args:
            statuses: What each worker said last.
            hang_checks: The limit for all of them; by their state if None.

        Returns:
            By process id of each worker that hangs, the checks since it renewed its status.
        """
        self._seen = {process_id: self._compare(process_id, status) for process_id, status in statuses.items()}
        return {
            process_id: seen.checks
            for process_id, seen in self._seen.items()
            if seen.status is not None and seen.checks >= (hang_checks or _limit_of(seen.status))
        }

    def grant(self, checks: int, *, hang_checks: int) -> None:
        """Leave each worker at least that many checks until it hangs by a limit of `hang_checks`."""
        for seen in self._seen.values():
            seen.checks = min(seen.checks, hang_checks - checks)

    def _compare(self, process_id: int, status: WorkerStatus | None) -> _Seen:
        before = self._seen.get(process_id)
        return _Seen(status, before.checks + 1 if before is not None and before.status == status else 0)


def _limit_of(status: WorkerStatus) -> int:
    return LOADING_CHECKS if status.state is ServiceState.LOADING else HANG_CHECKS
