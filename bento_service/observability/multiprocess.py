"""The files in which the worker processes of a service keep their series, and what becomes of those of dead workers.

prometheus_client gives each process files of its own, `<kind>_<process id>.db` in PROMETHEUS_MULTIPROC_DIR, and adds
them up at a scrape. By itself it keeps those of a process that was killed: gauges that say what is no longer so, and
more files with each worker that is replaced.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from bento_service.observability.processes import is_running

SERIES_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder that BentoML gives to the workers of a service for their series. Services of one `BENTOML_HOME` have
the same."""
_TOTALS = ("counter", "histogram", "summary")
"""What only ever grows, and so outlives the worker that counted it."""
_LOCK = "lightbox.lock"
"""Held by all that read the files, or by the one that renames them."""
_PATIENCE_S = 1.0
_RETRY_S = 0.01


def drop_gauges_of_dead_workers() -> None:
    """Forget the live gauges of worker processes that are gone. Several processes may do so at once."""
    folder = os.environ.get(SERIES_VARIABLE)
    if folder is None:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        if not is_running(_process_of(file)):
            file.unlink(missing_ok=True)


def take_over_totals(*, patience_s: float = _PATIENCE_S) -> None:
    """Go on with the counters and histograms of a worker that is gone, as it comes back in this process.

    So there are no more files than workers, however often one is replaced, and no total ever falls. It has to be before
    the first series of this process is made. Where a scrape goes on for longer than `patience_s` seconds, or nothing
    can be locked, this process begins with files of its own.
    """
    folder = os.environ.get(SERIES_VARIABLE)
    if folder is None:
        return
    # Where nobody scrapes, nobody else would.
    drop_gauges_of_dead_workers()
    with suppress(OSError), (Path(folder) / _LOCK).open("ab") as lock:
        if not _lock_alone(lock, patience_s):
            return
        for kind in _TOTALS:
            own = Path(folder) / f"{kind}_{os.getpid()}.db"
            left = (file for file in Path(folder).glob(f"{kind}_*.db") if not is_running(_process_of(file)))
            # One with this process's own id, which the system may give again, is gone on with as it is.
            dead = None if own.exists() else next(left, None)
            if dead is not None:
                dead.rename(own)


@asynccontextmanager
async def hold_files() -> AsyncIterator[None]:
    """Keep every file where it is while a scrape reads them, without those that no longer count.

    A scrape that met a file under two names, or under none, would show totals that jump and fall.
    """
    folder = os.environ.get(SERIES_VARIABLE)
    if folder is None:
        yield
        return
    lock: IO[bytes] | None = None
    try:
        # A folder that cannot be written has no file to be renamed either.
        with suppress(OSError):
            lock = (Path(folder) / _LOCK).open("ab")
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_SH)
        drop_gauges_of_dead_workers()
        yield
    finally:
        if lock is not None:
            lock.close()


def _process_of(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])


def _lock_alone(lock: IO[bytes], patience_s: float) -> bool:
    give_up_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_s:
                return False
            time.sleep(_RETRY_S)
        else:
            return True
