"""Images a second of a running service, beside the ceiling: the same work in threads of one process, without a server.

Run `python -m bench.service`; with `--json`, the figures also go to `bench/results/service-<date>.json`. It needs wrk,
and prepared models. The ceiling and each number of connections take turns for as many rounds as asked for; the medians
count.
"""

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table

from bench.environment import describe_environment, write_result
from bench.photographs import write_photographs
from bento_service.bootstrap import open_catalogue
from bento_service.engines.factory import choose_engine, create_engine
from bento_service.hardware import count_cpus
from bento_service.images.intake import IntakeLimits, prepare

MODEL = "efficientnet_lite0"
CONNECTIONS = (1, 16, 64)
PACKAGES = ("bentoml", "openvino", "uvicorn", "fastapi", "pillow", "simplejpeg")
_SCRIPT = Path(__file__).with_name("classify.lua")
_LIMITS = IntakeLimits(max_bytes=20_000_000, max_pixels=50_000_000)
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians over the rounds. `of_ceiling` is the ratio to the ceiling of the same round."""

    what: str
    images_per_s: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    of_ceiling: float | None = None
    not_200: int = 0


@dataclass(frozen=True, slots=True)
class _Load:
    """What wrk saw in one run."""

    images_per_s: float
    p50_ms: float
    p99_ms: float
    not_200: int


def measure_ceiling(photographs: list[bytes], duration_s: float) -> float:
    """Return images a second of decoding and inference in as many threads as there are CPUs, for so long."""
    stored = open_catalogue().load(MODEL)
    cpus = count_cpus()
    engine = create_engine(*choose_engine("auto", "auto"), stored, lanes=cpus, threads=cpus)
    end_s = time.perf_counter() + duration_s

    def work(first: int) -> int:
        count = 0
        for encoded in cycle(photographs[first:] + photographs[:first]):
            if time.perf_counter() >= end_s:
                return count
            engine.infer(prepare(encoded, stored.card.recipe, _LIMITS).pixels_hwc[None])
            count += 1
        return count

    begun_s = time.perf_counter()
    with ThreadPoolExecutor(cpus) as pool:
        images = sum(pool.map(work, [number * len(photographs) // cpus for number in range(cpus)]))
    engine.close()
    return images / (time.perf_counter() - begun_s)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run `lightbox serve` with one model on a free port; yields its address once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Whatever else is set here, what is measured is the default.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTBOX_")}
    environment = {**inherited, "LIGHTBOX_DATA_DIR": str(folder), "LIGHTBOX_MODELS": MODEL}
    command = [sys.executable, "-m", "bento_service.cli", "serve", "--port", str(port)]
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603 - our own
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait(_STOP_TIMEOUT_S)


def load(url: str, photographs: Path, connections: int, duration_s: int) -> _Load:
    """Keep so many connections busy for so long."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "--timeout", "30s", "-s", str(_SCRIPT)]
    target = [f"{url}/v1/classify", "--", str(photographs)]
    output = subprocess.run([*command, *target], check=True, capture_output=True, text=True).stdout  # noqa: S603 - ours
    statuses = {int(status): int(count) for status, count in re.findall(r"status (\d+) (\d+)", output)}
    p50_ms, p99_ms = map(float, re.findall(r"latency_ms p50=([\d.]+) p99=([\d.]+)", output)[0])
    not_200 = sum(count for status, count in statuses.items() if status != 200)
    seconds = float(re.findall(r"requests in ([\d.]+)s", output)[0])
    return _Load(statuses.get(200, 0) / seconds, p50_ms, p99_ms, not_200)


def measure(rounds: int, duration_s: int) -> list[Figure]:
    """Take turns between the ceiling and the service at each number of connections."""
    ceilings: list[float] = []
    loads: dict[int, list[_Load]] = {connections: [] for connections in CONNECTIONS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = folder / "photographs"
        encoded = [path.read_bytes() for path in write_photographs(photographs)]
        for _ in range(rounds):
            ceilings.append(measure_ceiling(encoded, duration_s))
            with serving(folder) as url:
                load(url, photographs, max(CONNECTIONS), 3)
                for connections in CONNECTIONS:
                    loads[connections].append(load(url, photographs, connections, duration_s))
    return [
        Figure("decode + infer in threads, no server", statistics.median(ceilings)),
        *(_summarise(connections, runs, ceilings) for connections, runs in loads.items()),
    ]


def _summarise(connections: int, runs: Sequence[_Load], ceilings: Sequence[float]) -> Figure:
    return Figure(
        what=f"Lightbox, {connections} connection{'s' if connections > 1 else ''}",
        images_per_s=statistics.median(run.images_per_s for run in runs),
        p50_ms=statistics.median(run.p50_ms for run in runs),
        p99_ms=statistics.median(run.p99_ms for run in runs),
        of_ceiling=statistics.median(run.images_per_s / ceiling for run, ceiling in zip(runs, ceilings, strict=True)),
        not_200=sum(run.not_200 for run in runs),
    )


def _wait_until_ready(url: str) -> None:
    give_up_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up_s:
        try:
            if requests.get(f"{url}/readyz", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)  # a process that starts has no event to wait for
    raise TimeoutError(f"The service at {url} was not ready within {_START_TIMEOUT_S:g} s.")


def main() -> None:
    """Print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.rounds, arguments.seconds)
    table = Table("", "images/s", "of the ceiling", "p50, ms", "p99, ms", "not 200")
    for figure in figures:
        table.add_row(
            figure.what,
            f"{figure.images_per_s:.0f}",
            "" if figure.of_ceiling is None else f"{figure.of_ceiling:.2f}",
            "" if figure.p50_ms is None else f"{figure.p50_ms:.0f}",
            "" if figure.p99_ms is None else f"{figure.p99_ms:.0f}",
            str(figure.not_200),
        )
    Console().print(table)
    if arguments.json:
        result = describe_environment("python -m bench.service --json", PACKAGES)
        settled = {"model": MODEL, "rounds": arguments.rounds, "seconds": arguments.seconds}
        print(write_result("service", {**result, **settled, "results": [asdict(figure) for figure in figures]}))


if __name__ == "__main__":
    main()
