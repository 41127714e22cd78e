"""Tells the container's health check, which is no part of this process, that a worker's event loop still turns."""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from bento_service.status import ServiceState

logger = logging.getLogger(__name__)

INTERVAL_S = 2.0


async def beat(folder: Path, *, workers: int, state: Callable[[], ServiceState]) -> None:
    """Renew this process's heartbeat until cancelled, then take it away.

    The file `<folder>/<process id>.json` says the worker's state and how many workers there should be; its age says
    when the event loop last turned. `deploy/docker/healthcheck.py` reads it. Where it cannot be written, that is logged
    once.

    Args:
        folder: Made if it is missing.
        workers: Service processes that the settings ask for.
        state: Returns where this one stands.
    """
    file = folder / f"{os.getpid()}.json"
    is_writable = True
    try:
        while True:
            try:
                write(file, workers=workers, state=state())
            except OSError as error:
                if is_writable:
                    logger.warning("No heartbeat for the health check: %s", error)
                is_writable = False
            else:
                is_writable = True
            await asyncio.sleep(INTERVAL_S)
    finally:
        with contextlib.suppress(OSError):
            file.unlink()


def write(file: Path, *, workers: int, state: ServiceState) -> None:
    """Replace one heartbeat as a whole, so that no reader meets half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps({"state": state, "workers": workers}))
    draft.replace(file)
