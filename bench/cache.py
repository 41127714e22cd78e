"""The cost of the cache if no image repeats, and its gain if all do.

Run `python -m bench.cache`; with `--json`, the figures also go to `bench/results/cache-<date>.json`, or with
`--costs-only` to `lookup-<date>.json`. It needs wrk and prepared models. Two services run, one with the cache and one
without, and are loaded in turns; the ratios of each round count. Before that, the cache's own CPU time is measured
without a service.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import count, repeat
from pathlib import Path

import numpy as np
from rich.console import Console

from bench.environment import describe_environment, write_result
from bench.markdown import make_table
from bench.models import prepare_models
from bench.photographs import write_photographs
from bench.records import NEVER_REPEATS, REPEATS
from bench.running import running
from bench.servers import list_servers
from bento_service.cache.base import CachedResult
from bento_service.cache.memory import MemoryStore
from bento_service.cache.result_cache import ResultCache, name_scope
from bento_service.domain.requests import ImageInfo, Priority
from bento_service.observability.metrics import Metrics

PACKAGES = ("bentoml", "cachetools", "openvino", "uvicorn")
CONNECTIONS = 16
_CACHE_BYTES = 16_000_000
_IMAGE_BYTES = 49_000
_REPEATS = 5_000
_SCRIPT = Path(__file__).with_name("cache.lua")
_WARM_UP_S = 5
_TRAFFIC_CELLS = {
    "traffic": "{0.traffic}",
    "images/s with": "{0.images_per_s_with:.0f}",
    "without": "{0.images_per_s_without:.0f}",
    "ratio": "{0.ratio:.3f}",
    "p50 with, ms": "{0.p50_ms_with:.2f}",
    "failed": "{0.failed}",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU time on the event loop of one request, without a service around it."""

    what: str
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians over the rounds; `ratio` is that of the rates with and without the cache in the same round."""

    traffic: str
    images_per_s_with: float
    images_per_s_without: float
    ratio: float
    p50_ms_with: float
    failed: int


@dataclass(frozen=True, slots=True)
class _Load:
    images_per_s: float
    p50_ms: float
    failed: int


@dataclass(frozen=True, slots=True)
class _Sides:
    """The addresses of both services, and the folder of photographs to send."""

    with_cache: str
    without: str
    photographs: Path


async def measure_costs() -> list[Cost]:
    """Measure a hit, a miss and the digest alone, for an image of the photographs' size."""
    metrics = Metrics()
    store = MemoryStore(_CACHE_BYTES, on_change=metrics.observe_cache_size)
    cache = ResultCache(store, observer=metrics)
    scope = name_scope("0" * 12, library="openvino 1.0", device_kind="cpu", precision="f32", min_oversampling=None)
    result = CachedResult.of(np.zeros(1_000, dtype=np.float32), ImageInfo("JPEG", 451, 300), ())
    image = os.urandom(_IMAGE_BYTES)
    images = [number.to_bytes(8, "big") + image for number in range(_REPEATS)]

    async def compute() -> CachedResult:
        return result

    async def look_up(encoded: bytes) -> None:
        digest = await cache.digest(encoded)
        await cache.fetch(digest, scope=scope, priority=Priority.INTERACTIVE, compute=compute)

    async def take_time(what: str, ask: Callable[[bytes], Awaitable[object]], bodies: Sequence[bytes]) -> Cost:
        begun_s = time.thread_time()
        for encoded in bodies:
            await ask(encoded)
        return Cost(what, (time.thread_time() - begun_s) / len(bodies) * 1e6)

    await look_up(image)
    costs = [
        await take_time("hit", look_up, [image] * _REPEATS),
        await take_time("miss", look_up, images),
        await take_time("digest alone", cache.digest, images),
    ]
    await cache.close()
    return costs


def measure_traffic(rounds: int, duration_s: int) -> list[Comparison]:
    """Load a service with the cache and one without, in turns, with images that never and that always repeat."""
    lightbox = list_servers()[0]
    runs = (f"{os.getpid()}-{number}" for number in count())
    with tempfile.TemporaryDirectory() as name, ExitStack() as services:
        folder = Path(name)
        photographs = folder / "photographs"
        write_photographs(photographs)
        with_cache, without = (
            services.enter_context(running(lightbox, folder / side, {"LIGHTBOX_CACHE_BYTES": size})).url
            for side, size in (("with", str(_CACHE_BYTES)), ("without", "0"))
        )
        sides = _Sides(with_cache, without, photographs)
        return [
            _compare(NEVER_REPEATS, sides, runs, rounds, duration_s),
            _compare(REPEATS, sides, repeat(None), rounds, duration_s),
        ]


def _compare(
    traffic: str, sides: _Sides, runs: Iterator[str] | Iterator[None], rounds: int, duration_s: int
) -> Comparison:
    def load(url: str, seconds: int) -> _Load:
        return _load(url, sides.photographs, next(runs), seconds)

    for url in (sides.with_cache, sides.without):
        load(url, _WARM_UP_S)
    pairs = []
    for number in range(rounds):
        # The order alternates, so that a machine that slows down favours neither.
        if number % 2:
            later = load(sides.without, duration_s)
            pairs.append((load(sides.with_cache, duration_s), later))
        else:
            pairs.append((load(sides.with_cache, duration_s), load(sides.without, duration_s)))
    return Comparison(
        traffic=traffic,
        images_per_s_with=statistics.median(ours.images_per_s for ours, _ in pairs),
        images_per_s_without=statistics.median(theirs.images_per_s for _, theirs in pairs),
        ratio=statistics.median(ours.images_per_s / theirs.images_per_s for ours, theirs in pairs),
        p50_ms_with=statistics.median(ours.p50_ms for ours, _ in pairs),
        failed=sum(load.failed for pair in pairs for load in pair),
    )


def _load(url: str, photographs: Path, run: str | None, seconds: int) -> _Load:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(_SCRIPT)]
    target = [f"{url}/v1/classify", "--", str(photographs), *([] if run is None else [run])]
    output = subprocess.run([*command, *target], check=True, capture_output=True, text=True).stdout  # noqa: S603 - ours
    ((answered, failed),) = re.findall(r"answered (\d+) failed (\d+)", output)
    ((duration_s, p50_ms),) = re.findall(r"duration_s ([\d.]+) p50_ms ([\d.]+)", output)
    return _Load(int(answered) / float(duration_s), float(p50_ms), int(failed))


def main() -> None:
    """Print both tables, and write them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--costs-only", action="store_true", help="leave the services out")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    console = Console()
    costs = asyncio.run(measure_costs())
    console.print(make_table({"one request at the cache": "{0.what}", "CPU, µs": "{0.cpu_us:.1f}"}, costs))
    comparisons: list[Comparison] = []
    if not arguments.costs_only:
        prepare_models()
        comparisons = measure_traffic(arguments.rounds, arguments.seconds)
        console.print(make_table(_TRAFFIC_CELLS, comparisons))
    if arguments.json:
        result = describe_environment("python -m bench.cache --json", PACKAGES)
        settled = {"connections": CONNECTIONS, "rounds": arguments.rounds, "seconds": arguments.seconds}
        results = {"costs": [asdict(cost) for cost in costs], "traffic": [asdict(each) for each in comparisons]}
        print(write_result("lookup" if arguments.costs_only else "cache", {**result, **settled, **results}))


if __name__ == "__main__":
    main()
