"""An nginx in front of a server under test, with a few connections to it that all clients share."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from bench.environments import PeerUnavailableError
from bench.running import find_free_port

SHARED_CONNECTIONS = 64
_CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_max_body_size 20m;
    client_body_buffer_size 1m;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    upstream server {{ server {server}; keepalive {connections}; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""
_START_TIMEOUT_S = 10.0


def is_installed() -> bool:
    """Tell whether there is an nginx to measure behind."""
    return shutil.which("nginx") is not None


@contextmanager
def in_front_of(url: str, folder: Path) -> Iterator[str]:
    """Run nginx before the server at `url`, its files in `folder`; yields its own address.

    Raises:
        PeerUnavailableError: It does not start.
    """
    port = find_free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder, server=url.removeprefix("http://"), connections=SHARED_CONNECTIONS, port=port
        )
    )
    command = ["nginx", "-p", str(folder), "-c", str(configuration)]
    folder.chmod(0o755)  # nginx drops its privileges, if it has any
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - fixed
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(f"{address}/livez")
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(url: str) -> None:
    give_up_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up_s:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            """Not listening yet."""
        time.sleep(0.1)  # a process that starts has no event to wait for
    raise PeerUnavailableError("nginx did not start before it")
