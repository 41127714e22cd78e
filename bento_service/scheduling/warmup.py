"""Timing a model's batch sizes before it takes traffic."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from bento_service.domain import EngineMode, InputRecipe
from bento_service.errors import OutOfMemoryError
from bento_service.scheduling.execution import Infer


def time_batch_sizes(
    infer: Infer,
    recipe: InputRecipe,
    *,
    sizes: Sequence[int],
    mode: EngineMode = EngineMode.THROUGHPUT,
    clock: Callable[[], float],
    repeats: int = 5,
    budget_s: float = 1.0,
    min_gain: float = 0.05,
) -> dict[int, float]:
    """Measure how long each batch size takes: the shortest of `repeats` runs, after one that does not count.

    The shortest, as whatever else runs on the machine at its start can only make a run longer.

    Args:
        infer: The forward pass.
        recipe: Gives the size of the input.
        sizes: Batch sizes, ascending, 1 first.
        mode: The engine's mode.
        clock: Seconds, monotonic.
        repeats: Runs that count.
        budget_s: No further size is begun after this long, so that a slow model does not hold up the start.
        min_gain: Share by which a size has to beat the throughput of the one before for a further size to be tried.
            Each size that is tried keeps its own buffers in the engine, and on a CPU bigger batches gain nothing.

    Returns:
        Duration in milliseconds by batch size; size 1 always. It ends with the first size that gains nothing, and
        before the first that the device has too little memory for.

    Raises:
        OutOfMemoryError: Not even one image fits.
    """
    begun_s = clock()
    duration_ms: dict[int, float] = {}
    best_per_ms = 0.0
    for size in sizes:
        if duration_ms and clock() - begun_s > budget_s:
            break
        # Noise, as photographs are: an all-black batch runs faster on hardware that skips zeros.
        batch_nhwc = np.random.default_rng(0).integers(
            0, 256, (size, recipe.height_px, recipe.width_px, 3), dtype=np.uint8
        )
        try:
            duration_ms[size] = _time(partial(infer, batch_nhwc, mode), repeats=repeats, clock=clock)
        except OutOfMemoryError:
            if not duration_ms:
                raise
            break
        per_ms = size / duration_ms[size]
        if per_ms < (1 + min_gain) * best_per_ms:
            break
        best_per_ms = per_ms
    return duration_ms


def _time(run: Callable[[], object], *, repeats: int, clock: Callable[[], float]) -> float:
    run()
    samples_ms = []
    for _ in range(repeats):
        started_s = clock()
        run()
        samples_ms.append((clock() - started_s) * 1000)
    return min(samples_ms)
