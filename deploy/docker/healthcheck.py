"""The container's health check: every worker has said within the last seconds that it serves. Standard library only.

Each worker renews a file of its own, named by its process id, from its event loop
(`bento_service/worker/heartbeat.py`). So one that died, hangs or could not load its models is noticed, whichever of the
workers would have answered a probe.

Exit code: 0 if all workers serve, 1 if not, with a line that says what is wrong.
"""

import json
import os
import sys
import time
from pathlib import Path

MAX_AGE_S = 15.0
"""A worker whose heartbeat is older hangs; the same in `bento_service/worker/heartbeat.py`."""
_SERVING = ("ready", "draining")
_PARENT = "LIGHTBOX_HEARTBEAT_DIR"
_NAMESPACE = Path("/proc/self/ns/pid")


def own_folder(parent: Path) -> Path:
    """Return the folder for the workers of this container; the same in `bento_service/worker/workers_folder.py`."""
    try:
        namespace = "".join(filter(str.isdigit, str(_NAMESPACE.readlink())))
    except OSError:
        namespace = "0"
    own = parent / f"lightbox-workers-{os.geteuid()}-{namespace}"
    if own.is_dir() or os.geteuid() != 0:
        return own
    # `docker exec -u root`: it asks for the workers of whichever user there is. Nobody else takes another's word.
    return next(parent.glob(f"lightbox-workers-*-{namespace}"), own)


def is_running(process_id: str) -> bool:
    """Tell whether a process runs; one that ended does not, even where its parent has not yet asked how: proc(5)."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def find_fault(folder: Path, now_s: float) -> str:
    """Say what is wrong with the workers whose heartbeats lie in `folder`, or return an empty string."""
    serving, expected, others = 0, 1, []
    for file in sorted(folder.glob("*.json")):
        if not (file.stem.isdigit() and is_running(file.stem)):
            continue
        try:
            age_s = now_s - file.stat().st_mtime
            beat = json.loads(file.read_text())
            state, expected = str(beat["state"]), int(beat["workers"])
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            others.append(f"what worker {file.stem} says cannot be read")
            continue
        if age_s > MAX_AGE_S:
            others.append(f"worker {file.stem} hangs for {age_s:.0f} s")
        elif state in _SERVING:
            serving += 1
        else:
            others.append(f"worker {file.stem} is {state}")
    if serving >= expected:
        return ""
    return "; ".join([f"{serving} of {expected} workers serve", *others])


def main() -> None:
    """Print what is wrong, if anything, and leave with the exit code."""
    parent = os.environ.get(_PARENT, "").strip()
    fault = f"{_PARENT} is not set: no worker can be heard"
    if parent:
        fault = find_fault(own_folder(Path(parent)), time.time())
    print(fault or "all workers serve")
    sys.exit(1 if fault else 0)


if __name__ == "__main__":
    main()
