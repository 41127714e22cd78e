"""What a comparison and `bench.cache` measured, as JSON in `results/` keeps it, and the medians read from it."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from bench.ceiling import Ceiling
from bench.servers import Kind

SMALL, LARGE = "small", "large"
NEVER_REPEATS, REPEATS = "never repeats", "256 photographs in turn"
"""The two kinds of traffic that are measured."""
Loop = Literal["closed", "open"]


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one server.

    `level` is the number of connections of a closed loop, and the share of the server's capacity that an open one
    offers. `images_per_s` counts answers with 200, `goodput_per_s` those within the target. Percentiles are of the
    former, in a closed loop of refusals too, which wrk does not part; `refused_p99_ms` is of answers with 429 or 503;
    None where there are none. `failed` is whatever was neither. `not_ready` counts the answers with 503 of an open
    loop, which are among `refused`. `capacity_per_s` is what `level` is a share of: the rate of a closed loop of the
    same client. `memory_bytes` is the server's, right after the load, of which `master_bytes` are its first process's.
    """

    server: str
    workers: int
    photographs: str
    loop: Loop
    level: float
    round: int
    images_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    failed: int
    goodput_per_s: float | None = None
    offered_per_s: float | None = None
    requests: int | None = None
    refused: int = 0
    refused_p99_ms: float | None = None
    not_ready: int = 0
    capacity_per_s: float | None = None
    is_client_bound: bool = False
    memory_bytes: int | None = None
    master_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Participant:
    """A server that was asked for. `unavailable` says why it was not measured; None where it was.

    `same_top1` and `max_difference` compare its answers to Lightbox's on `photographs` photographs.
    """

    key: str
    name: str
    kind: Kind
    start_s: float | None = None
    photographs: int = 0
    same_top1: int = 0
    max_difference: float | None = None
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """From idle to 90 % of capacity at once, on a server that was just started.

    `late_p99_ms` is of the requests that were due after the first second, `first_p99_ms` of those before.
    """

    offered_per_s: float
    requests: int
    refused: int
    failed: int
    first_p99_ms: float | None
    late_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class ModelCount:
    """What Lightbox costs with so many models loaded. `idle_bytes` is before any load, after one answer of each."""

    models: int
    start_s: float
    idle_bytes: int
    images_per_s: float


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Lightbox's memory so long after the start of a load."""

    elapsed_s: float
    memory_bytes: int


@dataclass(frozen=True)
class Comparison:
    """One run of `bench.compare`. `environment` is as `bench.environment` describes it.

    `interruptions` says which loads ended early, and why.
    """

    environment: Mapping[str, Any]
    plan: Mapping[str, Any]
    target_ms: float
    participants: Sequence[Participant]
    ceilings: Sequence[Ceiling]
    runs: Sequence[Run]
    steps: Sequence[Step] = ()
    model_counts: Sequence[ModelCount] = ()
    memory_samples: Sequence[MemorySample] = ()
    interruptions: Sequence[str] = ()

    def select(
        self,
        server: str,
        loop: Loop,
        level: float | None = None,
        *,
        workers: int = 1,
        photographs: str = SMALL,
    ) -> list[Run]:
        """Return the runs of one server under one load, or under each level of it, in the order of the rounds."""
        return [
            run
            for run in self.runs
            if (run.server, run.loop, run.workers, run.photographs) == (server, loop, workers, photographs)
            and level in (None, run.level)
        ]

    def images_per_s(
        self, server: str, connections: int, *, workers: int = 1, photographs: str = SMALL
    ) -> float | None:
        """Return the median rate of a closed loop; None if it was not measured."""
        runs = self.select(server, "closed", connections, workers=workers, photographs=photographs)
        return median(run.images_per_s for run in runs)

    def ceiling(self, name: str) -> float | None:
        """Return the median of one of the yardsticks; None if it was not measured."""
        return median(getattr(ceiling, name) for ceiling in self.ceilings)


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of what is there; None if nothing is."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


_COMPARISONS = TypeAdapter(Comparison)


def read_comparison(path: Path) -> Comparison:
    """Read a result; a ValueError says what is wrong with it."""
    return _COMPARISONS.validate_json(path.read_bytes())


def to_json(comparison: Comparison) -> Mapping[str, Any]:
    """Return a result as `write_result` takes it."""
    described: Mapping[str, Any] = _COMPARISONS.dump_python(comparison, mode="json")
    return described


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
