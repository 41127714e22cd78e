"""Choosing the arithmetic of PyTorch on a GPU: the fastest whose answers pass the parity gate.

A serving container has no photographs, so the gate is measured over images that are made up.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import MAX_PROBABILITY_DIFFERENCE, InputRecipe, Parity

logger = logging.getLogger(__name__)

Precision = Literal["f32", "fp16", "bf16"]
Classify = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Probabilities, shape (n, classes), of a batch of any size n >= 1."""

PROBES = 256
MIN_DECIDED = 100
"""Decided images that a verdict on the best class needs at least."""

_BATCH = 8


def list_candidates(asked: Literal["auto"] | Precision, *, has_bf16: bool) -> tuple[Precision, ...]:
    """Return what to try, fastest first: what was asked for, or what the GPU computes in faster than in f32, and f32.

    fp16 before bf16, since a GPU is as fast in either and fp16 keeps three more bits of every number.

    Args:
        asked: The arithmetic of the settings.
        has_bf16: Whether the GPU computes in bf16 by itself; what it emulates is slower than f32.
    """
    if asked != "auto":
        return (asked,)
    return ("fp16", "bf16", "f32") if has_bf16 else ("fp16", "f32")


def make_probes(recipe: InputRecipe, count: int = PROBES, *, seed: int = 0) -> NDArray[np.uint8]:
    """Make images of the statistics of natural ones: discs that cover each other, of every size and colour.

    Dead leaves (Lee, Mumford and Huang, Occlusion Models for Natural Images, IJCV 2001): the radii's density falls with
    their cube, so that edges come at every scale. Few discs leave large shapes, of which a classifier is surer.

    Args:
        recipe: Gives the size.
        count: Images to make.
        seed: Equal seeds make equal images.

    Returns:
        RGB, 0-255, shape (count, recipe.height_px, recipe.width_px, 3).
    """
    random = np.random.default_rng(seed)
    height, width = recipe.height_px, recipe.width_px
    smallest, largest = 3.0, 0.4 * min(height, width)
    images = np.empty((count, height, width, 3), dtype=np.uint8)
    for image in images:
        image[:] = random.integers(0, 256, 3)
        discs = int(random.integers(3, 30))
        radii = 1 / np.sqrt(random.uniform(1 / largest**2, 1 / smallest**2, discs))
        for radius in np.sort(radii)[::-1]:  # the small on top, where they are seen
            _paint_disc(image, random.uniform(0, height), random.uniform(0, width), radius, random.integers(0, 256, 3))
    return images


def choose_precision(
    candidates: Sequence[Precision],
    prepare: Callable[[Precision], Classify],
    reference: NDArray[np.float32],
    probes: NDArray[np.uint8],
) -> tuple[Precision, Parity]:
    """Take the first candidate that passes the gate; the last one if none does.

    Args:
        candidates: At least one. A single one is taken whatever its parity.
        prepare: Makes the model ready in an arithmetic. A `RuntimeError`, of it or of the first batch, rules that
            arithmetic out: a model may mix types in ways that it does not allow.
        reference: The answers of unaltered f32, shape (len(probes), classes).
        probes: The images that they are the answers to.

    Raises:
        RuntimeError: The last candidate failed.
    """
    *faster, last = candidates
    for precision in faster:
        try:
            parity = measure_parity(reference, classify_all(prepare(precision), probes))
        except RuntimeError as error:
            logger.warning("The model cannot be served in %s, since it fails there: %s", precision, error)
            continue
        if parity.passes_gate:
            return precision, parity
        logger.info("%s fails the parity gate: %s", precision, describe(parity))
    return last, measure_parity(reference, classify_all(prepare(last), probes))


def classify_all(classify: Classify, probes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the answers to any number of images, in batches of 8, for which even a full card has room."""
    return np.concatenate([classify(probes[start : start + _BATCH]) for start in range(0, len(probes), _BATCH)])


def measure_parity(reference: NDArray[np.float32], served: NDArray[np.float32]) -> Parity:
    """Compare two paths' answers to images that are made up, both of shape (n, classes).

    Every image counts for the probabilities. For the best class only the decided ones do, on which the reference's best
    class leads by at least what a probability may move: made-up images often leave two classes level, which hardly any
    photograph does, and then nothing but rounding puts one of them first. With too few decided ones nothing agrees.
    """
    runner_up, best = np.partition(reference, -2, axis=1)[:, -2:].T
    decided = best - runner_up >= MAX_PROBABILITY_DIFFERENCE
    agrees = reference.argmax(axis=1) == served.argmax(axis=1)
    agreement = float(agrees[decided].mean()) if decided.sum() >= MIN_DECIDED else 0.0
    difference = np.abs(reference.astype(np.float64) - served.astype(np.float64)).max()
    # A path that overflowed has no difference that could be compared.
    bounded = float(difference) if np.isfinite(difference) else 1.0
    return Parity(crops=len(reference), top1_agreement=agreement, max_probability_difference=bounded)


def describe(parity: Parity) -> str:
    """Say it for the log."""
    return (
        f"over {parity.crops} made-up images the best class agrees on {parity.top1_agreement:.1%} of the decided ones, "
        f"and a probability moves by up to {parity.max_probability_difference:.4f}"
    )


def _paint_disc(
    image: NDArray[np.uint8], centre_y: float, centre_x: float, radius: float, colour: NDArray[np.int64]
) -> None:
    top, left = max(0, int(centre_y - radius)), max(0, int(centre_x - radius))
    patch = image[top : int(centre_y + radius) + 1, left : int(centre_x + radius) + 1]
    rows, columns = np.ogrid[top : top + patch.shape[0], left : left + patch.shape[1]]
    patch[(rows - centre_y) ** 2 + (columns - centre_x) ** 2 <= radius**2] = colour
