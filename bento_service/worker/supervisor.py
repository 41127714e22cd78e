"""The process that starts the workers: what it does as one dies or hangs, and as the service stops (ADR 17)."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from bentoml._internal.utils import circus as bentoml_circus
from circus.exc import ConflictError
from circus.watcher import Watcher

from bento_service.domain.service import ServiceState
from bento_service.http.connection.unaccepted import UnacceptedConnections
from bento_service.observability.processes import describe_exit
from bento_service.settings import Settings
from bento_service.worker.hang_detector import LOADING_LOOKS, HangDetector
from bento_service.worker.heartbeat import MAX_AGE_S, choose_folder, read_beat, read_state

logger = logging.getLogger(__name__)

EARLY_DEATHS_A_WORKER = 3
"""Deaths in a row before readiness, for each worker of the settings, that end the service where no worker is ready."""
_LONGEST_START_S = float(LOADING_LOOKS)
_CHECK_S = 1.0
"""How often the supervisor looks for workers that died or hang; BentoML's own choice is 10 s."""
_FIRST_PAUSE_S = 30.0
_LONGEST_PAUSE_S = 600.0
"""Pauses before a worker that died early is started again beside others that serve, as for failed loads."""
_STOP_HANG_LOOKS = int(MAX_AGE_S / _CHECK_S)
_REVIVAL_LOOKS = 3
"""Looks in which a suspended worker can renew its heartbeat once it is continued."""
_KILL_MARGIN_S = 2.0
"""What a stopping worker gets beyond the time that its own steps may take; less than `servers.STOP_MARGIN_S`."""
_ENDED_AS_TOLD = (0, -signal.SIGTERM, -signal.SIGINT)
_STARTUP_FAILED = 3
"""uvicorn's exit code of a worker that could not load, and has logged why and waited for its turn."""
_WAS_READY = (ServiceState.READY, ServiceState.DRAINING)


def supervise_workers(settings: Settings) -> None:
    """Have the workers that BentoML starts next in this process supervised by a `Supervisor`.

    Workers that crash in native code print where. BentoML makes its arbiter itself and offers no way to pass one on, so
    its class is replaced where BentoML looks it up.
    """
    os.environ.setdefault("PYTHONFAULTHANDLER", "1")
    bentoml_circus.Arbiter = partial(Supervisor, settings=settings)  # type: ignore[misc, assignment] # it is only called


@dataclass(slots=True)
class _Worker:
    number: int
    started_s: float
    was_ready: bool = False


