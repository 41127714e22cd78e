"""A fresh Debian with nothing but python3, python3-venv, make and git: the README's commands, to the first answer."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.containers.docker_cli import CAT, ROOT, Container, container, docker, skip_or_fail

pytestmark = pytest.mark.timeout(1800)

INSTALL_TIMEOUT_S = 1200.0
MAX_MEGABYTES = 1000
"""Of .venv after `make up`, as `du -m` counts."""
START = "cd /root && git clone --quiet /srv/lightbox.git lightbox && cd lightbox && make up"
"""What the README says; the clone comes from this checkout."""
ASK_UNTIL_ANSWERED = """
import json, pathlib, time, urllib.request

log = pathlib.Path("/root/up.log")
while "ended: " not in log.read_text():
    try:
        image = pathlib.Path("/root/lightbox/dashboard/samples/chelsea.png").read_bytes()
        urllib.request.urlopen("http://127.0.0.1:8501/_stcore/health", timeout=60)
        answer = urllib.request.urlopen("http://127.0.0.1:3000/v1/classify", image, timeout=60)
        raise SystemExit(json.load(answer)["predictions"][0]["label"])
    except OSError:
        time.sleep(0.2)
"""
"""Writes the best class to stderr once service and dashboard answer; nothing if the start has ended before."""
INDEX_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "UV_DEFAULT_INDEX")
"""How this machine reaches the package index; Docker leaves out those that are not set."""


@contextmanager
def fresh_debian(codename: str) -> Iterator[Container]:
    """A container that waits for commands, reaches the package index as this machine does, and has a clone to copy."""
    made = subprocess.run(
        [ROOT / "tests" / "containers" / "debian-image", codename], capture_output=True, text=True, check=False
    )
    if made.returncode:
        skip_or_fail(f"no image of Debian {codename}: {made.stderr}")
    options = [option for name in INDEX_VARIABLES for option in ("--env", name)]
    if certificates := os.environ.get("SSL_CERT_FILE"):
        inside = "/etc/ssl/machine.pem"
        options += ["--volume", f"{certificates}:{inside}:ro"]
        for name in ("SSL_CERT_FILE", "PIP_CERT"):
            options += ["--env", f"{name}={inside}"]
    sleep = ("sleep", "infinity")
    with container(f"lightbox-test-debian:{codename}", *options, "--init", command=sleep, publish=False) as running:
        yield running


@pytest.mark.parametrize(("codename", "python"), [("trixie", "3.13"), ("bookworm", "3.11")])
def test_a_fresh_debian_answers_after_a_clone_and_make_up(codename: str, python: str, tmp_path: Path) -> None:
    clone = ["git", "clone", "--quiet", "--bare", str(ROOT), str(tmp_path / "lightbox.git")]
    subprocess.run(clone, check=True)
    with fresh_debian(codename) as debian:
        docker("cp", str(tmp_path / "lightbox.git"), f"{debian.name}:/srv/lightbox.git")
        debian.run("touch", "/root/up.log")
        started_s = time.monotonic()
        docker("exec", "--detach", debian.name, "sh", "-c", f"({START}; echo ended: $?) >/root/up.log 2>&1")
        label = docker(
            *("exec", debian.name, "python3", "-c", ASK_UNTIL_ANSWERED), timeout_s=INSTALL_TIMEOUT_S, is_checked=False
        )
        took_s = time.monotonic() - started_s
        log = debian.run("cat", "/root/up.log")
        print(log)
        assert CAT.search(label), log

        megabytes = int(debian.run("du", "-sm", "/root/lightbox/.venv").split()[0])
        print(f"Debian {codename}: {took_s:.0f} s from git clone to the first answer, {megabytes} MB in .venv")
        assert debian.run("/root/lightbox/.venv/bin/python", "-V").startswith(f"Python {python}.")
        assert "torch" not in debian.run("ls", f"/root/lightbox/.venv/lib/python{python}/site-packages").split()
        assert megabytes <= MAX_MEGABYTES
