"""Finds workers that hang: those whose event loop no longer renews their status."""

from collections.abc import Mapping

from bento_service.domain.service import ServiceState
from bento_service.worker.shared_folder import WorkerStatus

HANG_CHECKS = 60
"""Checks without a renewed status after which a worker hangs. The supervisor checks once a second."""
LOADING_CHECKS = 600
"""The same for a worker that loads its models: libraries may hold the interpreter's lock for minutes, on a GPU most of
all. The container's health check has the same patience."""


class HangDetector:
    """Compares the statuses of the workers from one check to the next. Not thread-safe.

    It counts checks, not seconds: on a machine that slept, in a container that was paused, or after the clock was set,
    a status's age says nothing. A worker without a status never hangs: it may still import.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[WorkerStatus | None, int]] = {}
        """What each worker said last, and the checks since it said something else; by process id."""

    def check(self, statuses: Mapping[int, WorkerStatus | None], *, hang_checks: int | None = None) -> dict[int, int]:
        """Return, for each worker that hangs, the number of checks since its status last changed.

        `statuses` are the last ones of all workers that live; both mappings are by process id. `hang_checks` is the
        limit for all workers; by their state if None.
        """
        before, self._seen = self._seen, {}
        for process_id, status in statuses.items():
            old, checks = before.get(process_id, (None, 0))
            self._seen[process_id] = (status, checks + 1 if status == old else 0)
        return {
            process_id: checks
            for process_id, (status, checks) in self._seen.items()
            if status is not None and checks >= (hang_checks or _limit_of(status))
        }

    def grant(self, checks: int, *, hang_checks: int) -> None:
        """Leave each worker at least that many checks until it hangs by a limit of `hang_checks`."""
        for process_id, (status, passed) in self._seen.items():
            self._seen[process_id] = (status, min(passed, hang_checks - checks))


def _limit_of(status: WorkerStatus) -> int:
    return LOADING_CHECKS if status.state is ServiceState.LOADING else HANG_CHECKS
