"""What this machine can do without a server: the yardsticks of `bench.compare`.

Run `python -m bench.ceiling FOLDER FOLDER`, of small and of large photographs; prints JSON. `bench.compare` runs it
as a process of its own, so that nothing else is in it, just before and just after Lightbox. Engine and intake are
Lightbox's own, so that what is missing from the ceiling is what serving costs.
"""

import argparse
import io
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from bench.models import find_model
from bento_service.domain.models import InputRecipe
from bento_service.domain.runner import EngineMode
from bento_service.engines.choice import create_engine
from bento_service.images.preprocessing import ImageLimits, preprocess

_LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000)
_WAYS = ((1, 1), (2, 1), (2, 8))
"""Threads a CPU, and images that each decodes before it infers them: a thread a stream; twice as many, so that others
decode while the streams compute; and these with batches, in which the engine goes from image to image by itself."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The yardsticks.

    `images_per_s`: decode and inference in as many streams as there are CPUs, called in whichever of three ways did
    best; `large_images_per_s` the same with large photographs. `lone_p50_ms`: decode and inference of one image after
    the other, in the engine's latency mode.
    `prepare_per_s` and `tutorial_prepare_per_s`: one thread that only prepares images, as Lightbox does and with Pillow
    and torchvision's transforms; the `large_` ones the same with large photographs.
    """

    images_per_s: float
    large_images_per_s: float
    lone_p50_ms: float
    prepare_per_s: float
    tutorial_prepare_per_s: float
    large_prepare_per_s: float
    large_tutorial_prepare_per_s: float


def best_of(readings: Sequence[Ceiling]) -> Ceiling:
    """Return the better of each yardstick: what else runs on the machine can only make one worse."""
    best = {
        field.name: (min if field.name.endswith("_ms") else max)(getattr(reading, field.name) for reading in readings)
        for field in fields(Ceiling)
    }
    return Ceiling(**best)


def measure_ceiling(small: Sequence[bytes], large: Sequence[bytes], duration_s: float) -> Ceiling:
    """Measure the rate of small photographs for so long in each of the ways, the rest for less."""
    cpus = len(os.sched_getaffinity(0))
    model = find_model()
    recipe = model.card.recipe
    engine = create_engine("openvino", "cpu", model, lanes=cpus, threads=cpus)

    def classify(encoded: Sequence[bytes], mode: EngineMode = EngineMode.THROUGHPUT) -> object:
        return engine.infer(np.stack([preprocess(one, recipe, _LIMITS).pixels_hwc for one in encoded]), mode)

    def measure_best_rate(images: Sequence[bytes], duration_s: float) -> float:
        return max(
            _measure_rate(classify, images, cpus * threads, duration_s, batch_size=batch_size)
            for threads, batch_size in _WAYS
        )

    tutorial = _make_tutorial_transform(recipe)
    rate, large_rate = measure_best_rate(small, duration_s), measure_best_rate(large, duration_s / 4)
    lone_ms = _measure_times_ms(lambda encoded: classify([encoded], EngineMode.LATENCY), small, duration_s / 4)
    engine.close()

    def ours(encoded: Sequence[bytes]) -> object:
        return [preprocess(one, recipe, _LIMITS) for one in encoded]

    one_thread = [
        _measure_rate(work, images, 1, share * duration_s)
        for images, share in ((small, 0.25), (large, 0.5))
        for work in (ours, tutorial)
    ]
    return Ceiling(rate, large_rate, statistics.median(lone_ms), *one_thread)


def _measure_rate(
    work: Callable[[Sequence[bytes]], object],
    images: Sequence[bytes],
    threads: int,
    duration_s: float,
    *,
    batch_size: int = 1,
) -> float:
    work(images[:1])
    begun_s = time.perf_counter()
    end_s = begun_s + duration_s

    def go(first: int) -> int:
        count = 0
        following = cycle([*images[first:], *images[:first]])
        while time.perf_counter() < end_s:
            work(list(islice(following, batch_size)))
            count += batch_size
        return count

    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(go, [number * len(images) // threads for number in range(threads)]))
    return done / (time.perf_counter() - begun_s)


def _measure_times_ms(work: Callable[[bytes], object], images: Sequence[bytes], duration_s: float) -> list[float]:
    times_ms = []
    end_s = time.perf_counter() + duration_s
    for encoded in cycle(images):
        begun_s = time.perf_counter()
        work(encoded)
        times_ms.append((time.perf_counter() - begun_s) * 1000)
        if time.perf_counter() >= end_s:
            break
    return times_ms


def _make_tutorial_transform(recipe: InputRecipe) -> Callable[[Sequence[bytes]], object]:
    from torchvision import transforms  # noqa: PLC0415 - seconds, and only here

    transform = transforms.Compose(
        [
            transforms.Resize(int(recipe.height_px / recipe.crop_fraction), transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(recipe.height_px),
        ]
    )
    # To bytes rather than to floats, as Lightbox hands them to the engine: the comparison is of the same work.
    return lambda encoded: [np.asarray(transform(Image.open(io.BytesIO(one)).convert("RGB"))) for one in encoded]


def main() -> None:
    """Print the yardsticks as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("small", type=Path)
    parser.add_argument("large", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    small, large = (
        [path.read_bytes() for path in sorted(folder.iterdir())] for folder in (arguments.small, arguments.large)
    )
    print(json.dumps(asdict(measure_ceiling(small, large, arguments.seconds))))


if __name__ == "__main__":
    main()
