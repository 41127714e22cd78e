"""Where the workers of one container meet, in a folder that other containers may have too, and have had before.

With `--ipc=host`, `/dev/shm` is the machine's; in a Kubernetes pod it outlives its containers. So each container's
workers meet in a folder of its own there, `lightbox-workers-<user id>-<number of the namespace of process ids>`: within
it process ids mean one thing, and no other user's leftovers are in the way. Two containers that share that namespace as
well (`--pid=host`) have to be given different folders.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bento_service.observability.multiprocess import SERIES_VARIABLE

_PREFIX = "lightbox-workers"
_NAMESPACE = Path("/proc/self/ns/pid")
_IN_USE = "in-use"
"""Locked by all who meet there, for as long as they live: the system lets go for whoever was killed."""
_METRICS = "metrics"
"""Leads to the folder of series that BentoML made for them."""


def own_folder(parent: Path) -> Path:
    """Return the folder for the workers of this container; the same in `deploy/docker/healthcheck.py`."""
    return parent / f"{_PREFIX}-{os.geteuid()}-{_read_namespace()}"


def open_folder(parent: Path) -> None:
    """Hold this container's folder until this process ends, and remove what those that are gone have left.

    For the process that starts the workers. What cannot be had or removed is left as it is.
    """
    for folder in parent.glob(f"{_PREFIX}-{os.geteuid()}-*"):
        with suppress(OSError):
            _remove_if_left(folder)
    _hold(own_folder(parent))


def join_folder(parent: Path, environment: Mapping[str, str]) -> None:
    """Hold this container's folder until this process ends, and note where its series are. For a worker."""
    folder = own_folder(parent)
    _hold(folder)
    with suppress(OSError):
        (folder / _METRICS).symlink_to(environment.get(SERIES_VARIABLE, ""))


def _hold(folder: Path) -> None:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        # Never closed: the lock goes with the process.
        lock = os.open(folder / _IN_USE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _remove_if_left(folder: Path) -> None:
    if folder.lstat().st_uid != os.geteuid():
        # Anybody may make a folder of this name in /dev/shm, with links to whatever he likes.
        return
    with (folder / _IN_USE).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError):
            metrics = (folder / _METRICS).readlink()
            # Elsewhere BentoML empties it by itself.
            if metrics.parent == folder.parent:
                shutil.rmtree(metrics)
        shutil.rmtree(folder)


def _read_namespace() -> str:
    try:
        return re.sub(r"\D", "", str(_NAMESPACE.readlink()))
    except OSError:
        return "0"
