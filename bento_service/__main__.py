"""`python -m bento_service`: the `lightbox` command, as a container starts it."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> None:
    """Run the command that was typed, and leave with its exit code."""
    heed_sigterm(os.getpid())
    # After that, because it takes a while.
    from bento_service.cli.app import main as run_command  # noqa: PLC0415

    run_command()


def heed_sigterm(process_id: int) -> None:
    """Have SIGTERM end this process, by exit code 143, if it is the first of its container.

    The kernel keeps from a first process what it has no handler for (pid_namespaces(7)). So until the servers have
    theirs, which replace this one, a stop would be lost, and end in SIGKILL.
    """
    if process_id == 1:
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
