"""Half precision beside f32: over photographs, and over the made-up images by which a GPU's arithmetic is chosen.

Run `python -m bench.precision`; with `--json`, the figures also go to `bench/results/precision-<date>.json`. It needs
no GPU: PyTorch computes in fp16 and bf16 on a CPU too, slowly and rounding in other places. So the figures tell whether
the made-up images are as strict as photographs, and not what a GPU answers.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.environment import describe_environment, write_result
from bench.models import MODEL, prepare_models
from bento_service.domain.models import MAX_PROBABILITY_DIFFERENCE, InputRecipe
from bento_service.engines.torch.cuda_model import classify_with, lower, run_in
from bento_service.engines.torch.precision import Precision, classify_all, make_probes
from bento_service.engines.torch.program import fold_batch_norms, load_program
from bento_service.images.prepare import ImageLimits, prepare
from bento_service.models.store import StoredModel
from bento_service.preparation.parity import make_crops

PACKAGES = ("torch", "timm", "pillow")
PRECISIONS: tuple[Precision, ...] = ("fp16", "bf16")
_SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg")
_LIMITS = ImageLimits(max_bytes=100_000_000, max_pixels=100_000_000)


@dataclass(frozen=True, slots=True)
class Figure:
    """One arithmetic over one set of images.

    An image is decided if the best class of f32 leads by what a probability may move. `flips` counts images whose best
    class differs.
    """

    images: str
    count: int
    decided: int
    precision: Precision
    flips: int
    decided_flips: int
    max_probability_difference: float


def measure(model: StoredModel, count: int) -> Iterator[Figure]:
    """Compare each arithmetic with f32 over as many photographs as made-up images."""
    recipe = model.card.recipe
    module = load_program(model.program_path, model.card.name, "cpu")
    images = {"crops of photographs": _make_photographs(recipe, count), "made-up images": make_probes(recipe, count)}
    expected = {name: classify_all(classify_with(module, "cpu"), batch) for name, batch in images.items()}
    fold_batch_norms(module)
    for precision in PRECISIONS:
        classify = classify_with(run_in(precision, lower(module, precision), "cpu"), "cpu")
        for name, batch in images.items():
            yield _compare(name, precision, expected[name], classify_all(classify, batch))


def _compare(name: str, precision: Precision, expected: NDArray[np.float32], served: NDArray[np.float32]) -> Figure:
    runner_up, best = np.partition(expected, -2, axis=1)[:, -2:].T
    decided = best - runner_up >= MAX_PROBABILITY_DIFFERENCE
    flips = expected.argmax(axis=1) != served.argmax(axis=1)
    return Figure(
        images=name,
        count=len(expected),
        decided=int(decided.sum()),
        precision=precision,
        flips=int(flips.sum()),
        decided_flips=int((flips & decided).sum()),
        max_probability_difference=float(np.abs(expected - served).max()),
    )


def _make_photographs(recipe: InputRecipe, count: int) -> NDArray[np.uint8]:
    folder = Path(skimage.__file__).parent / "data"
    crops = make_crops([folder / name for name in _SOURCES], count)
    return np.stack([prepare(crop, recipe, _LIMITS).pixels_hwc for crop in crops])


def main() -> None:
    """Print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = list(measure(prepare_models(), arguments.images))
    table = Table("images", "", "decided", "arithmetic", "flips", "of the decided", "largest move of a probability")
    for figure in figures:
        table.add_row(
            str(figure.count),
            figure.images,
            str(figure.decided),
            figure.precision,
            str(figure.flips),
            str(figure.decided_flips),
            f"{figure.max_probability_difference:.4f}",
        )
    Console().print(table)
    if arguments.json:
        result = describe_environment(f"python -m bench.precision --images {arguments.images} --json", PACKAGES)
        settled = {"model": MODEL, "images": arguments.images}
        print(write_result("precision", {**result, **settled, "results": [asdict(figure) for figure in figures]}))


if __name__ == "__main__":
    main()
