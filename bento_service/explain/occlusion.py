"""Occlusion: how far a class's score falls where a part of the image is covered."""

import asyncio
import math
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.pipeline.computation import Runner, run_pixels
from bento_service.pipeline.request import ImageRequest
from bento_service.scheduling.work import Completion

CELLS = 7
"""Rows and columns of the grid: those of the feature map of a network of 224 px that halves its input five times."""
_AT_ONCE = 16
"""Covered copies in the queue at a time, as images of a batch: enough to keep the lanes busy, and other bulk work gets
its share."""
_LEAST_SCORE = float(np.finfo(np.float32).tiny)
"""Stands for a score of zero, which has no logarithm."""


class CoveredRuns(NamedTuple):
    """The map of one class, shape (`CELLS`, `CELLS`), and what its runs took: until the first began, and after that."""

    grid: NDArray[np.float32]
    queue_ms: float
    inference_ms: float


def choose_fill(recipe: InputRecipe) -> NDArray[np.uint8]:
    """Return the colour that covers a cell: the recipe's mean, as RGB or grey.

    The graph's normalisation turns it into zeros, which is what its convolutions see beyond an image's edge, and it is
    the average of the images that the model learned from: no other colour says less.
    """
    mean = recipe.mean[::-1] if recipe.channels == "bgr" else recipe.mean
    return np.rint(np.clip(mean, 0, 1) * np.float64(255)).astype(np.uint8)


def cover(pixels_hwc: NDArray[np.uint8], row: int, column: int, fill: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy with one cell of the grid in one colour."""
    covered = pixels_hwc.copy()
    height_px, width_px = pixels_hwc.shape[:2]
    covered[_cut(row, height_px), _cut(column, width_px)] = fill
    return covered


async def run_covered(
    image: ImageRequest, pixels_hwc: NDArray[np.uint8], class_id: int, score: float, deadline_s: float | None
) -> CoveredRuns:
    """Run the image once for each cell, with the cell covered, and compare with the `score` of the whole image.

    The copies go through the queue as bulk work; `image.compute` has counted them. Cancelling the call spares those
    that have not begun.

    Raises:
        LightboxError: Any of the errors of scheduling and inference.
    """
    runner: Runner = image.runner
    key, recipe = image.model.card.key, image.model.card.recipe
    fill = choose_fill(recipe)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def run(row: int, column: int) -> Completion:
        async with turns:
            covered = cover(pixels_hwc, row, column, fill)
            completion = await run_pixels(runner, key, covered, priority=image.permit.priority, deadline_s=deadline_s)
            image.permit.finish_further_run()
            return completion

    started_s = runner.clock()
    tasks = [asyncio.create_task(run(row, column)) for row, column in product(range(CELLS), repeat=2)]
    try:
        completions = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    total_ms = (runner.clock() - started_s) * 1000
    queue_ms = min(total_ms, *(completion.queue_ms for completion in completions))
    falls = [_log(score) - _log(float(completion.scores[class_id])) for completion in completions]
    return CoveredRuns(np.array(falls, np.float32).reshape(CELLS, CELLS), queue_ms, total_ms - queue_ms)


def _cut(cell: int, side_px: int) -> slice:
    """Return the pixels of a row or column of the grid; every one has at least a pixel where there are that many."""
    return slice(cell * side_px // CELLS, (cell + 1) * side_px // CELLS)


def _log(score: float) -> float:
    return math.log(max(score, _LEAST_SCORE))
