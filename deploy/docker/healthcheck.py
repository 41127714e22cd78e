"""The container's health check: every worker has said within the last seconds that it serves. Standard library only.

Each worker renews a file of its own, named by its process id, from its event loop (`bento_service/heartbeat.py`). So
one that died, hangs or could not load its models is noticed, whichever of the workers would have answered a probe.

Exit code: 0 if all workers serve, 1 if not, with a line that says what is wrong.
"""

import json
import os
import sys
import time
from pathlib import Path

MAX_AGE_S = 15.0
SERVING = ("ready", "draining")


def find_fault(folder: Path, now_s: float) -> str:
    """Say what is wrong with the workers whose heartbeats lie in `folder`, or return an empty string."""
    serving, expected, others = 0, 1, []
    for file in sorted(folder.glob("*.json")):
        try:
            age_s = now_s - file.stat().st_mtime
            beat = json.loads(file.read_text())
        except FileNotFoundError:
            continue
        if not Path(f"/proc/{file.stem}").exists():
            continue
        expected = beat["workers"]
        if age_s > MAX_AGE_S:
            others.append(f"worker {file.stem} hangs for {age_s:.0f} s")
        elif beat["state"] in SERVING:
            serving += 1
        else:
            others.append(f"worker {file.stem} is {beat['state']}")
    if serving >= expected:
        return ""
    return "; ".join([f"{serving} of {expected} workers serve", *others])


def main() -> None:
    """Print what is wrong, if anything, and leave with the exit code."""
    fault = find_fault(Path(os.environ["LIGHTBOX_HEARTBEAT_DIR"]), time.time())
    print(fault or "all workers serve")
    sys.exit(1 if fault else 0)


if __name__ == "__main__":
    main()
