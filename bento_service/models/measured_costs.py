"""The durations of batches that an earlier start measured, so that the next one need not measure them again."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bento_service.domain.runner import EngineMode

logger = logging.getLogger(__name__)

DurationsMs = Mapping[EngineMode, Mapping[int, float]]
"""Milliseconds by mode and batch size."""

_MAX_FILE_BYTES = 100_000
_FILES = TypeAdapter(dict[EngineMode, dict[int, float]])


class MeasuredCosts:
    """A folder with a small JSON file for each model and everything else that its durations depend on.

    Whatever goes wrong with a file, the durations are measured as in the first start. Safe for several processes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, *conditions: object) -> DurationsMs | None:
        """Return the durations that were kept under these conditions, or None."""
        path = self._path_of(conditions)
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                return None
            found = _FILES.validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None
        is_sound = all(1 in durations and min(durations.values()) > 0 for durations in found.values())
        return found if is_sound and EngineMode.THROUGHPUT in found else None

    def keep(self, durations: DurationsMs, *conditions: object) -> None:
        """Write durations, in place of those kept before."""
        path = self._path_of(conditions)
        part = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(_FILES.dump_json({mode: dict(sizes) for mode, sizes in durations.items()}))
            part.replace(path)
        except OSError as error:
            logger.debug("The measured durations cannot be kept in %s: %s", self._folder, error)

    def _path_of(self, conditions: tuple[object, ...]) -> Path:
        digest = hashlib.sha256(json.dumps(list(map(str, conditions))).encode()).hexdigest()
        return self._folder / f"{digest[:24]}.json"
