"""The container's health check: every worker has renewed its status within the last seconds, and serves.

Reads the table of `bento_service/worker/shared_folder.py`, which the event loop of each worker writes to. So it finds a
worker that died, hangs or still loads, whichever worker would answer a probe. Standard library only.

Exit code: 0 if all workers serve, 1 if not, with a line that says what is wrong.
"""

import os
import struct
import sys
import time
from pathlib import Path

MAX_AGE_S = 15.0
"""A worker whose status is older hangs. This and the layout: the same in `bento_service/worker/shared_folder.py`."""
_HEADER = struct.Struct("<II8x")
_STATUS = struct.Struct("<dBB6x")
_STATES = ("loading", "ready", "draining")
_PARENT = "LIGHTBOX_HEARTBEAT_DIR"


def find_table(parent: Path) -> Path | None:
    """Return the table of this container's service: the newest of its user and its namespace of process ids."""
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    # `docker exec -u root` asks for the service of any user.
    tables = parent.glob(f"lightbox-{os.geteuid() or '*'}-{namespace}-*/workers")
    return max(tables, key=lambda table: table.stat().st_mtime, default=None)


def find_fault(table: Path | None, now_s: float) -> str:
    """Say what is wrong with the workers, or return an empty string."""
    if table is None:
        return "no worker has started"
    content = table.read_bytes()
    _, expected = _HEADER.unpack_from(content)
    serving, others = 0, []
    for worker, (renewed_s, state, _) in enumerate(_STATUS.iter_unpack(content[_HEADER.size :]), 1):
        age_s = now_s - renewed_s
        if not renewed_s:
            continue
        if age_s > MAX_AGE_S:
            others.append(f"worker {worker} hangs for {age_s:.0f} s")
        elif _STATES[state] == "loading":
            others.append(f"worker {worker} is loading")
        else:
            serving += 1
    return "" if serving >= expected else "; ".join([f"{serving} of {expected} workers serve", *others])


def main() -> None:
    """Print what is wrong, if anything, and exit."""
    parent = os.environ.get(_PARENT, "").strip()
    fault = find_fault(find_table(Path(parent)), time.time()) if parent else f"{_PARENT} is not set"
    print(fault or "all workers serve")
    sys.exit(1 if fault else 0)


if __name__ == "__main__":
    main()
