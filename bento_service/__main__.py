"""`python -m bento_service`: the `lightbox` command, as a container starts it."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> None:
    """Run the command that was typed, and leave with its exit code."""
    exit_on_sigterm_as_pid_1(os.getpid())
    # After that, because it takes a while.
    from bento_service.cli.app import main as run_command  # noqa: PLC0415

    run_command()


def exit_on_sigterm_as_pid_1(process_id: int) -> None:
    """Exit with code 143 on SIGTERM if this is process 1, the first of its container.

    The kernel does not deliver to process 1 a signal that it has no handler for (pid_namespaces(7)), so a stop would be
    ignored until the server has installed its own handlers.
    """
    if process_id == 1:
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
