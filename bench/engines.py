"""Each engine on this machine's CPU, in each mode, with batches of 1 to 8: `python -m bench.engines --json`.

EfficientNet-Lite0 from BentoML's model store. Each engine runs in a process of its own, so that its memory is its own;
the engines take turns, and medians over the rounds are what counts.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.environment import describe_environment, write_result
from bento_service.domain.runner import EngineMode
from bento_service.engines.base import Engine
from bento_service.engines.choice import EngineKind, create_engine
from bento_service.machine import count_cpus
from bento_service.models.catalogue import Catalogue

MODEL = "efficientnet_lite0"
BATCH_SIZES = (1, 2, 4, 8)
LONE_IMAGES = 40

Figures = dict[str, float]


def measure(kind: EngineKind, duration_s: float) -> Figures:
    """Load one engine into this process and measure it.

    `lone_<mode>_ms` is the median of single images, one after the other. `batch_<n>_images_per_s` is what as many lanes
    as CPUs do at once, `batch_<n>_images_per_cpu_s` the same by CPU time, which other programs disturb less. Memory is
    what the engine added to the process's proportional set size.
    """
    stored = Catalogue().load(MODEL)
    cpus = count_cpus()
    before_bytes = read_pss_bytes()
    engine = create_engine(kind, "cpu", stored, lanes=cpus, threads=cpus)
    recipe = stored.card.recipe
    batch_nhwc = np.random.default_rng(0).integers(
        0, 256, (max(BATCH_SIZES), recipe.height_px, recipe.width_px, 3), dtype=np.uint8
    )
    figures: Figures = {"loaded_bytes": read_pss_bytes() - before_bytes}
    for mode in EngineMode:
        figures[f"lone_{mode}_ms"] = _time_lone(lambda mode=mode: engine.infer(batch_nhwc[:1], mode))  # type: ignore[misc]
    for size in BATCH_SIZES:
        rates = _count(engine, batch_nhwc[:size], lanes=cpus, duration_s=duration_s)
        figures |= {f"batch_{size}_{name}": rate for name, rate in rates.items()}
        figures[f"batch_{size}_bytes"] = read_pss_bytes() - before_bytes
    engine.close()
    return figures


def read_pss_bytes() -> int:
    """Return this process's memory, with its share of what it shares with others (Linux)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/self/smaps_rollup has no line `Pss:`; this benchmark needs Linux 4.14 or later.")


def _time_lone(infer: Callable[[], object]) -> float:
    samples_ms = []
    for _ in range(LONE_IMAGES):
        started_s = time.perf_counter()
        infer()
        samples_ms.append((time.perf_counter() - started_s) * 1000)
    return statistics.median(samples_ms)


def _count(engine: Engine, batch_nhwc: np.ndarray, *, lanes: int, duration_s: float) -> Figures:
    engine.infer(batch_nhwc)
    started_s, started_cpu_s = time.perf_counter(), time.process_time()

    def run_lane(_: int) -> int:
        images = 0
        while time.perf_counter() - started_s < duration_s:
            images += len(engine.infer(batch_nhwc))
        return images

    with ThreadPoolExecutor(lanes) as pool:
        images = sum(pool.map(run_lane, range(lanes)))
    return {
        "images_per_s": images / (time.perf_counter() - started_s),
        "images_per_cpu_s": images / (time.process_time() - started_cpu_s),
    }


def _measure_apart(kind: str, duration_s: float) -> Figures:
    command = [sys.executable, "-m", "bench.engines", "--only", kind, "--seconds", str(duration_s)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own module
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _show(engines: dict[str, Figures]) -> Table:
    table = Table("engine", "lone, all threads, ms", "lone, one stream, ms")
    for size in BATCH_SIZES:
        table.add_column(f"batch {size}, images/s (a CPU second)")
    table.add_column("memory, MB, loaded")
    table.add_column("after batches of 8")
    for kind, figures in engines.items():
        lone = [f"{figures[f'lone_{mode}_ms']:.2f}" for mode in EngineMode]
        rates = [
            f"{figures[f'batch_{size}_images_per_s']:.0f} ({figures[f'batch_{size}_images_per_cpu_s']:.0f})"
            for size in BATCH_SIZES
        ]
        memory = [f"{figures[name] / 1e6:.0f}" for name in ("loaded_bytes", f"batch_{BATCH_SIZES[-1]}_bytes")]
        table.add_row(kind, *lone, *rates, *memory)
    return table


def main() -> None:
    """Measure every engine in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each batch size in each round")
    parser.add_argument("--json", action="store_true", help="write bench/results/engines-<date>.json")
    parser.add_argument("--only", choices=get_args(EngineKind), help="measure this one here and print its figures")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.seconds)))
        return
    rounds = [
        {kind: _measure_apart(kind, arguments.seconds) for kind in get_args(EngineKind)}
        for _ in range(arguments.rounds)
    ]
    engines = {
        kind: {name: statistics.median(figures[kind][name] for figures in rounds) for name in rounds[0][kind]}
        for kind in rounds[0]
    }
    Console().print(_show(engines))
    if arguments.json:
        environment = describe_environment("python -m bench.engines --json", ["openvino", "onnxruntime", "torch"])
        print(write_result("engines", environment | {"model": MODEL, "medians": engines, "rounds": rounds}))


if __name__ == "__main__":
    main()
