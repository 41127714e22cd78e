"""A real Redis for a test: a free port, nothing on disk, a password."""

import shutil
import subprocess
from pathlib import Path

from tests.integration.running_service import free_port

PASSWORD = "correct-horse"  # noqa: S105 - of a server that only this test reaches


def find_program() -> str | None:
    """Return the server program, or None."""
    return shutil.which("redis-server")


class RedisServer:
    """A server that can be stopped and started again on the same port, empty each time."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Return once it takes connections."""
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--requirepass", PASSWORD]
        nothing_on_disk = ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        self._process = subprocess.Popen(
            [self._program, *options, *nothing_on_disk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self._process.stdout is not None
        said = b""
        for line in self._process.stdout:
            said += line
            if b"Ready to accept connections" in line:
                return
        raise RuntimeError(f"redis-server did not start: {said.decode()}")

    def stop(self) -> None:
        """Kill it; may be called again."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
