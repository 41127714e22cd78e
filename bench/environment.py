"""Where and when a measurement was taken, as the JSON in `results/` keeps it."""

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bento_service.engines.devices import describe_cpu

RESULTS = Path(__file__).with_name("results")


def describe_environment(command: str, packages: Iterable[str]) -> dict[str, object]:
    """Return date, machine, versions and commit; `command` is what makes the figures again."""
    cpu = describe_cpu()
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": cpu.name,
            "cores": cpu.cores,
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "commit": _read_commit(),
    }


def write_result(name: str, result: Mapping[str, object]) -> Path:
    """Write a result as `results/<name>-<date>.json` and return its path."""
    path = RESULTS / f"{name}-{datetime.now(UTC).date().isoformat()}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def find_newest_result(name: str) -> Path | None:
    """Return the latest that `write_result` wrote under a name; None if there is none."""
    return max(RESULTS.glob(f"{name}-????-??-??.json"), default=None)


def _read_commit() -> str:
    # Tags left out, so that it is always the commit itself, with `-dirty` where the files are not just that.
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    return done.stdout.strip() or "unknown"
