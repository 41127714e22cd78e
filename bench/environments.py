"""A virtual environment a peer, made from its pinned requirements the first time and kept."""

import hashlib
import subprocess
import sys
from pathlib import Path

from bench.models import CACHE
from bench.servers import Server

_VENVS = CACHE / "bench-venvs"
_PEERS = Path(__file__).with_name("peers")
_INSTALL_TIMEOUT_S = 900.0


class PeerUnavailableError(Exception):
    """A peer cannot be installed, started or measured here; the message is its row in the tables."""


def find_python(server: Server) -> str:
    """Return the interpreter of a server's environment, after installing what is not there yet.

    Raises:
        PeerUnavailableError: It cannot be installed.
    """
    if server.venv is None:
        return sys.executable
    requirements = _PEERS / server.venv / "requirements.txt"
    folder = _VENVS / server.venv
    python, stamp = folder / "bin" / "python", folder / "installed"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != digest:
        print(f"Installing {server.name} into {folder} …", file=sys.stderr, flush=True)
        uv = [sys.executable, "-m", "uv", "--quiet"]
        _run([*uv, "venv", "--clear", "--python", server.interpreter, str(folder)])
        _run([*uv, "pip", "install", "--python", str(python), "-r", str(requirements)])
        stamp.write_text(digest)
    return str(python)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - uv, on files of this repository
            command, capture_output=True, text=True, check=False, timeout=_INSTALL_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerUnavailableError(f"could not be installed: {error}") from error
    if done.returncode:
        raise PeerUnavailableError(f"could not be installed: {' '.join(done.stderr.split())[-300:]}")
