"""What scaling large JPEGs while decoding them costs: answers against f32 PyTorch on timm's evaluation transform.

Run `python -m bench.scaled_decoding`, once the model is prepared (`lightbox models prepare`); with `--json`, the
figures also go to `bench/results/scaled_decoding-<date>.json`.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.environment import describe_environment, write_result
from bench.large_photographs import make_large_jpegs
from bento_service.domain.models import InputRecipe
from bento_service.domain.requests import ImageWarning
from bento_service.engines.base import Engine
from bento_service.engines.factory import create_engine
from bento_service.images.prepare import ImageLimits, prepare
from bento_service.machine import count_cpus
from bento_service.models.catalogue import Catalogue
from bento_service.models.parity_gate import compare
from bento_service.preparation.parity import classify_as_reference, classify_as_served
from bento_service.preparation.sources.bundled import BundledSource

SHORT_SIDE_PX = (1536, 4300)
"""From what is scaled at 3 times to what is scaled at 8, up to 28 megapixels."""
OVERSAMPLINGS = (None, 3, 4, 5, 6, 8)
LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000)
PACKAGES = ("pillow", "simplejpeg", "openvino", "torch", "timm", "numpy", "scikit-image")


@dataclass(frozen=True, slots=True)
class Figure:
    """One way over all images; `min_oversampling` is None where none may be scaled.

    `scaled_top1_agreement` looks at the images alone that were scaled, and is None where none was. `mean_ms` is the
    intake's time an image, in one thread.
    """

    min_oversampling: int | None
    images: int
    scaled: int
    top1_agreement: float
    scaled_top1_agreement: float | None
    max_probability_difference: float
    passes_gate: bool
    mean_ms: float


def measure(
    engine: Engine,
    recipe: InputRecipe,
    images: Sequence[bytes],
    reference: NDArray[np.float32],
    min_oversampling: int | None,
) -> Figure:
    """Classify all images with one `min_oversampling` and compare with the reference's probabilities."""
    started_s = time.perf_counter()
    warnings = [prepare(image, recipe, LIMITS, min_oversampling=min_oversampling).warnings for image in images]
    mean_ms = (time.perf_counter() - started_s) / len(images) * 1000
    is_scaled = np.array([ImageWarning.SCALED_DECODING in codes for codes in warnings])
    served = classify_as_served(engine, recipe, images, min_oversampling=min_oversampling)
    parity = compare(reference, served)
    of_scaled = compare(reference[is_scaled], served[is_scaled]).top1_agreement if is_scaled.any() else None
    return Figure(
        min_oversampling=min_oversampling,
        images=len(images),
        scaled=int(is_scaled.sum()),
        top1_agreement=round(parity.top1_agreement, 4),
        scaled_top1_agreement=None if of_scaled is None else round(of_scaled, 4),
        max_probability_difference=round(parity.max_probability_difference, 5),
        passes_gate=parity.passes_gate,
        mean_ms=round(mean_ms, 1),
    )


def show(figures: Sequence[Figure]) -> None:
    """Print the figures as a table."""
    table = Table("oversampling", "scaled", "top-1", "top-1 of scaled", "largest difference", "passes", "ms")
    for figure in figures:
        of_scaled = figure.scaled_top1_agreement
        table.add_row(
            "never scaled" if figure.min_oversampling is None else f"at least {figure.min_oversampling}",
            f"{figure.scaled} of {figure.images}",
            f"{figure.top1_agreement:.1%}",
            "" if of_scaled is None else f"{of_scaled:.1%}",
            f"{figure.max_probability_difference:.4f}",
            "yes" if figure.passes_gate else "no",
            f"{figure.mean_ms:.1f}",
        )
    Console().print(table)


def main() -> None:
    """Measure, print and perhaps keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet_lite0", help="a bundled model")
    parser.add_argument("--images", type=int, default=200, help="large JPEGs to classify; all are held in memory")
    parser.add_argument("--json", action="store_true", help="write bench/results/scaled_decoding-<date>.json too")
    arguments = parser.parse_args()
    images = list(make_large_jpegs(arguments.images, short_side_px=SHORT_SIDE_PX))
    stored = Catalogue().load(arguments.model)
    reference = classify_as_reference(BundledSource().load(arguments.model), images)
    engine = create_engine("openvino", "cpu", stored, lanes=1, threads=count_cpus())
    try:
        figures = [measure(engine, stored.card.recipe, images, reference, least) for least in OVERSAMPLINGS]
    finally:
        engine.close()
    show(figures)
    if arguments.json:
        environment = describe_environment("python -m bench.scaled_decoding --json", PACKAGES)
        result = {**environment, "model": arguments.model, "figures": [asdict(figure) for figure in figures]}
        Console().print(f"Kept in {write_result('scaled_decoding', result)}")


if __name__ == "__main__":
    main()
