"""The files of a service's series: prometheus_client adds up those of all worker processes at each scrape."""

import os
from pathlib import Path

from prometheus_client import multiprocess, values

SERIES_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder of the files to prometheus_client."""


def keep_series_by_worker(worker: int | None) -> None:
    """Name this process's files by its worker's number instead of its process id.

    A replacement has the number of the worker that died, so it continues with its totals: they never fall, and there
    are no more files than workers. Call this before the first series is made; it does nothing outside of workers.
    """
    if worker is None or SERIES_VARIABLE not in os.environ:
        return
    drop_gauges(worker, Path(os.environ[SERIES_VARIABLE]))
    values.ValueClass = values.MultiProcessValue(lambda: worker)


def drop_gauges(worker: int, folder: Path) -> None:
    """Remove the gauges of a worker that has died; its totals stay."""
    multiprocess.mark_process_dead(worker, str(folder))
