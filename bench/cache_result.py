"""What `bench.cache` found, as the page of `bench.compare` shows it."""

import json
from dataclasses import dataclass
from pathlib import Path

NEVER_REPEATS, REPEATS = "never repeats", "256 photographs in turn"
"""The two kinds of traffic that are measured."""


@dataclass(frozen=True, slots=True)
class CacheRatios:
    """Images a second with the cache over those without it in the same run; None where that was not measured.

    `path` is the result that they come from.
    """

    unique: float | None = None
    repeated: float | None = None
    path: Path | None = None


NOT_MEASURED = CacheRatios()


def read_cache_ratios(path: Path | None) -> CacheRatios:
    """Read a result of `bench.cache`, which may be of its costs alone; without one, nothing was measured."""
    traffic = [] if path is None else json.loads(path.read_text())["traffic"]
    ratios = {one["traffic"]: one["ratio"] for one in traffic}
    return CacheRatios(ratios.get(NEVER_REPEATS), ratios.get(REPEATS), path if ratios else None)
