"""Tells a worker's siblings, and the container's health check, that it lives and where it stands."""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bento_service.domain.service import ServiceState
from bento_service.observability.multiprocess import SERIES_VARIABLE
from bento_service.observability.processes import is_running
from bento_service.worker.workers_folder import own_folder

logger = logging.getLogger(__name__)

INTERVAL_S = 2.0
"""How often a worker renews its heartbeat: several times within `MAX_AGE_S`, so that a busy one is not missed."""
MAX_AGE_S = 15.0
"""A worker whose heartbeat is older is not counted on; the same in `deploy/docker/healthcheck.py`."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker said last. It accepts connections from a moment on that may come before or after its models."""

    state: ServiceState
    is_accepting: bool


def choose_folder(chosen: Path | None, environment: Mapping[str, str], *, master_id: int) -> Path | None:
    """Return where heartbeats go: in the folder of the settings, else where the workers of one master process meet."""
    if chosen is not None:
        return own_folder(chosen)
    shared = environment.get(SERIES_VARIABLE)
    return Path(shared) / f"workers-{master_id}" if shared else None


class Heartbeat:
    """One worker's heartbeat: the file `<folder>/<process id>.json`, whose age says when its event loop last turned.

    Not thread-safe. What cannot be written is logged once; what cannot be read does not count.
    """

    def __init__(
        self, folder: Path | None, *, workers: int, state: Callable[[], ServiceState], worker_id: int | None = None
    ) -> None:
        """Write nothing yet.

        Args:
            folder: Where the workers of this service meet; made if it is missing. None for a worker that has no others.
            workers: Service processes that the settings ask for.
            state: Returns where this one stands.
            worker_id: The process's id; this process's if None.
        """
        self._folder = folder
        self._workers = workers
        self._state = state
        self._worker_id = worker_id or os.getpid()
        self._is_writable = True
        self.is_accepting = False

    async def keep(self) -> None:
        """Renew the heartbeat until cancelled, then take it away. Those of the dead go first."""
        self._clear_dead()
        try:
            while True:
                self.renew()
                await asyncio.sleep(INTERVAL_S)
        finally:
            if self._folder is not None:
                file = self._file(self._folder)
                for left in (file, file.with_suffix(".new")):
                    with contextlib.suppress(OSError):
                        left.unlink()

    def renew(self) -> None:
        """Write the heartbeat now, replacing the one before as a whole, so that no reader meets half of it."""
        if self._folder is None:
            return
        file = self._file(self._folder)
        draft = file.with_suffix(".new")
        said = {"state": self._state(), "workers": self._workers, "is_accepting": self.is_accepting}
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(said))
            draft.replace(file)
        except OSError as error:
            if self._is_writable:
                logger.warning("Nobody will know whether this worker lives: %s", error)
            self._is_writable = False
            # A heartbeat that stays as it is would say that this worker hangs, and have it killed.
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def read_others(self) -> list[Beat]:
        """Return what the living siblings said last."""
        if self._folder is None:
            return []
        beats = (_read(file) for file in self._folder.glob("*.json") if file.stem != str(self._worker_id))
        return [beat for beat in beats if beat is not None]

    def _clear_dead(self) -> None:
        for file in self._folder.glob("*.json") if self._folder is not None else ():
            if file.stem.isdigit() and not is_running(int(file.stem)):
                with contextlib.suppress(OSError):
                    file.unlink()

    def _file(self, folder: Path) -> Path:
        return folder / f"{self._worker_id}.json"


def read_state(folder: Path | None, process_id: int) -> ServiceState | None:
    """Return where a worker said last that it stands, also where it has died since; None where it left no word."""
    if folder is None:
        return None
    try:
        return ServiceState(json.loads((folder / f"{process_id}.json").read_text())["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_beat(folder: Path | None, process_id: int) -> Beat | None:
    """Return what a worker said last, if it lives and said it within `MAX_AGE_S`."""
    return _read(folder / f"{process_id}.json") if folder is not None else None


def _read(file: Path) -> Beat | None:
    try:
        is_old = time.time() - file.stat().st_mtime > MAX_AGE_S
        said = json.loads(file.read_text())
        if is_old or not is_running(int(file.stem)):
            return None
        return Beat(ServiceState(said["state"]), bool(said["is_accepting"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
