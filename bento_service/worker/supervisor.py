"""The process that starts the workers: replaces those that die or hang, and answers what none accepts (ADR 17, 22)."""

import asyncio
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bentoml._internal.utils import circus as bentoml_circus
from circus.exc import ConflictError
from circus.watcher import Watcher

from bento_service.domain.service import ServiceState
from bento_service.http.connection.unaccepted import UnacceptedConnections
from bento_service.observability.multiprocess import SERIES_VARIABLE, drop_gauges
from bento_service.observability.processes import describe_exit
from bento_service.settings import Settings
from bento_service.worker.hang_detector import LOADING_CHECKS, HangDetector
from bento_service.worker.shared_folder import (
    FOLDER_VARIABLE,
    MAX_AGE_S,
    SERIES,
    TABLE,
    StatusTable,
    WorkerStatus,
    create_folder,
)

logger = logging.getLogger(__name__)

EARLY_DEATHS_A_WORKER = 3
"""Deaths in a row before readiness, for each worker of the settings, that end the service where no worker is ready."""
_LONGEST_START_S = float(LOADING_CHECKS)
_CHECK_S = 1.0
"""How often the supervisor looks for workers that died or hang; BentoML's own choice is 10 s."""
_FIRST_PAUSE_S = 30.0
_LONGEST_PAUSE_S = 600.0
"""Pauses before a worker that died before it was ready is started again beside others that serve."""
_STOP_HANG_CHECKS = int(MAX_AGE_S / _CHECK_S)
_CHECKS_AFTER_SIGCONT = 3
"""Checks in which a suspended worker can renew its status once it is continued."""
_KILL_MARGIN_S = 2.0
"""What a stopping worker gets beyond the time of its own steps; less than `STOP_MARGIN_S` in cli/up.py."""
_STOP_EXIT_CODES = (0, -signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a worker that was asked to stop."""


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
    was_killed_as_hung: bool = False


class Supervisor(bentoml_circus.Arbiter):
    """BentoML's arbiter, which starts workers and replaces those that died; used on its own event loop.

    In addition it logs each death, kills workers that hang, ends the service if no worker gets ready, and answers the
    connections that no worker accepts while the service stops.
    """

    def __init__(self, *args: Any, settings: Settings, check_s: float = _CHECK_S, **options: Any) -> None:  # noqa: ANN401 - circus's own
        """Look for dead and hanging workers every `check_s` seconds; the other arguments are circus's."""
        super().__init__(*args, **options | {"check_delay": check_s})
        self._settings = settings
        self._check_s = check_s
        self._workers: dict[int, _Worker] = {}
        self._detector = HangDetector()
        self._early_deaths = 0
        self._has_given_up = False

    def initialize(self) -> None:
        """Bind the sockets and prepare the workers."""
        super().initialize()
        [self._service] = [watcher for watcher in self.watchers if watcher.name == "service"]
        self._service.env |= {FOLDER_VARIABLE: str(self._folder), SERIES_VARIABLE: str(self._folder / SERIES)}
        self._service.graceful_timeout = self._settings.stop_timeout_s + _KILL_MARGIN_S
        hooks = {"after_spawn": self._note_start, "after_signal": self._note_signal, "after_reap": self._note_death}
        self._service.hooks |= hooks

    def start(self, cb: Callable[[Any], Any] | None = None) -> None:
        """Run until the service is stopped; raise `SystemExit` if the shared folder fails or no worker gets ready."""
        with ExitStack() as at_the_end:
            self._make_shared_folder(at_the_end)
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
        with suppress(OSError):
            # Replacements need it; each that cannot open it says so and dies.
            self._table.restore()
        try:
            return super().manage_watchers()
        except ConflictError:
            # Workers are being started at this moment.
            return None
        finally:
            # Last: circus removes a worker without calling `_note_death` if it dies between two steps of its check.
            self._kill_hung()

    def stop(self) -> Any:  # noqa: ANN401 - a future of tornado's, or None
        """Stop the workers, then this process. A second call does nothing."""
        if self._stopping:
            return None
        try:
            return super().stop()
        except ConflictError:
            # Circus would lose a SIGTERM that arrives while a worker is being started.
            self.loop.call_later(self._check_s / 10, self.stop)
            return None

    async def _stop_watchers(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - circus's own
        stopping = super()._stop_watchers(*args, **options)
        if not self._stopping:
            # A reload: the sockets stay.
            await stopping
            return
        for process_id in list(self._service.processes):
            # A suspended worker could neither drain nor exit.
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

    def _make_shared_folder(self, at_the_end: ExitStack) -> None:
        parent = self._settings.heartbeat_dir
        try:
            parent = (parent or Path(tempfile.gettempdir())).absolute()
            self._folder = create_folder(parent)
            at_the_end.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._table = StatusTable.create(self._folder / TABLE, workers=self._settings.worker_count)
        except OSError as error:
            where = parent or "a folder for temporary files"
            raise SystemExit(f"lightbox: cannot write to {where} (LIGHTBOX_HEARTBEAT_DIR): {error.strerror}") from error

    def _read_statuses(self) -> dict[int, WorkerStatus | None]:
        return {
            process_id: self._table.read(worker.number)
            for process_id, worker in self._workers.items()
            if process_id in self._service.processes
        }

    def _is_any_accepting(self) -> bool:
        statuses = self._read_statuses().values()
        return any(status is not None and status.is_accepting and status.is_fresh() for status in statuses)

    async def _kill_hung_while_stopping(self) -> None:
        self._detector.grant(_CHECKS_AFTER_SIGCONT, hang_checks=_STOP_HANG_CHECKS)
        while True:
            await asyncio.sleep(self._check_s)
            self._kill_hung(_STOP_HANG_CHECKS)

    def _kill_hung(self, hang_checks: int | None = None) -> None:
        for process_id, checks in self._detector.check(self._read_statuses(), hang_checks=hang_checks).items():
            worker = self._workers[process_id]
            if not worker.was_killed_as_hung:
                worker.was_killed_as_hung = True
                logger.error(
                    "Worker %d (pid %d) hangs: it has not renewed its status for %.0f s. It is killed.",
                    worker.number,
                    process_id,
                    checks * self._check_s,
                )
                _send_signal(process_id, signal.SIGKILL)

    def _note_readiness(self) -> None:
        # A reload starts workers with other numbers, and stops those before without `_note_death`.
        gone = {each: worker for each, worker in self._workers.items() if each not in self._service.processes}
        numbers = {process.wid for process in self._service.processes.values()}
        for process_id, worker in gone.items():
            del self._workers[process_id]
            if worker.number not in numbers:
                self._forget(worker.number)
        statuses = self._read_statuses()
        for process_id, status in statuses.items():
            self._workers[process_id].was_ready |= _has_loaded(status)
        ready = [status for status in statuses.values() if status is not None and status.state is ServiceState.READY]
        if len(ready) >= self._settings.worker_count:
            self._early_deaths = 0

    def _note_start(self, watcher: Watcher, pid: int, **_: object) -> bool:
        number = watcher.processes[pid].wid
        self._table.clear(number)
        self._workers[pid] = _Worker(number, self.loop.time())
        return True

    def _note_signal(self, pid: int, signum: int, **_: object) -> None:
        if signum == signal.SIGKILL and pid in self._workers:
            # It has not exited within the time that circus gives it.
            self._workers[pid].was_killed_as_hung = True

    def _note_death(self, watcher: Watcher, process_pid: int, exit_code: int, **_: object) -> None:
        worker = self._workers.pop(process_pid, None)
        if worker is None:
            return
        was_ready = worker.was_ready or _has_loaded(self._table.read(worker.number))
        self._forget(worker.number)
        is_stopped = exit_code in _STOP_EXIT_CODES
        if self._stopping and is_stopped:
            return
        age_s = self.loop.time() - worker.started_s
        how = "was killed because it hung" if worker.was_killed_as_hung else describe_exit(exit_code)
        logger.log(
            logging.WARNING if is_stopped else logging.ERROR,
            "Worker %d (pid %d) %s %.0f s after its start%s.",
            worker.number,
            process_pid,
            how,
            age_s,
            "" if was_ready else ", before it was ready",
        )
        if was_ready or age_s > _LONGEST_START_S:
            self._early_deaths = 0
        elif not is_stopped and not self._stopping:
            self._early_deaths += 1
            self._handle_early_death(watcher, how)

    def _forget(self, number: int) -> None:
        self._table.clear(number)
        drop_gauges(number, self._folder / SERIES)

    def _handle_early_death(self, watcher: Watcher, how: str) -> None:
        """Start another worker at once, or later if others serve; end the service after too many deaths."""
        if any(worker.was_ready for worker in self._workers.values()):
            pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(self._early_deaths - 1, 10), _LONGEST_PAUSE_S)
            logger.warning("Another worker is started in %.0f s; the others serve meanwhile.", pause_s)
            watcher.numprocesses -= 1

            def resume() -> None:
                watcher.numprocesses += 1

            self.loop.call_later(pause_s, resume)
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


def _has_loaded(status: WorkerStatus | None) -> bool:
    return status is not None and status.state is not ServiceState.LOADING


def _send_signal(process_id: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process_id, number)
