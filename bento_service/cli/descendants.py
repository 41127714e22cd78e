"""Finds the processes that descend from one, after their parents are gone and in whatever sessions they put themselves.

A mark in the environment tells them: processes inherit it. BentoML's workers run in sessions of their own and outlive a
master that was killed, port and models included, so neither the process group nor the tree of parents would find them.
"""

import os
import signal
import uuid
from dataclasses import dataclass, field
from pathlib import Path

PROCESSES = Path("/proc")


@dataclass(frozen=True, slots=True)
class Kinship:
    """A mark for the environment of one process, by which it and its descendants are found. Linux only."""

    mark: str = field(default_factory=lambda: f"LIGHTBOX_KINSHIP={uuid.uuid4().hex}")

    @property
    def environment(self) -> dict[str, str]:
        """What the first process needs in its environment."""
        name, value = self.mark.split("=")
        return {name: value}

    def members(self) -> list[int]:
        """Return the ids of the processes that carry the mark and still run."""
        return [int(folder.name) for folder in PROCESSES.iterdir() if folder.name.isdecimal() and self._is_of(folder)]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every member."""
        for process_id in self.members():
            try:
                os.kill(process_id, number)
            except ProcessLookupError:
                """It left by itself."""

    def _is_of(self, folder: Path) -> bool:
        try:
            return self.mark.encode() in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            # Another user's, or gone: none of ours. A zombie's environment is empty.
            return False
