"""What the processes of one service share: a folder, and in it a table with each worker's status.

The folder is `lightbox-<user id>-<pid namespace>-<supervisor's process id>`, in LIGHTBOX_HEARTBEAT_DIR or the system's
folder for temporary files. With `--ipc=host`, `/dev/shm` is the machine's, and in a Kubernetes pod it outlives the
containers; the namespace tells containers apart, and a lock on the folder tells which are still in use. It also keeps
systemd-tmpfiles away, which would remove the table: writes to mapped memory do not change a file's time.
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
_HEADER = struct.Struct("<II8x")
"""The supervisor's process id, and how many workers the settings ask for."""
_STATUS = struct.Struct("<dBB6x")
"""When it was renewed (seconds since the epoch, 0 for none), the state's place in `ServiceState`, is_accepting."""
_MOST_WORKERS = 255
_STATES = tuple(ServiceState)


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker's last status. It may accept connections before its models are loaded."""

    renewed_s: float
    state: ServiceState
    is_accepting: bool

    def is_fresh(self) -> bool:
        """Whether it was renewed within the last `MAX_AGE_S` seconds."""
        return time.time() - self.renewed_s <= MAX_AGE_S


class StatusTable:
    """The last status of each worker, by the number that the supervisor gives it: 1, 2, … A replacement has the same.

    Shared memory without locks: a status has one writer at a time, and its 16 bytes are copied in one piece.
    """

    def __init__(self, memory: mmap.mmap, file: Path | None = None, inode: int = 0) -> None:
        self._memory = memory
        self._file = file
        self._inode = inode

    @classmethod
    def create(cls, file: Path | None, *, workers: int) -> "StatusTable":
        """Make an empty table in `file`, with this process as the supervisor; None for a process that is alone."""
        supervisor_id = os.getpid() if file is not None else os.getppid()
        # Written in full: a sparse file on a full tmpfs would end its first writer by SIGBUS.
        content = _HEADER.pack(supervisor_id, workers) + bytes(_STATUS.size * _MOST_WORKERS)
        if file is not None:
            _write_whole(file, content)
            return cls.open(file)
        memory = mmap.mmap(-1, len(content))
        memory[:] = content
        return cls(memory)

    @classmethod
    def open(cls, file: Path) -> "StatusTable":
        """Map the table that another process made."""
        memory, inode = _map(file)
        return cls(memory, file, inode)

    @property
    def supervisor_id(self) -> int:
        """The process id of the supervisor, also after it has died."""
        supervisor_id: int = _HEADER.unpack_from(self._memory)[0]
        return supervisor_id

    def write(self, worker: int, state: ServiceState, *, is_accepting: bool) -> None:
        """Set a worker's status, as of now."""
        self._follow()
        self._memory[_place(worker)] = _STATUS.pack(time.time(), _STATES.index(state), is_accepting)

    def read(self, worker: int) -> WorkerStatus | None:
        """Return a worker's last status; None if it has written none since `clear`."""
        renewed_s, state, is_accepting = _STATUS.unpack(self._memory[_place(worker)])
        return WorkerStatus(renewed_s, _STATES[state], bool(is_accepting)) if renewed_s else None

    def clear(self, worker: int) -> None:
        """Remove a worker's status."""
        self._memory[_place(worker)] = bytes(_STATUS.size)

    def read_others(self, worker: int) -> list[WorkerStatus]:
        """Return the fresh statuses of all workers but this one."""
        statuses = (self.read(other) for other in range(1, _MOST_WORKERS + 1) if other != worker)
        return [status for status in statuses if status is not None and status.is_fresh()]

    def restore(self) -> None:
        """Write the file again, for new workers, if it was removed. The others find it with their next `write`.

        Raises:
            OSError: It cannot be written.
        """
        if self._file is not None and not self._file.exists():
            _write_whole(self._file, self._memory[:])
            self._follow()

    def _follow(self) -> None:
        """Map the file again if it was restored."""
        if self._file is None:
            return
        with suppress(OSError):
            if self._file.stat().st_ino != self._inode:
                self._memory, self._inode = _map(self._file)


def create_folder(parent: Path) -> Path:
    """Make this process's shared folder, locked until the process ends; remove those of services that have ended.

    Raises:
        OSError: `parent` cannot be written, or another user has taken the folder's name.
    """
    parent.mkdir(parents=True, exist_ok=True)
    prefix = f"lightbox-{os.geteuid()}-"
    folder = parent / f"{prefix}{_read_namespace()}-{os.getpid()}"
    is_locked = False
    while not is_locked:
        for other in parent.glob(f"{prefix}*"):
            _remove_unlocked(other)
        # Fails for a folder that exists: it is locked or another user's.
        folder.mkdir(0o700)
        try:
            # Never closed: the system releases the lock when this process ends, also by SIGKILL. There is none if
            # another service that starts was faster and removed the folder.
            is_locked = _lock(folder, fcntl.LOCK_EX) is not None
            if is_locked:
                (folder / SERIES).mkdir()
                # For a root without capabilities in the container; others could lock it until now.
                folder.chmod(0o755)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def _remove_unlocked(folder: Path) -> None:
    """Remove a folder of this user that no process has locked."""
    with suppress(OSError):
        descriptor = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if descriptor is None:
            return
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                shutil.rmtree(folder)
        finally:
            os.close(descriptor)


def _lock(folder: Path, operation: int) -> int | None:
    """Return an open descriptor of `folder` that holds its lock; None if there is no such folder.

    Raises:
        OSError: It is no real folder, or locked already.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, operation)
        # It may have been removed, and another one made, between these two calls.
        is_same = os.path.samestat(os.fstat(descriptor), folder.lstat())
    except FileNotFoundError:
        is_same = False
    except OSError:
        os.close(descriptor)
        raise
    if not is_same:
        os.close(descriptor)
        return None
    return descriptor


def _write_whole(file: Path, content: bytes) -> None:
    """Write a file that no reader ever finds half-written."""
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.write_bytes(content)
    unfinished.replace(file)


def _map(file: Path) -> tuple[mmap.mmap, int]:
    """Map a file; return its inode too."""
    with file.open("r+b") as opened:
        return mmap.mmap(opened.fileno(), 0), os.fstat(opened.fileno()).st_ino


def _place(worker: int) -> slice:
    start = _HEADER.size + _STATUS.size * (worker - 1)
    return slice(start, start + _STATUS.size)


def _read_namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
