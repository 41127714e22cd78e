"""A container's first process, which gets only the signals that it has a handler for."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bento_service.__main__ import exit_on_sigterm_as_pid_1

EXIT_CODE = 128 + signal.SIGTERM
CAN_UNSHARE = shutil.which("unshare") is not None and os.geteuid() == 0


@pytest.fixture
def handler() -> Iterator[object]:
    before = signal.getsignal(signal.SIGTERM)
    yield before
    signal.signal(signal.SIGTERM, before)


def test_the_first_process_leaves_with_sigterms_exit_code(handler: object) -> None:
    exit_on_sigterm_as_pid_1(1)

    with pytest.raises(SystemExit) as left:
        signal.raise_signal(signal.SIGTERM)
    assert left.value.code == EXIT_CODE


def test_any_other_process_keeps_its_own_handler(handler: object) -> None:
    exit_on_sigterm_as_pid_1(2)

    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.skipif(not CAN_UNSHARE, reason="only root may give a process an id of 1")
def test_a_command_that_is_a_containers_first_process_can_be_stopped() -> None:
    # It waits for an answer that never comes, as a start may wait for a database.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = ("unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "bento_service", "models")
        with subprocess.Popen([*command, "--url", url], stderr=subprocess.PIPE) as unshare:
            connection, _ = silent.accept()
            children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
            with closing(connection), children.open(encoding="ascii") as ids:
                os.kill(int(ids.read()), signal.SIGTERM)
                exit_code = unshare.wait(120)

    assert exit_code == EXIT_CODE
