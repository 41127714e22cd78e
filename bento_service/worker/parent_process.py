"""The process that starts the workers. A master that was killed stops nobody, so each worker watches it."""

import asyncio
import logging
import os
import signal
from collections.abc import Mapping, MutableMapping

logger = logging.getLogger(__name__)

_VARIABLE = "LIGHTBOX_MASTER_ID"
_CHECK_S = 1.0


def export_parent_pid(environment: MutableMapping[str, str]) -> None:
    """Note this process's id in the environment that its workers get."""
    environment[_VARIABLE] = str(os.getpid())


def read_parent_pid(environment: Mapping[str, str]) -> int:
    """Return the id of the process that started this worker, also where it has died since.

    Only the environment tells that: whoever asks the system after a master's death is given the id of another process.
    Where nothing was noted, this process's parent.
    """
    noted = environment.get(_VARIABLE, "")
    return int(noted) if noted.isdecimal() else os.getppid()


async def exit_with_parent(master_id: int) -> None:
    """Stop this worker once its master is gone: else it would keep the port, and its models in memory."""
    while os.getppid() == master_id:  # noqa: ASYNC110 - nothing tells a process that its parent has died
        await asyncio.sleep(_CHECK_S)
    logger.warning("The process that started this worker is gone; leaving too.")
    signal.raise_signal(signal.SIGTERM)
