"""Timing a model's batch sizes before it takes traffic."""

import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bento_service.domain import InputRecipe
from bento_service.errors import OutOfMemoryError
from bento_service.scheduling.execution import Infer


def time_batch_sizes(
    infer: Infer,
    recipe: InputRecipe,
    *,
    sizes: Sequence[int],
    clock: Callable[[], float],
    repeats: int = 3,
    budget_s: float = 1.0,
) -> dict[int, float]:
    """Measure how long each batch size takes: the median of `repeats` runs, after one that does not count.

    Args:
        infer: The forward pass.
        recipe: Gives the size of the input.
        sizes: Batch sizes, ascending, 1 first.
        clock: Seconds, monotonic.
        repeats: Runs that count.
        budget_s: No further size is begun after this long, so that a slow model does not hold up the start.

    Returns:
        Duration in milliseconds by batch size; size 1 always. It ends before the first size that the device has too
        little memory for.

    Raises:
        OutOfMemoryError: Not even one image fits.
    """
    begun_s = clock()
    duration_ms: dict[int, float] = {}
    for size in sizes:
        if duration_ms and clock() - begun_s > budget_s:
            break
        # Noise, as photographs are: an all-black batch runs faster on hardware that skips zeros.
        batch_nhwc = np.random.default_rng(0).integers(
            0, 256, (size, recipe.height_px, recipe.width_px, 3), dtype=np.uint8
        )
        try:
            duration_ms[size] = _time(infer, batch_nhwc, repeats=repeats, clock=clock)
        except OutOfMemoryError:
            if not duration_ms:
                raise
            break
    return duration_ms


def _time(infer: Infer, batch_nhwc: NDArray[np.uint8], *, repeats: int, clock: Callable[[], float]) -> float:
    infer(batch_nhwc)
    samples_ms = []
    for _ in range(repeats):
        started_s = clock()
        infer(batch_nhwc)
        samples_ms.append((clock() - started_s) * 1000)
    return statistics.median(samples_ms)
