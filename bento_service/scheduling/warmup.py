"""Timing a model's batch sizes before it takes traffic, also beside models that do."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
from numpy.typing import NDArray

from bento_service.domain.models import InputRecipe
from bento_service.domain.runner import EngineMode
from bento_service.errors import OutOfMemoryError
from bento_service.scheduling.cost_model import CostModel
from bento_service.scheduling.work import Infer

_MIN_REPEATS = 5
_MAX_REPEATS = 30
_FEWEST_REPEATS = 3
"""For a size that takes long: a median needs three."""
_STABLE = 0.02
"""Standard error of a median, as a share of it, below which no further run is needed: the policy decides on differences
of a tenth."""
_SHARE_OF_BUDGET = 0.25
"""Part of the time that one size may take."""
_FEWEST_SIZES = 2
"""Timed however long they take: a size that is not measured never runs, and two images show whether batches gain."""
_MIN_GAIN = 0.05
"""Share by which a size has to exceed the best throughput before it. Each size that is timed keeps buffers in the
engine, so the search ends soon without gains."""
_CHECK_RUNS = 3
_MAX_SLOWER, _MAX_FASTER = 3.0, 1.25
"""Durations of an earlier start count while one image takes at most so many times as long or as short. The cost model
corrects a speed that all sizes share within some batches; faster ones show that the earlier start was disturbed."""
_SIZES_WITHOUT_GAIN = 3
"""So many in a row end the search: one disturbed size must not limit the batches, and a backlog is taken in batches
beyond those that gain (`policy.choose_bounds`)."""

_REST = 3.0
"""Rest after each run beside others, as a multiple of its time: a quarter of the machine for the measurement."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A measurement beside models that take traffic: few runs, each of at most about `longest_s`, with a rest after it.

    `rest` takes seconds; `time.sleep` outside of tests. Other work can only make a run longer, so the shortest counts.
    """

    longest_s: float
    rest: Callable[[float], object]


def measure_costs(
    infer: Infer,
    recipe: InputRecipe,
    *,
    modes: Collection[EngineMode],
    sizes: Sequence[int],
    bucket_sizes: Sequence[int] = (),
    clock: Callable[[], float],
    budget_s: float = 1.0,
    known_ms: Mapping[EngineMode, Mapping[int, float]] | None = None,
    runs_images_in_turn: bool = False,
    beside: Beside | None = None,
) -> dict[EngineMode, CostModel]:
    """Measure a model's cost in each of its modes; in the latency mode, which runs lone images, for size 1 alone.

    Durations of an earlier start are taken instead, once a few runs have confirmed them.

    Args:
        infer: The forward pass.
        recipe: Gives the shape of the input.
        modes: The engine's modes that differ; has `THROUGHPUT`.
        sizes: Batch sizes, ascending, 1 first; not used where there are buckets.
        bucket_sizes: The engine's buckets, or none.
        clock: Seconds, monotonic.
        budget_s: Time for all runs that count, together; a quarter of it for the latency mode. See `time_batch_sizes`.
        known_ms: Durations by mode and batch size that were measured under the same conditions before.
        runs_images_in_turn: Whether the engine runs a batch's images one after the other. Then a lone image warms every
            size, which matters where `known_ms` is taken.
        beside: How to measure while other models take traffic; None where none does. Then `known_ms` is not looked at.

    Raises:
        OutOfMemoryError: Not even one image fits.
    """
    if (
        known_ms is not None
        and beside is None
        and _is_confirmed(infer, recipe, known_ms, runs_images_in_turn=runs_images_in_turn, clock=clock)
    ):
        return {mode: CostModel(ms, bucket_sizes=_measured(bucket_sizes, ms, mode)) for mode, ms in known_ms.items()}
    measure = partial(time_batch_sizes, infer, recipe, clock=clock, beside=beside)
    costs: dict[EngineMode, CostModel] = {}
    if EngineMode.LATENCY in modes:
        costs[EngineMode.LATENCY] = CostModel(measure(sizes=[1], mode=EngineMode.LATENCY, budget_s=budget_s))
        budget_s *= 1 - _SHARE_OF_BUDGET
    duration_ms = measure(sizes=bucket_sizes or sizes, budget_s=budget_s)
    measured_buckets = _measured(bucket_sizes, duration_ms, EngineMode.THROUGHPUT)
    return {EngineMode.THROUGHPUT: CostModel(duration_ms, bucket_sizes=measured_buckets), **costs}


def _measured(bucket_sizes: Sequence[int], duration_ms: Mapping[int, float], mode: EngineMode) -> list[int]:
    return [size for size in bucket_sizes if size in duration_ms and mode is EngineMode.THROUGHPUT]


def _is_confirmed(
    infer: Infer,
    recipe: InputRecipe,
    known_ms: Mapping[EngineMode, Mapping[int, float]],
    *,
    runs_images_in_turn: bool,
    clock: Callable[[], float],
) -> bool:
    """Run each known size once, or a lone image, then return whether that still takes about as long in each mode."""
    for mode, duration_ms in known_ms.items():
        for size in [1] if runs_images_in_turn else sorted(duration_ms, reverse=True):
            run = partial(infer, _noise(recipe, size), mode)
            try:
                run()
            except OutOfMemoryError:
                return False
        samples_ms = []
        for _ in range(_CHECK_RUNS):
            started_s = clock()
            run()
            samples_ms.append((clock() - started_s) * 1000)
        if not 1 / _MAX_FASTER < median(samples_ms) / duration_ms[1] < _MAX_SLOWER:
            return False
    return True


def _noise(recipe: InputRecipe, size: int) -> NDArray[np.uint8]:
    """Return a batch of noise: an all-black one runs faster on hardware that skips zeros."""
    return np.random.default_rng(0).integers(0, 256, (size, *recipe.shape_hwc), dtype=np.uint8)


def time_batch_sizes(
    infer: Infer,
    recipe: InputRecipe,
    *,
    sizes: Sequence[int],
    mode: EngineMode = EngineMode.THROUGHPUT,
    clock: Callable[[], float],
    budget_s: float = 1.0,
    beside: Beside | None = None,
) -> dict[int, float]:
    """Measure how long each batch size takes: the median of runs until it is stable, after one that does not count.

    No further size is timed once the runs that count have taken `budget_s`; two are timed in any case. First runs, in
    which an engine may compile the size, do not count. With `beside`, three runs count, and the search ends before the
    size that would take longer than it allows.

    Returns:
        Duration in milliseconds by batch size, 1 included, up to the third size in a row that gains nothing or the last
        that the device has memory for. No size takes longer than a larger one.

    Raises:
        OutOfMemoryError: Not even one image fits.
    """
    spent_s = 0.0
    duration_ms: dict[int, float] = {}
    best_per_ms = 0.0
    without_gain = 0
    for size in sizes:
        if len(duration_ms) >= _FEWEST_SIZES and spent_s >= budget_s:
            break
        # At the best throughput so far.
        if beside and best_per_ms and size / best_per_ms > beside.longest_s * 1000:
            break
        run = partial(infer, _noise(recipe, size), mode)
        try:
            if beside:
                samples_s = [min(_time_beside(run, beside, clock))]
            else:
                samples_s = _time(run, budget_s=_SHARE_OF_BUDGET * budget_s, clock=clock)
        except OutOfMemoryError:
            if not duration_ms:
                raise
            break
        spent_s += sum(samples_s)
        duration_ms[size] = median(samples_s) * 1000
        per_ms = size / duration_ms[size]
        without_gain = without_gain + 1 if per_ms < (1 + _MIN_GAIN) * best_per_ms else 0
        if without_gain == _SIZES_WITHOUT_GAIN:
            break
        best_per_ms = max(best_per_ms, per_ms)
    # A size that took longer than a larger one was disturbed.
    return {size: min(ms for larger, ms in duration_ms.items() if larger >= size) for size in duration_ms}


def _time(run: Callable[[], object], *, budget_s: float, clock: Callable[[], float]) -> list[float]:
    run()
    samples_s: list[float] = []
    while len(samples_s) < _MAX_REPEATS:
        started_s = clock()
        run()
        samples_s.append(clock() - started_s)
        if len(samples_s) >= _FEWEST_REPEATS and sum(samples_s) >= budget_s:
            break
        if len(samples_s) >= _MIN_REPEATS and _is_stable(samples_s):
            break
    return samples_s


def _time_beside(run: Callable[[], object], beside: Beside, clock: Callable[[], float]) -> list[float]:
    """Run once, then as often as counts; return the durations of the latter."""
    samples_s: list[float] = []
    for _ in range(1 + _FEWEST_REPEATS):
        started_s = clock()
        run()
        samples_s.append(clock() - started_s)
        beside.rest(_REST * samples_s[-1])
    return samples_s[1:]


def _is_stable(samples: Sequence[float]) -> bool:
    """Return whether the median's standard error is small: 1.253 sigma / sqrt(n), sigma as 1.483 median deviations."""
    middle = median(samples)
    deviation = 1.483 * median(abs(sample - middle) for sample in samples)
    return 1.253 * deviation / math.sqrt(len(samples)) <= _STABLE * middle
