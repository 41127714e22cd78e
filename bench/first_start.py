"""Seconds from `git clone` to the first answer, then from `make up` to the answers of later starts.

A clone of this checkout, with a home and caches of its own that are empty, so all packages come from the index. The
answer is that of `POST /v1/classify` to the first photograph, after the dashboard's health check passes.

Run `python -m bench.first_start`; with `--json`, the figures also go to `bench/results/first_start-<date>.json`.
"""

import argparse
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from rich.console import Console

from bench.environment import describe_environment, write_result
from bench.running import find_free_port

ROOT = Path(__file__).parents[1]
PHOTOGRAPH = ROOT / "dashboard" / "samples" / "chelsea.png"
LIMIT_S = 900.0
KEPT_VARIABLES = ("PATH", "LANG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "PIP_CERT", "PIP_INDEX_URL")
"""What the commands get of this process's environment; no pip or uv configuration, and no settings of Lightbox."""


@dataclass(frozen=True, slots=True)
class FirstStart:
    """`megabytes` is the space that `.venv` takes; `later_s` has one start after the other."""

    python: str
    from_clone_s: float
    megabytes: int
    later_s: tuple[float, ...]


@contextmanager
def make_up(checkout: Path, environment: dict[str, str]) -> Iterator[float]:
    """Run `make up` until the block ends; yield the seconds to the first answer."""
    port, dashboard_port = find_free_port(), find_free_port()
    started_s = time.monotonic()
    command = ["make", "--silent", "up", f"PORT={port}", f"DASHBOARD_PORT={dashboard_port}"]
    process = subprocess.Popen(  # noqa: S603 - ours
        command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for_answer(process, port, dashboard_port)
        yield time.monotonic() - started_s
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal
        process.wait(120)


def wait_for_answer(process: "subprocess.Popen[bytes]", port: int, dashboard_port: int) -> None:
    """Return once the dashboard is healthy and the service has classified a photograph."""
    give_up_s = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_s:
        if process.poll() is not None:
            raise SystemExit(f"`make up` ended with {process.returncode}")
        try:
            requests.get(f"http://127.0.0.1:{dashboard_port}/_stcore/health", timeout=5).raise_for_status()
            url = f"http://127.0.0.1:{port}/v1/classify"
            requests.post(url, data=PHOTOGRAPH.read_bytes(), timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"no answer within {LIMIT_S:g} s")


def measure(folder: Path, later: int) -> FirstStart:
    """Clone this checkout's commit into a folder and start it; then start it again."""
    environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ} | {"HOME": str(folder)}
    checkout = folder / "lightbox"
    started_s = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True, env=environment)  # noqa: S603, S607 - git
    cloned_s = time.monotonic() - started_s
    with make_up(checkout, environment) as first_s:
        pass
    later_s = []
    for _ in range(later):
        with make_up(checkout, environment) as seconds:
            later_s.append(round(seconds, 1))
    venv = checkout / ".venv"
    version = subprocess.run([venv / "bin" / "python", "-V"], capture_output=True, text=True, check=True)  # noqa: S603 - made here
    used = subprocess.run(["du", "-sm", venv], capture_output=True, text=True, check=True)  # noqa: S603, S607 - du on the path
    return FirstStart(version.stdout.strip(), round(cloned_s + first_s, 1), int(used.stdout.split()[0]), tuple(later_s))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--later", type=int, default=5, help="later starts (default 5)")
    parser.add_argument("--json", action="store_true", help="write bench/results/first_start-<date>.json too")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.later)
    console = Console()
    console.print(f"{figures.python}: {figures.from_clone_s} s from git clone, {figures.megabytes} MB in .venv")
    console.print(f"later starts: {', '.join(map(str, figures.later_s))} s")
    if options.json:
        result = {
            "environment": describe_environment("python -m bench.first_start --json", ()),
            "figures": asdict(figures),
        }
        console.print(f"written to {write_result('first_start', result)}")


if __name__ == "__main__":
    main()
