"""A container's first process, which gets only the signals that it has a handler for."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bento_service.__main__ import exit_on_sigterm_as_pid_1

EXIT_CODE = 128 + signal.SIGTERM
UNSHARE = ("unshare", "--pid", "--fork", "--kill-child")
CAN_UNSHARE = shutil.which("unshare") is not None and subprocess.run([*UNSHARE, "true"], check=False).returncode == 0


@pytest.mark.parametrize(("process_id", "is_handled"), [(1, True), (2, False)])
def test_only_the_first_process_gets_a_handler_that_leaves_with_sigterms_exit_code(
    process_id: int, is_handled: bool
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        exit_on_sigterm_as_pid_1(process_id)
        assert (signal.getsignal(signal.SIGTERM) is before) is not is_handled
        if is_handled:
            with pytest.raises(SystemExit, match=str(EXIT_CODE)):
                signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.skipif(not CAN_UNSHARE, reason="no process may be given an id of 1 here")
def test_a_command_that_is_a_containers_first_process_can_be_stopped() -> None:
    # It waits for an answer that never comes, as a start may wait for a database.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = (*UNSHARE, sys.executable, "-m", "bento_service", "models")
        with subprocess.Popen([*command, "--url", url], stderr=subprocess.PIPE) as unshare:
            connection, _ = silent.accept()
            children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
            with closing(connection), children.open(encoding="ascii") as ids:
                os.kill(int(ids.read()), signal.SIGTERM)
                exit_code = unshare.wait(120)

    assert exit_code == EXIT_CODE
