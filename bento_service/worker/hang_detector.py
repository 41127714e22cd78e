"""Finds workers that hang: those whose event loop no longer renews its heartbeat."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bento_service.domain.service import ServiceState
from bento_service.worker.heartbeat import read_state

HANG_LOOKS = 60
"""Looks without a new heartbeat after which a worker hangs; at one look a second, thirty heartbeats."""
LOADING_LOOKS = 600
"""The same for a worker that loads its models: libraries may hold the interpreter's lock for minutes, on a GPU most of
all. The container's health check has the same patience."""


@dataclass(slots=True)
class _Seen:
    version: tuple[int, int]
    looks: int = 0


class HangDetector:
    """Remembers the heartbeats of one service's workers from one look to the next. Not thread-safe.

    It counts its own looks, and not seconds: on a machine that slept, in a container that was paused, or as the clock
    is set, the age of a file says nothing. A worker without a heartbeat is never found: it may still import, or have
    nowhere to write.
    """

    def __init__(self, folder: Path | None) -> None:
        """Look at nothing yet. `folder` is where the workers write their heartbeats."""
        self._folder = folder
        self._seen: dict[int, _Seen] = {}

    def look(self, process_ids: Iterable[int], *, hang_looks: int | None = None) -> dict[int, int]:
        """Look at the heartbeats of the workers that live, once every second or so.

        Args:
            process_ids: The workers; others are forgotten.
            hang_looks: The limit for all of them; by their state if None.

        Returns:
            By process id of each worker that hangs, for how many looks it has.
        """
        seen = {process_id: self._look_at(process_id) for process_id in process_ids}
        self._seen = {process_id: each for process_id, each in seen.items() if each is not None}
        return {
            process_id: each.looks
            for process_id, each in self._seen.items()
            if each.looks >= (hang_looks or self._limit_of(process_id))
        }

    def allow(self, looks: int, *, hang_looks: int) -> None:
        """Give each worker so many more looks until it counts as hung by a limit of `hang_looks`."""
        for each in self._seen.values():
            each.looks = min(each.looks, hang_looks - looks)

    def _look_at(self, process_id: int) -> _Seen | None:
        if self._folder is None:
            return None
        try:
            file = (self._folder / f"{process_id}.json").stat()
        except OSError:
            return None
        version = (file.st_ino, file.st_mtime_ns)
        before = self._seen.get(process_id)
        return _Seen(version, before.looks + 1) if before is not None and before.version == version else _Seen(version)

    def _limit_of(self, process_id: int) -> int:
        is_loading = read_state(self._folder, process_id) is ServiceState.LOADING
        return LOADING_LOOKS if is_loading else HANG_LOOKS
