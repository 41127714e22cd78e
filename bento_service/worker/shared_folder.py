"""What the processes of one service share: a folder, and in it a table with each worker's status.

The folder is `lightbox-<user id>-<pid namespace>-<supervisor's process id>`, in LIGHTBOX_HEARTBEAT_DIR or the system's
folder for temporary files. With `--ipc=host`, `/dev/shm` is the machine's, and in a Kubernetes pod it outlives the
containers; the namespace tells containers apart, and a lock tells which folders are still in use.
"""

import fcntl
import mmap
import os
import shutil
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bento_service.domain.service import ServiceState

FOLDER_VARIABLE = "LIGHTBOX_SHARED_FOLDER"
"""Names the folder to the workers; the supervisor sets it."""
TABLE = "workers"
SERIES = "series"
"""The folder of the Prometheus series, within the shared one."""
MAX_AGE_S = 15.0
"""A worker whose status is older does not serve; the same in `deploy/docker/healthcheck.py`."""
_LOCK = "lock"
_HEADER = struct.Struct("<II8x")
"""The supervisor's process id, and how many workers the settings ask for."""
_STATUS = struct.Struct("<dBB6x")
"""When it was renewed (seconds since the epoch, 0 for none), the state's place in `ServiceState`, is_accepting."""
_MOST_WORKERS = 255
_STATES = tuple(ServiceState)


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a worker said last. It may accept connections before its models are loaded."""

    renewed_s: float
    state: ServiceState
    is_accepting: bool

    def is_fresh(self) -> bool:
        """Whether it was renewed within the last `MAX_AGE_S` seconds."""
        return time.time() - self.renewed_s <= MAX_AGE_S


class StatusTable:
    """The last status of each worker, by the number that the supervisor gives it: 1, 2, … A replacement has the same.

    Shared memory without locks: each status has one writer, and readers compare or look at single fields.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    @classmethod
    def create(cls, file: Path | None, *, workers: int) -> "StatusTable":
        """Make an empty table in `file`, with this process as the supervisor; None for a process that is alone."""
        supervisor_id = os.getpid() if file is not None else os.getppid()
        # Written in full: a sparse file on a full tmpfs would end its first writer by SIGBUS.
        content = _HEADER.pack(supervisor_id, workers) + bytes(_STATUS.size * _MOST_WORKERS)
        if file is not None:
            file.write_bytes(content)
            return cls.open(file)
        memory = mmap.mmap(-1, len(content))
        memory[:] = content
        return cls(memory)

    @classmethod
    def open(cls, file: Path) -> "StatusTable":
        """Map the table that another process made."""
        with file.open("r+b") as opened:
            return cls(mmap.mmap(opened.fileno(), 0))

    @property
    def supervisor_id(self) -> int:
        """The process id of the supervisor, also after it has died."""
        supervisor_id: int = _HEADER.unpack_from(self._memory)[0]
        return supervisor_id

    def write(self, worker: int, state: ServiceState, *, is_accepting: bool) -> None:
        """Set a worker's status, as of now."""
        _STATUS.pack_into(self._memory, _offset(worker), time.time(), _STATES.index(state), is_accepting)

    def read(self, worker: int) -> WorkerStatus | None:
        """Return a worker's last status; None if it has written none since `clear`."""
        renewed_s, state, is_accepting = _STATUS.unpack_from(self._memory, _offset(worker))
        return WorkerStatus(renewed_s, _STATES[state], bool(is_accepting)) if renewed_s else None

    def clear(self, worker: int) -> None:
        """Remove a worker's status."""
        _STATUS.pack_into(self._memory, _offset(worker), 0.0, 0, False)

    def read_others(self, worker: int) -> list[WorkerStatus]:
        """Return the fresh statuses of all workers but this one."""
        statuses = (self.read(other) for other in range(1, _MOST_WORKERS + 1) if other != worker)
        return [status for status in statuses if status is not None and status.is_fresh()]


def create_folder(parent: Path) -> Path:
    """Make this process's shared folder, locked until the process ends; remove those of services that have ended.

    Raises:
        OSError: `parent` cannot be written.
    """
    prefix = f"lightbox-{os.geteuid()}-"
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError), (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    folder = parent / f"{prefix}{_read_namespace()}-{os.getpid()}"
    (folder / SERIES).mkdir(parents=True)
    # Never closed: the system releases the lock when this process ends, also by SIGKILL.
    fcntl.flock(os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)
    return folder


def _offset(worker: int) -> int:
    return _HEADER.size + _STATUS.size * (worker - 1)


def _read_namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
