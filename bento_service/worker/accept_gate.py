"""When a worker may accept connections beside its siblings, and when one that could not load makes room for another."""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bento_service.domain.service import ServiceState
from bento_service.errors import NotReadyError
from bento_service.worker.heartbeat import Heartbeat

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 30.0
"""How long a worker that could not load stays until it makes room for the next try; twice that after the next one."""
_LONGEST_PAUSE_S = 600.0
_CHECK_S = 1.0
"""How soon a worker takes notice of what became of its siblings."""


class LoadRetries:
    """How many loads have failed in a row, over the workers of one master process: each try is another process.

    Not thread-safe; two workers that fail at the same moment may count as one. What cannot be kept counts as the first.
    """

    def __init__(self, folder: Path | None, *, master_id: int) -> None:
        """Read nothing yet. The count is in the file `<folder>/failed-loads-<master_id>`; without a folder, nowhere."""
        self._file = folder / f"failed-loads-{master_id}" if folder is not None else None

    def add(self) -> int:
        """Count one more, and return how many they are."""
        count = self._read() + 1
        if self._file is not None:
            with suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._file.write_text(str(count))
        return count

    def clear(self) -> None:
        """Begin to count anew, as a load went well."""
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()

    def _read(self) -> int:
        try:
            return int(self._file.read_text()) if self._file is not None else 0
        except (OSError, ValueError):
            return 0


class AcceptGate:
    """One worker's place among those that share its port. Used on one event loop, by whose clock its pauses go.

    One that could not load tries no second time itself: BentoML starts another once it ends, which gets over a GPU or
    a library that failed this process for good. The pause before that doubles with each failure in a row, up to ten
    minutes.
    """

    def __init__(
        self,
        heartbeat: Heartbeat,
        failed_loads: LoadRetries,
        *,
        state: Callable[[], ServiceState],
        is_leaving: Callable[[], bool],
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        """Do nothing yet.

        Args:
            heartbeat: Says whether this worker accepts connections, and what its siblings do.
            failed_loads: Counts what has failed before.
            state: Returns where this worker stands.
            is_leaving: Returns whether it was told to stop.
            first_pause_s: Seconds from the first failed load to the next try.
        """
        self._heartbeat = heartbeat
        self._failed_loads = failed_loads
        self._state = state
        self._is_leaving = is_leaving
        self._first_pause_s = first_pause_s
        self._retry_at_s = 0.0

    def observe_load(self, *, has_failed: bool) -> None:
        """Take how loading ended, at the moment it did."""
        if not has_failed:
            self._failed_loads.clear()
            return
        pause_s = min(self._first_pause_s * 2.0 ** min(self._failed_loads.add() - 1, 10), _LONGEST_PAUSE_S)
        self._retry_at_s = asyncio.get_running_loop().time() + pause_s

    async def wait(self, loading: "asyncio.Task[None]") -> None:
        """Return once this worker may accept connections, or is to stop.

        While no other worker serves, that is at once, so that probes and requests get an answer. One that comes to
        workers that do serve, in place of one that died, first loads: what it would refuse meanwhile, they can answer.

        Raises:
            NotReadyError: It could not load, others serve, and it is time for the next try.
        """
        self._heartbeat.renew()
        while not loading.done() and self._has_to_stay_out():
            await asyncio.wait({loading}, timeout=_CHECK_S)
        while self._has_failed() and self._has_to_stay_out():
            if self._is_time_to_retry():
                raise NotReadyError("This worker could not start; another is started.", retry_after_s=0)
            await asyncio.sleep(_CHECK_S)
        self._heartbeat.is_accepting = not self._is_leaving()
        self._heartbeat.renew()

    async def give_up(self, loading: "asyncio.Task[None]") -> None:
        """Stop this worker if it could not load: once another serves, whose connections it would refuse, or in time.

        The next one finds others that serve, and stays out until it has loaded.
        """
        await asyncio.wait({loading})
        while self._has_failed() and not self._is_leaving():
            if self._has_serving_sibling() or self._is_time_to_retry():
                logger.warning("This worker could not start, and makes room for another.")
                signal.raise_signal(signal.SIGTERM)
                return
            await asyncio.sleep(_CHECK_S)

    def _has_to_stay_out(self) -> bool:
        return not self._is_leaving() and self._has_serving_sibling()

    def _has_serving_sibling(self) -> bool:
        return any(beat.state is ServiceState.READY for beat in self._heartbeat.read_others())

    def _has_failed(self) -> bool:
        return self._state() is ServiceState.FAILED

    def _is_time_to_retry(self) -> bool:
        return asyncio.get_running_loop().time() >= self._retry_at_s
