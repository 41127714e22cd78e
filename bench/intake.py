"""Images a second through the intake, one thread, against Pillow with torchvision's transforms.

Also without the SIMD resizer, as on Linux on ARM, where it has no wheel.

Processor time is the whole process's: a library that computes in threads of its own would show there.

Run `python -m bench.intake`; with `--json`, the figures also go to `bench/results/intake-<date>.json`.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from torchvision import transforms

from bench.environment import describe_environment, write_result
from bench.photographs import encode_jpeg, load_sources, make_large_jpegs
from bento_service.domain.models import InputRecipe
from bento_service.images import resize
from bento_service.images.jpeg import OPT_IN_OVERSAMPLING
from bento_service.images.preprocessing import ImageLimits, preprocess

RECIPE = InputRecipe(
    height_px=224,
    width_px=224,
    crop_fraction=0.875,
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000)
PACKAGES = ("pillow", "simplejpeg", "cykooz-resizer", "torchvision", "numpy", "scikit-image")

Decode = Callable[[bytes], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One way over one set of files. `median_ms`, `median_cpu_ms` and `images_per_s` are of the median round.

    `rate` is how many times as fast as the last way it is, by processor time.
    """

    files: str
    way: str
    mean_bytes: int
    median_ms: float
    median_cpu_ms: float
    rate: float
    images_per_s: float
    largest_difference: int
    different_values: float


def make_small_files(photographs: Sequence[Image.Image], count: int) -> list[bytes]:
    """Cut `count` different crops of 451 x 300, about 50 kB each."""
    rng = np.random.default_rng(0)
    files = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        left = int(rng.integers(0, photograph.width - 451 + 1))
        top = int(rng.integers(0, photograph.height - 300 + 1))
        files.append(encode_jpeg(photograph.crop((left, top, left + 451, top + 300)), quality=95))
    return files


def make_large_file(photographs: Sequence[Image.Image]) -> bytes:
    """Lay the photographs side by side into one of 4000 x 3000."""
    canvas = Image.new("RGB", (4000, 3000))
    side_px = 1000
    for index in range(12):
        tile = photographs[index % len(photographs)].resize((side_px, side_px), Image.Resampling.BICUBIC)
        canvas.paste(tile, (index % 4 * side_px, index // 4 * side_px))
    return encode_jpeg(canvas, quality=90)


def make_noisy_file() -> bytes:
    """Make one of 11 megapixels with a lamplit phone's noise: twice the bytes, which only the entropy decoder reads."""
    return list(make_large_jpegs(2, short_side_px=(3000, 3000)))[1]


def prepare_with_lightbox(encoded: bytes, min_oversampling: int | None = None) -> NDArray[np.uint8]:
    """Prepare as the service does; with `OPT_IN_OVERSAMPLING`, as it does with `LIGHTBOX_SCALED_DECODING`."""
    return preprocess(encoded, RECIPE, LIMITS, min_oversampling=min_oversampling).pixels_hwc


def prepare_without_simd(encoded: bytes) -> NDArray[np.uint8]:
    """Prepare as the service does where the SIMD resizer is not installed."""
    with mock.patch.object(resize, "simd", None):
        return prepare_with_lightbox(encoded)


def make_torchvision_way() -> Decode:
    """Pillow and the steps of timm's evaluation transform, up to the uint8 crop."""
    steps = transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop((RECIPE.height_px, RECIPE.width_px)),
        ]
    )

    def decode(encoded: bytes) -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.array(steps(image.convert("RGB")))

    return decode


def measure(files_name: str, files: Sequence[bytes], ways: Sequence[tuple[str, Decode]], rounds: int) -> list[Figure]:
    """Time each way over all files, `rounds` times in turn, and compare its pixels with the last way's."""
    durations_s: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in ways}
    for _ in range(rounds):
        for name, way in ways:
            started_s, cpu_started_s = time.perf_counter(), time.process_time()
            for encoded in files:
                way(encoded)
            wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_started_s
            durations_s[name].append((wall_s / len(files), cpu_s / len(files)))
    reference = [ways[-1][1](encoded).astype(np.int16) for encoded in files]
    reference_cpu_s = statistics.median(cpu_s for _, cpu_s in durations_s[ways[-1][0]])
    figures = []
    for name, way in ways:
        pairs = zip(files, reference, strict=True)
        differences = np.stack([np.abs(way(encoded) - expected) for encoded, expected in pairs])
        median_s = statistics.median(wall_s for wall_s, _ in durations_s[name])
        median_cpu_s = statistics.median(cpu_s for _, cpu_s in durations_s[name])
        figures.append(
            Figure(
                files=files_name,
                way=name,
                mean_bytes=round(statistics.mean(map(len, files))),
                median_ms=round(median_s * 1000, 3),
                median_cpu_ms=round(median_cpu_s * 1000, 3),
                rate=round(reference_cpu_s / median_cpu_s, 2),
                images_per_s=round(1 / median_s, 1),
                largest_difference=int(differences.max()),
                different_values=round(float((differences > 0).mean()), 5),
            )
        )
    return figures


def show(figures: Sequence[Figure]) -> None:
    """Print the figures as a table."""
    table = Table("files", "way", "kB", "ms", "CPU ms", "rate", "images/s", "largest difference", "different values")
    for figure in figures:
        cells = (figure.median_ms, figure.median_cpu_ms, figure.rate)
        table.add_row(
            *(figure.files, figure.way, f"{figure.mean_bytes / 1000:.0f}", *(f"{value:.2f}" for value in cells)),
            *(f"{figure.images_per_s:.0f}", str(figure.largest_difference), f"{figure.different_values:.2%}"),
        )
    Console().print(table)


def main() -> None:
    """Measure, print and perhaps keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="times each set of files is prepared")
    parser.add_argument("--json", action="store_true", help="write bench/results/intake-<date>.json too")
    arguments = parser.parse_args()
    photographs = load_sources()
    ours: Decode = prepare_with_lightbox
    ways = [
        ("Lightbox intake", ours),
        ("Lightbox intake, without SIMD", prepare_without_simd),
        ("Pillow + torchvision", make_torchvision_way()),
    ]
    scaled: Decode = partial(prepare_with_lightbox, min_oversampling=OPT_IN_OVERSAMPLING)
    ways_of_large = [("Lightbox intake, scaled decoding", scaled), *ways]
    figures = [
        *measure("60 JPEGs of 451x300", make_small_files(photographs, 60), ways, arguments.rounds),
        *measure("one JPEG of 4000x3000", [make_large_file(photographs)], ways_of_large, arguments.rounds),
        *measure("one noisy JPEG of 3641x3000", [make_noisy_file()], ways_of_large, arguments.rounds),
    ]
    show(figures)
    if arguments.json:
        environment = describe_environment("python -m bench.intake --json", PACKAGES)
        figures_json = [asdict(figure) for figure in figures]
        Console().print(f"Kept in {write_result('intake', {**environment, 'figures': figures_json})}")


if __name__ == "__main__":
    main()