class Supervisor(bentoml_circus.Arbiter):
    """BentoML's arbiter, which starts workers and replaces those that died; used on its own event loop.

    On top of that it logs each death, kills workers that hang, gives up where no worker gets ready, and answers the
    connections that no worker accepts any more as the service stops.
    """

    def __init__(self, *args: Any, settings: Settings, check_s: float = _CHECK_S, **options: Any) -> None:  # noqa: ANN401 - circus's own
        """Start nothing yet.

        Args:
            args: As circus's arbiter takes them.
            settings: The service's.
            check_s: How often to look for workers that died or hang, in seconds.
            options: As circus's arbiter takes them.
        """
        super().__init__(*args, **options | {"check_delay": check_s})
        self._settings = settings
        self._check_s = check_s
        self._workers: dict[int, _Worker] = {}
        self._hung: set[int] = set()
        self._early_deaths = 0
        self._has_given_up = False

    def initialize(self) -> None:
        """Bind the sockets and prepare the workers."""
        super().initialize()
        [self._service] = [watcher for watcher in self.watchers if watcher.name == "service"]
        self._folder = choose_folder(self._settings.heartbeat_dir, self._service.env, master_id=os.getpid())
        self._detector = HangDetector(self._folder)
        self._service.graceful_timeout = self._settings.stop_timeout_s + _KILL_MARGIN_S
        hooks = {"after_spawn": self._note_start, "after_signal": self._note_signal, "after_reap": self._note_death}
        self._service.hooks |= hooks

    def start(self, cb: Callable[[Any], Any] | None = None) -> None:
        """Run until the service is stopped.

        Raises:
            SystemExit: No worker got ready; the log says why.
        """
        try:
            super().start(cb)
        except RuntimeError as error:
            # Circus's, for a service without workers.
            if not self._has_given_up:
                raise
            raise SystemExit(1) from error

    def manage_watchers(self) -> Any:  # noqa: ANN401 - a future of tornado's, or None
        """Replace the workers that died, and kill those that hang; circus calls this every `check_s` seconds."""
        if self._stopping:
            return None
        self._note_readiness()
        try:
            return super().manage_watchers()
        except ConflictError:
            # Workers are being started at this moment.
            return None
        finally:
            # Last: circus forgets a worker without calling `_note_death` if it dies between two steps of its look.
            self._kill_hung()

    def stop(self) -> Any:  # noqa: ANN401 - a future of tornado's, or None
        """Stop the workers, then this process; asked again, there is nothing more to do."""
        if self._stopping:
            return None
        try:
            return super().stop()
        except ConflictError:
            # Circus would forget a SIGTERM that arrives while a worker is being started.
            self.loop.call_later(self._check_s / 10, self.stop)
            return None

    async def _stop_watchers(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - circus's own
        stopping = super()._stop_watchers(*args, **options)
        if not self._stopping:
            # A reload: the sockets stay.
            await stopping
            return
        for process_id in list(self._service.processes):
            # One that is suspended could neither drain nor leave.
            _send_signal(process_id, signal.SIGCONT)
        unaccepted = [UnacceptedConnections(listener) for listener in self.sockets.values()]
        meanwhile = [asyncio.create_task(connections.watch(self._is_any_accepting)) for connections in unaccepted]
        meanwhile.append(asyncio.create_task(self._kill_hung_while_stopping()))
        await stopping
        for task in meanwhile:
            task.cancel()
        closing = [connections.close() for connections in unaccepted]
        for outcome in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(outcome, OSError):
                logger.error("Connections that no worker accepted are reset: %s", outcome)

    def _is_any_accepting(self) -> bool:
        beats = (read_beat(self._folder, process_id) for process_id in self._service.processes)
        return any(beat is not None and beat.is_accepting for beat in beats)

    async def _kill_hung_while_stopping(self) -> None:
        self._detector.allow(_REVIVAL_LOOKS, hang_looks=_STOP_HANG_LOOKS)
        while True:
            await asyncio.sleep(self._check_s)
            self._kill_hung(_STOP_HANG_LOOKS)

    def _kill_hung(self, hang_looks: int | None = None) -> None:
        for process_id, looks in self._detector.look(self._service.processes, hang_looks=hang_looks).items():
            if process_id in self._workers and process_id not in self._hung:
                self._hung.add(process_id)
                logger.error(
                    "Worker %d (pid %d) hangs: it has not renewed its heartbeat for %.0f s. It is killed.",
                    self._workers[process_id].number,
                    process_id,
                    looks * self._check_s,
                )
                _send_signal(process_id, signal.SIGKILL)

    def _note_readiness(self) -> None:
        # A reload lets workers go without a word.
        self._workers = {each: worker for each, worker in self._workers.items() if each in self._service.processes}
        states = {process_id: read_state(self._folder, process_id) for process_id in self._workers}
        for process_id, state in states.items():
            self._workers[process_id].was_ready |= state in _WAS_READY
        if list(states.values()).count(ServiceState.READY) >= self._settings.worker_count:
            self._early_deaths = 0

    def _note_start(self, watcher: Watcher, pid: int, **_: object) -> bool:
        self._workers[pid] = _Worker(watcher.processes[pid].wid, self.loop.time())
        return True

    def _note_signal(self, pid: int, signum: int, **_: object) -> None:
        if signum == signal.SIGKILL:
            # It has not left within the time that circus gives it.
            self._hung.add(pid)

    def _note_death(self, watcher: Watcher, process_pid: int, exit_code: int, **_: object) -> None:
        worker = self._workers.pop(process_pid, None)
        if worker is None or (self._stopping and exit_code in _ENDED_AS_TOLD):
            return
        is_in_order = exit_code in _ENDED_AS_TOLD
        was_ready = worker.was_ready or read_state(self._folder, process_pid) in _WAS_READY
        age_s = self.loop.time() - worker.started_s
        how = "was killed because it hung" if process_pid in self._hung else describe_exit(exit_code)
        logger.log(
            logging.WARNING if is_in_order else logging.ERROR,
            "Worker %d (pid %d) %s %.0f s after its start%s.",
            worker.number,
            process_pid,
            how,
            age_s,
            "" if was_ready else ", before it was ready",
        )
        self._hung.discard(process_pid)
        # Where no heartbeat can be written, nothing else tells that it was ready.
        if was_ready or age_s > _LONGEST_START_S:
            self._early_deaths = 0
        elif not is_in_order and not self._stopping:
            self._early_deaths += 1
            self._heed_early_death(watcher, exit_code, how)

    def _heed_early_death(self, watcher: Watcher, exit_code: int, how: str) -> None:
        """Start another worker at once, or later where others serve, or give up where none gets ready."""
        if any(worker.was_ready for worker in self._workers.values()):
            if exit_code != _STARTUP_FAILED:
                pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(self._early_deaths - 1, 10), _LONGEST_PAUSE_S)
                logger.warning("Another worker is started in %.0f s; the others serve meanwhile.", pause_s)
                watcher.numprocesses -= 1
                self.loop.call_later(pause_s, self._resume, watcher)
        elif self._early_deaths >= EARLY_DEATHS_A_WORKER * self._settings.worker_count and not self._has_given_up:
            self._has_given_up = True
            logger.critical(
                "No worker gets ready: %d in a row died before, and the last one %s. The service ends with exit "
                "code 1; see LightboxWorkerRestarting in docs/operations.md.",
                self._early_deaths,
                how,
            )
            # Circus stops a service that has no worker.
            watcher.numprocesses = 0

    def _resume(self, watcher: Watcher) -> None:
        watcher.numprocesses += 1


def _send_signal(process_id: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process_id, number)
