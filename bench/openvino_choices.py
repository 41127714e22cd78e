"""How best to run OpenVINO beside decoding on few cores: `python -m bench.openvino_choices --json`.

Encoded photographs go through decode threads and a queue into lanes, as in the service but without HTTP. Compared are
graphs of one image and of any batch size, threads pinned to cores or not, and more lanes or requests than streams. The
candidates take turns; medians over the rounds are what counts.
"""

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Full, LifoQueue, Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.environment import describe_environment, write_result
from bench.photographs import write_photographs
from bento_service.domain.models import InputRecipe
from bento_service.images.prepare import ImageLimits, prepare
from bento_service.machine import count_cpus
from bento_service.models.catalogue import Catalogue
from bento_service.models.store import StoredModel

MODEL = "efficientnet_lite0"
LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000)
QUEUE_IMAGES = 16
POLL_S = 0.05

Infer = Callable[[NDArray[np.uint8]], object]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run the model. Requests beyond the streams wait inside OpenVINO, lanes beyond the requests outside."""

    graph: str
    is_pinned: bool
    streams: int
    requests: int
    lanes: int
    decode_threads: int


def list_candidates(cpus: int) -> list[Candidate]:
    """Return what is compared on so many CPUs."""
    graphs = [Candidate(graph, pin, cpus, cpus, cpus, cpus) for graph in ("one", "any") for pin in (True, False)]
    lanes = [
        Candidate("one", is_pinned=True, streams=cpus, requests=cpus, lanes=cpus, decode_threads=1),
        Candidate("one", is_pinned=True, streams=cpus, requests=cpus, lanes=cpus + 1, decode_threads=cpus),
        Candidate("one", is_pinned=True, streams=cpus, requests=cpus + 1, lanes=cpus + 1, decode_threads=cpus),
        Candidate("one", is_pinned=True, streams=cpus + 1, requests=cpus + 1, lanes=cpus + 1, decode_threads=cpus),
    ]
    alone = [Candidate(graph, pin, 1, 1, 1, 1) for graph in ("one", "any") for pin in (True, False)]
    return [*graphs, *lanes, *alone]


def load(stored: StoredModel, candidate: Candidate, *, threads: int) -> Infer:
    """Compile the model as a candidate says, and return what runs one image on it."""
    import openvino  # noqa: PLC0415 - heavy

    core = openvino.Core()
    model = core.read_model(stored.onnx_path)
    recipe = stored.card.recipe
    shape = [1, recipe.height_px, recipe.width_px, 3]
    if candidate.graph == "one":
        model.reshape(shape)
    properties = {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": str(candidate.streams),
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": candidate.is_pinned,
    }
    compiled = core.compile_model(model, "CPU", properties)
    requests: LifoQueue[Any] = LifoQueue()
    for _ in range(candidate.requests):
        request = compiled.create_infer_request()
        request.infer({0: np.zeros(shape, np.uint8)})
        requests.put(request)

    def infer(image_nhwc: NDArray[np.uint8]) -> object:
        request = requests.get()
        try:
            return request.infer({0: image_nhwc}, share_inputs=True, share_outputs=True)[0].copy()
        finally:
            requests.put(request)

    return infer


def run_pipeline(
    infer: Infer, candidate: Candidate, photographs: Sequence[bytes], recipe: InputRecipe, *, duration_s: float
) -> dict[str, float]:
    """Decode and infer as fast as possible: images a second, and a second of CPU time."""
    stop_s = time.perf_counter() + duration_s
    prepared: Queue[NDArray[np.uint8]] = Queue(QUEUE_IMAGES)
    turns = itertools.cycle(photographs)
    counts = [0] * candidate.lanes

    def decode() -> None:
        while time.perf_counter() < stop_s:
            pixels_hwc = prepare(next(turns), recipe, LIMITS).pixels_hwc
            while time.perf_counter() < stop_s:
                try:
                    prepared.put(pixels_hwc, timeout=POLL_S)
                    break
                except Full:
                    continue

    def run_lane(lane: int) -> None:
        while time.perf_counter() < stop_s:
            try:
                infer(prepared.get(timeout=POLL_S)[None])
            except Empty:
                continue
            counts[lane] += 1

    threads = [threading.Thread(target=decode) for _ in range(candidate.decode_threads)]
    threads += [threading.Thread(target=run_lane, args=(lane,)) for lane in range(candidate.lanes)]
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "images_per_s": sum(counts) / (time.perf_counter() - started_s),
        "images_per_cpu_s": sum(counts) / (time.process_time() - started_cpu_s),
    }


def run_alone(infer: Infer, photographs: Sequence[bytes], recipe: InputRecipe, *, duration_s: float) -> float:
    """Decode and infer one image after the other: the median of inference, in milliseconds."""
    samples_ms = []
    stop_s = time.perf_counter() + duration_s
    for encoded in itertools.cycle(photographs):
        pixels_hwc = prepare(encoded, recipe, LIMITS).pixels_hwc
        started_s = time.perf_counter()
        infer(pixels_hwc[None])
        samples_ms.append((time.perf_counter() - started_s) * 1000)
        if time.perf_counter() > stop_s:
            break
    return statistics.median(samples_ms)


def main() -> None:
    """Run the candidates in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.8, help="of each candidate in each round")
    parser.add_argument("--json", action="store_true", help="write bench/results/openvino_choices-<date>.json")
    arguments = parser.parse_args()

    stored, cpus = Catalogue().load(MODEL), count_cpus()
    recipe = stored.card.recipe
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), 256)
        photographs = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    candidates = list_candidates(cpus)
    engines = [load(stored, candidate, threads=cpus) for candidate in candidates]
    rounds: list[list[dict[str, float]]] = [[] for _ in candidates]
    for _ in range(arguments.rounds):
        for candidate, infer, results in zip(candidates, engines, rounds, strict=True):
            figures = run_pipeline(infer, candidate, photographs, recipe, duration_s=arguments.seconds)
            if candidate.streams == 1:
                figures["lone_ms"] = run_alone(infer, photographs, recipe, duration_s=arguments.seconds)
            results.append(figures)
    medians = [
        {name: statistics.median(figures[name] for figures in results) for name in results[0]} for results in rounds
    ]

    table = Table(*Candidate.__dataclass_fields__, *("images/s", "images/CPU second", "lone, ms"))
    for candidate, figures in zip(candidates, medians, strict=True):
        shown = [f"{figures[name]:.1f}" if name in figures else "" for name in (*medians[0], "lone_ms")]
        table.add_row(*map(str, asdict(candidate).values()), *shown)
    Console().print(table)
    if arguments.json:
        environment = describe_environment("python -m bench.openvino_choices --json", ["openvino", "numpy", "pillow"])
        results_json = [
            {"candidate": asdict(candidate), "median": median, "rounds": results}
            for candidate, median, results in zip(candidates, medians, rounds, strict=True)
        ]
        print(write_result("openvino_choices", environment | {"model": MODEL, "results": results_json}))


if __name__ == "__main__":
    main()
