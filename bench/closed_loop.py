"""A closed loop: so many connections, each sending its next photograph as its last one is answered. Done by wrk."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("classify.lua")
_GRACE_S = 60
"""How long wrk may take over the time that it was given."""


@dataclass(frozen=True, slots=True)
class ClosedLoad:
    """What wrk saw. `refused` counts answers with 429 or 503, `failed` everything else but 200."""

    images_per_s: float
    p50_ms: float
    p99_ms: float
    refused: int
    failed: int


def run_closed_loop(
    url: str, bodies: Path, headers: Mapping[str, str], *, connections: int, duration_s: float
) -> ClosedLoad:
    """Keep connections busy with the files of the folder `bodies` for so long.

    Raises:
        subprocess.CalledProcessError: wrk could not reach the server.
        subprocess.TimeoutExpired: wrk did not come to an end.
        FileNotFoundError: wrk is not installed.
    """
    options = ["-t1", f"-c{connections}", f"-d{round(duration_s)}s", "--timeout", "30s", "-s", str(_SCRIPT)]
    arguments = [url, "--", str(bodies), *(f"{name}: {value}" for name, value in headers.items())]
    done = subprocess.run(  # noqa: S603 - of numbers and paths of ours
        ["wrk", *options, *arguments],  # noqa: S607 - wrk, wherever it is
        check=True,
        capture_output=True,
        text=True,
        timeout=duration_s + _GRACE_S,
    )
    return read_report(done.stdout)


def read_report(output: str) -> ClosedLoad:
    """Read what `classify.lua` prints."""
    statuses = {int(status): int(count) for status, count in re.findall(r"^status (\d+) (\d+)$", output, re.M)}
    ((p50_ms, p99_ms),) = re.findall(r"^latency_ms p50=([\d.]+) p99=([\d.]+)$", output, re.M)
    (duration_s,) = re.findall(r"^duration_s ([\d.]+)$", output, re.M)
    lost = sum(map(int, re.findall(r"(?:connect|read|write|timeout)=(\d+)", output)))
    answered = statuses.pop(200, 0)
    refused = statuses.pop(429, 0) + statuses.pop(503, 0)
    failed = sum(statuses.values()) + lost
    return ClosedLoad(answered / float(duration_s), float(p50_ms), float(p99_ms), refused, failed)
